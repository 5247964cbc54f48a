"""The sections of a page of one run.

Knows nothing of the page around them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.results import Confusion, Confusions, Evaluation, Rate
from pipeline.evaluation.rows import Level
from pipeline.progress import clock, hours
from pipeline.records import ErrorCounts
from pipeline.report import plots, recordings
from pipeline.report.formats import count, interval, percent, shortened, times
from pipeline.report.html import Child, Html, element, markup, of_data
from pipeline.report.shell import Section
from pipeline.report.tables import Cell, Column, Row, facts, table

if TYPE_CHECKING:
    from pipeline.report.audio import Sound

MOST_CHARACTERS = 120  # of a word
MOST_CONFUSIONS = 20  # of each kind
SPACE = "\u2423"  # as one writes it where it would not be seen

RATES = (
    ("wer", "Word error rate", "WER", "words substituted, deleted and inserted, by words in the references"),
    ("cer", "Character error rate", "CER", "the same of characters"),
    ("per", "Phone error rate", "PER", "phones substituted, deleted and inserted, by phones in the references"),
    ("mer", "Match error rate", "MER", "errors among all words aligned; never above 100%"),
    ("wil", "Word information lost", "WIL", "1 less the share of said words that are right times that of heard words"),
    ("oracle_wer", "Oracle word error rate", "", "of the best of each recording's n best"),
    ("empty", "Nothing heard", "", "share of recordings with words in the reference of which none was heard"),
    ("failed_as_empty", "Word error rate with failures", "", "as if nothing had been heard of recordings that failed"),
)


def rates(evaluation: Evaluation) -> Section:
    columns = [Column("Rate", numeric=False), Column("Value"), Column("95% interval")]
    rows: list[Row] = []
    in_words = evaluation.judged_by is Level.WORDS
    for name, title, short, told in RATES:
        rate: Rate | None = getattr(evaluation.rates, name)
        if rate is not None and (in_words or rate.value is not None):
            what = [f"{title} ({short})" if short else title, element("small", told)]
            rows.append([what, percent(rate.value), interval(rate.interval)])
    kinds = ("Right", "Substituted", "Deleted", "Inserted", "In references")
    counted = [_counts("Words", evaluation.words), _counts("Characters", evaluation.chars)] if in_words else []
    if evaluation.phones is not None:
        counted.append(_counts("Phones", evaluation.phones))
    content = markup(
        table("Rates of all scored recordings together", columns, rows, sortable=False),
        table("What they are made of", [Column("Of", False), *map(Column, kinds)], counted, sortable=False),
    )
    return Section("rates", "Rates", content)


def _counts(name: str, counts: ErrorCounts) -> Row:
    numbers = (counts.hits, counts.substitutions, counts.deletions, counts.insertions, counts.num_reference)
    return [name, *map(count, numbers)]


def compared(evaluation: Evaluation) -> Section:
    pairs = [
        ("Run", evaluation.run),
        ("Model", evaluation.model),
        ("Decoder", evaluation.decoder),
        ("Normaliser", evaluation.normalizer),
        ("References", evaluation.references),
        ("Resampled", f"{evaluation.resampled} ({count(evaluation.num_resampled)})"),
    ]
    return Section("compared", "What was compared", facts([(name, of_data(told)) for name, told in pairs]))


def where(evaluation: Evaluation) -> Section:
    level = evaluation.judged_by
    if not evaluation.points:
        return Section("where", "Where errors are", element("p", f"No {level} were compared.", class_="note"))
    num_all = sum(num for _, _, num in evaluation.histogram)  # whose references say something, as those of points
    made = [
        plots.histogram(evaluation.histogram, level),
        plots.by_duration(evaluation.points, level, num_all),
        plots.by_confidence(evaluation.points, level, num_all),
        plots.calibration(evaluation.calibration),
    ]
    drawn = [plot.html() for plot in made if plot is not None]
    missing = []
    if made[1] is None:
        missing.append("No durations are known.")
    if made[2] is None:
        missing.append("No confidences are known: nothing is plotted against them.")
    notes = element("p", " ".join(missing), class_="note") if missing else None
    behind = plots.sample(evaluation.points, level) if made[1] or made[2] else None
    return Section("where", "Where errors are", markup(element("div", drawn, class_="plots"), notes, behind))


def worst(evaluation: Evaluation, sounds: Mapping[str, "Sound"]) -> Section:
    level, errors = evaluation.judged_by, evaluation.errors
    if not evaluation.worst:
        if errors.num_errors:
            none = "None was asked for (--worst 0)."
        else:
            none = f"No recording has a {level.one} error." if errors.num_reference else f"No {level} were compared."
        content = element("p", none, class_="note")
    else:
        order = f"Those with the most {level.one} errors come first, and of as many the higher rate."
        content = markup(element("p", order, class_="note"), recordings.worst(evaluation.worst, level, sounds))
    return Section("worst", "Worst recordings", content)


def confusions(evaluation: Evaluation) -> Section:
    level = evaluation.judged_by
    chars = [("Characters", evaluation.char_confusions)] if level is Level.WORDS else []
    kinds = [(level.title(), evaluation.confusions), *chars]
    made = [_confusions(name, found) for name, found in kinds]
    longest = max(len(some) for _, found in kinds for some in (found.substitutions, found.deletions, found.insertions))
    note = f"Of each kind the {MOST_CONFUSIONS} most frequent; more of them are in evaluation.json."
    cut = element("p", note, class_="note") if longest > MOST_CONFUSIONS else None
    return Section("confusions", "Confusions", markup(cut, made))


def _confusions(name: str, found: Confusions) -> Html:
    kinds = (
        ("substituted", found.substitutions, ("Said", "Heard")),
        ("deleted", found.deletions, ("Said",)),
        ("inserted", found.insertions, ("Heard",)),
    )
    tables = [_confused(f"{name} {kind}", some, titles) for kind, some, titles in kinds]
    return markup(element("h3", name), element("div", tables, class_="three"))


def _confused(caption: str, found: Sequence[Confusion], titles: Sequence[str]) -> Html:
    if not found:
        return element("p", f"{caption}: none.", class_="note")
    columns = [*(Column(title, numeric=False) for title in titles), Column("Times")]
    rows: list[Row] = [
        [*(_word(one.said if title == "Said" else one.heard) for title in titles), Cell(count(one.count), one.count)]
        for one in found[:MOST_CONFUSIONS]
    ]
    return table(caption, columns, rows)


def _word(word: str) -> Html:
    return element("code", of_data(SPACE if word == " " else shortened(word, MOST_CHARACTERS)))


def failures(evaluation: Evaluation) -> Section:
    coverage = evaluation.coverage
    if not coverage.failures:
        return Section("failures", "Failures", element("p", "No recording failed.", class_="note"))
    rows: list[Row] = [
        [of_data(reason), Cell(count(num), num), Cell(percent(share), share)]
        for reason, num in sorted(coverage.failures.items(), key=lambda item: (-item[1], item[0]))
        for share in [num / max(coverage.num_recordings, 1)]
    ]
    columns = [Column("Reason", numeric=False), Column("Recordings"), Column("Share")]
    return Section("failures", "Failures", table("Recordings that failed, by reason", columns, rows))


def speed(evaluation: Evaluation) -> Section:
    found = evaluation.speed
    pairs: list[tuple[Child, Child]] = [("Audio", hours(found.audio_s))]
    if found.wall_s is None or found.times_real_time is None:
        pairs.append(("Time", "its commits do not tell"))
    else:
        took = clock(found.wall_s) + ("" if found.has_start else ", without its start")
        took += ", decoding alone: another run has encoded" if found.is_of_decoding else ""
        pairs += [("Time", took), ("Speed", f"{times(found.times_real_time)} times real time")]
    if (per_hour := found.audio_hours_per_compute_hour) is not None:
        pairs.append(("Audio per hour of work", f"{times(per_hour)} hours, of all workers together"))
    if found.price_per_hour is not None:
        pairs.append(("Price", f"{found.price_per_hour:,.2f} an hour"))
    if found.cost is not None:
        pairs.append(("Cost", f"{found.cost:,.2f}"))
    if found.cost_per_audio_hour is not None:
        pairs.append(("Cost of an hour of audio", f"{found.cost_per_audio_hour:,.4f}"))
    total = sum(found.stage_s.values())
    rows: list[Row] = [
        [name, Cell(clock(taken_s), taken_s), Cell(percent(taken_s / total), taken_s / total)]
        for name, taken_s in found.stage_s.items()
        if total
    ]
    columns = [Column("Stage", numeric=False), Column("Time of all workers"), Column("Share")]
    stages = table("Time in stages", columns, rows) if rows else None
    plot = plots.throughput(found)
    drawn = element("div", plot.html() if plot else None, stages, class_="plots")
    return Section("speed", "Speed and cost", markup(facts(pairs), drawn))
