"""The figures that are shipped with the demo, which the tests hold the model to: the error rates of one demo, on file.

    nightshift demo OUT --json | python -m pipeline.demo.figures

puts those of a demo just made in place of what is shipped. Knows nothing of how rates come about.
"""

import argparse
import json
import sys
from typing import Any

from pipeline import run as runs
from pipeline.demo import bundled
from pipeline.errors import UsageError

PLACES = 5  # of a rate: a thousandth of a point
RATES = ("words", "chars", "long_words")
COUNTS = ("num_scored", "num_speakers", "num_long")


def figures(demo: dict[str, Any]) -> dict[str, Any]:
    """Of what `nightshift demo --json` gives, with the contents of the model and of the language model they are of."""
    outcome = demo["outcome"]
    if outcome is None:
        raise UsageError("this demo has transcribed nothing that has a reference: there are no figures to ship")
    settings = runs.find(demo["runs"][0]["with_lm"]["run"]).info()["settings"]  # all have the same
    return {
        "model": settings["encode.model"],
        "lm": settings["decode.lm"],
        **{name: outcome[name] for name in COUNTS},
        **{name: _rounded(outcome[name]) for name in RATES},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_rounded(held) for held in value]
    return value if value is None else round(value, PLACES)


def _told(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not {"outcome", "runs"} <= told.keys():
        raise UsageError("what comes in is not what nightshift demo OUT --json prints")
    return told


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m pipeline.demo.figures", description=__doc__, formatter_class=form)
    parser.parse_args()
    try:
        found = figures(_told(sys.stdin.read()))
    except UsageError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    bundled.FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    greedy, with_lm = (found["words"][way]["value"] for way in ("greedy", "with_lm"))
    print(f"{bundled.FIGURES}: of words {greedy:.2%} are wrong, with the language model {with_lm:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
