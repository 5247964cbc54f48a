"""The text that the demo's language model is estimated from: sentences of the grammar, one a line, none held out.

Knows nothing of language models. The bundled one, `assets/lm/4gram.bin`, is made by

    python -m pipeline.demo.text train.txt
    python -m pipeline.demo.text held-out.txt --sentences 20000 --seed 2 --held-out
    nightshift build-lm train.txt 4gram.bin --prune 0 5 10 10 --discount-fallback --perplexity held-out.txt

whose perplexity of held-out sentences is 36.0: of some twenty that were tried in under 3 MB, the lowest. With 300,000
sentences it is 36.2, with a million 36.5, with two 37.5, each pruned to that size; of 300,000 in 7.7 MB it is 30.8,
of two million without pruning, in 199 MB, 24.1. Words come as often as the grammar's weights say, and not as words of a
language do, so the discounts of single words cannot be estimated and are fixed ones.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.demo.grammar import is_held_out, sentences

NUM_SENTENCES = 400_000
SEED = 1


def lines(seed: int, held_out: bool = False) -> Iterator[str]:
    """Endless: those that models may learn, or those that they are tried on."""
    return (sentence for sentence in sentences(seed) if is_held_out(sentence) == held_out)


def write_text(path: Path, num_sentences: int, seed: int, held_out: bool = False) -> None:
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{line}\n" for line in itertools.islice(lines(seed, held_out), num_sentences))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.text", description="Write sentences of the grammar.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--sentences", type=int, default=NUM_SENTENCES, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, help="default %(default)s")
    parser.add_argument("--held-out", action="store_true", help="those that nothing is learnt from")
    options = parser.parse_args()
    write_text(options.file, options.sentences, options.seed, options.held_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
