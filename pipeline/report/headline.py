"""The top of a page of one run: the rate that it is judged by, how sure that is, and what it is not of.

Knows nothing of the sections below.
"""

from collections.abc import Sequence

from pipeline.evaluation.results import RECORDINGS, Evaluation
from pipeline.evaluation.rows import Level
from pipeline.intervals import FEW_GROUPS
from pipeline.progress import hours
from pipeline.report.formats import count, of, percent, sure, times
from pipeline.report.html import Html, element, markup, of_data


def title(evaluation: Evaluation) -> str:
    return f"{evaluation.name}: {evaluation.judged_by.rate} {percent(evaluation.rate.value)}"


def headline(evaluation: Evaluation) -> Html:
    level, rate = evaluation.judged_by, evaluation.rate
    if rate.value is None:
        told = f"No {level.rate}: nothing was scored that has {level} in its reference"
        big = element("p", told, class_="headline")
    else:
        big = element("p", element("strong", percent(rate.value)), f" {level.rate}", class_="headline")
        what = RECORDINGS if evaluation.resampled == RECORDINGS else f"values of {evaluation.resampled}"
        by = f"by resampling {count(evaluation.num_resampled)} {what}"
        by += f", which is too narrow of fewer than {FEW_GROUPS}" if evaluation.num_resampled < FEW_GROUPS else ""
        told = f"95% interval {rate.interval}, {by}" if rate.interval else f"no interval: too few {what} to resample"
        big = markup(big, element("p", of_data(told)))
    return markup(big, _glance(evaluation), _coverage(evaluation), alert("To be known:", evaluation.warnings))


def _glance(evaluation: Evaluation) -> Html:
    """What one asks next."""
    coverage, speed = evaluation.coverage, evaluation.speed
    fast = speed.times_real_time
    pairs = [
        *([("characters wrong", percent(evaluation.rates.cer.value))] if evaluation.judged_by is Level.WORDS else []),
        ("recordings scored", count(coverage.num_scored)),
        ("of audio", hours(coverage.audio_s)),
        *([(f"times real time{', decoding alone' * speed.is_of_decoding}", times(fast))] if fast is not None else []),
    ]
    told = [element("div", element("dt", name), element("dd", figure)) for name, figure in pairs]
    return element("dl", told, class_="glance")


def _coverage(evaluation: Evaluation) -> Html | None:
    """What the rates are of, and, loudly, what they are not of."""
    coverage = evaluation.coverage
    num_out = coverage.num_recordings - coverage.num_scored
    all_of = of(coverage.num_recordings, "recording")
    if not num_out:
        if evaluation.rate.value is None:
            return None
        told = "The one recording is" if coverage.num_recordings == 1 else f"All {all_of} are"
        return element("p", f"{told} in these rates.", class_="coverage")
    why = []
    if coverage.num_failed:
        words = f" of {of(coverage.num_words_failed, 'word')} together" if coverage.num_words_failed else ""
        those = f"{count(coverage.num_failed_with_reference)} with a reference{words}"
        why.append(f"{of(coverage.num_failed, 'recording')} failed, {those}.")
    if coverage.num_without_reference:
        those = of(coverage.num_without_reference, "recording was", "recordings were")
        why.append(f"{those} transcribed without a reference to compare with.")
    if (num_others := num_out - coverage.num_failed - coverage.num_without_reference) > 0:
        why.append(f"{of(num_others, 'recording has', 'recordings have')} a reference and could not be compared.")
    if (rate := evaluation.rates.failed_as_empty) is not None:
        why.append(f"With the failed ones as if nothing had been heard: WER {sure(rate)}.")
    share = num_out / coverage.num_recordings
    return alert(f"{count(num_out)} of {all_of} ({share:.1%}) are not in these rates.", why)


def alert(heading: str, told: Sequence[str]) -> Html | None:
    """What must not be overlooked, if there is anything."""
    if not told:
        return None
    listed = element("ul", [element("li", of_data(one)) for one in told])
    return element("div", element("p", element("strong", heading)), listed, class_="alert")
