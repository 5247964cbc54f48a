"""The text that the demo's language model is estimated from: what recordings say, one a line, none held out.

Knows nothing of language models. The bundled one, `assets/lm/4gram.bin`, is made by

    python -m pipeline.demo.text train.txt
    python -m pipeline.demo.text held-out.txt --recordings 8000 --seed 3 --held-out
    nightshift build-lm train.txt 4gram.bin --prune 0 5 10 10 --discount-fallback --perplexity held-out.txt

whose perplexity is 47.4; a model of single sentences as large has 55.1, because recordings go on after a sentence. Of
ten ways to prune it to 3 MB none is better by more than 0.2. Words come as often as the grammar's weights say, and not
as words of a language do, so the discounts of single words cannot be estimated and are fixed ones.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pipeline.demo.speech import utterance

NUM_RECORDINGS = 200_000
SEED = 2


def text(seed: int, number: int, held_out: bool = False) -> str:
    """Of a recording that models may learn, or of one that they are tried on."""
    return " ".join(utterance(np.random.default_rng((seed, number)), held_out).sentences)


def write_text(path: Path, num_recordings: int, seed: int, held_out: bool = False) -> None:
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{text(seed, number, held_out)}\n" for number in range(num_recordings))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.text", description="Write what recordings say.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--recordings", type=int, default=NUM_RECORDINGS, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default %(default)s")
    parser.add_argument("--held-out", action="store_true", help="those that nothing is learnt from")
    options = parser.parse_args()
    write_text(options.file, options.recordings, options.seed, options.held_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
