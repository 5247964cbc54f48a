"""The figures that are shipped with the demo, which the tests hold the model to: the error rates of one demo, on file.

    nightshift demo OUT --json | python -m pipeline.demo.figures

puts those of a demo just made in place of what is shipped. Knows nothing of how rates come about.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import run as runs
from pipeline.demo import bundled
from pipeline.errors import UsageError

PLACES = 5  # of a rate: a thousandth of a point


def figures(demo: Mapping[str, Any]) -> dict[str, Any]:
    """Of what `nightshift demo --json` gives, with the contents of the model and of the language model they are of."""
    greedy, with_lm = evaluations = demo["evaluations"]
    if not greedy["coverage"]["num_scored"]:
        raise UsageError("this demo has transcribed nothing that has a reference: there are no figures to ship")
    settings = runs.find(with_lm["run"]).info()["settings"]
    return {
        "model": settings["encode.model"],
        "lm": settings["decode.lm"],
        "num_scored": greedy["coverage"]["num_scored"],
        "num_speakers": greedy["num_resampled"],
        "num_long": _longest(greedy)["num_recordings"],
        "words": _both([one["rates"]["wer"] for one in evaluations]),
        "chars": _both([one["rates"]["cer"] for one in evaluations]),
        "long_words": _both([_longest(one)["rate"] for one in evaluations]),
        "difference": _rounded(demo["comparisons"][0]["difference"]),
    }


def _longest(evaluation: Mapping[str, Any]) -> Any:
    """Of its recordings the longest, as one of its slices."""
    return [one for one in evaluation["slices"] if one["column"] == "duration_s"][-1]


def _both(rates: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("greedy", "with_lm"), map(_rounded, rates), strict=True))


def _rounded(rate: Mapping[str, Any]) -> dict[str, Any]:
    interval = rate["interval"] and [round(rate["interval"][end], PLACES) for end in ("low", "high")]
    return {"value": round(rate["value"], PLACES), "interval": interval}


def _told(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not {"evaluations", "comparisons", "samples"} <= told.keys():
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
