"""Single recordings on a page: how they were heard, by one run or by two, and how they sound.

Knows nothing of why these were chosen.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.results import Comparison, Difference, Example
from pipeline.evaluation.rows import Level
from pipeline.records import ErrorCounts
from pipeline.report.aligned import alignment, as_written, legend
from pipeline.report.formats import decimal, of, percent, seconds, shortened
from pipeline.report.html import Html, element, markup, of_data

if TYPE_CHECKING:
    from pipeline.report.audio import Sound

MOST_COLUMNS = 12  # of a recording that are shown
MOST_CHARACTERS = 120  # of a value, a name or an id
MOST_OF_PLACE = 500  # of a path or URL


def worst(examples: Sequence[Example], level: Level, sounds: Mapping[str, "Sound"]) -> Html:
    cards = [_card(example, level, sounds.get(example.id), f"worst-{at}") for at, example in enumerate(examples, 1)]
    return markup(legend(level), element("ol", cards, class_="cards"))


def _card(example: Example, level: Level, sound: "Sound | None", name: str) -> Html:
    return element(
        "li",
        element("h3", _id(example)),
        element("p", _errors(example.errors, level), class_="told"),
        alignment([example], level),
        _sound(sound, example),
        as_written([("Reference", example.reference), ("Heard", example.text)]),
        _about(example),
        id=name,
    )


def differences(
    comparison: Comparison, shown: Sequence[Difference], name: str, sounds: Mapping[str, "Sound | str"]
) -> Html:
    """`name` is theirs on the page, which has a sound once: elsewhere there is a link to where, by its own name."""
    cards = [
        _both(comparison, one, f"{name}-{number}", sounds.get(one.first.id)) for number, one in enumerate(shown, 1)
    ]
    names = (comparison.first, comparison.second)
    return markup(legend(comparison.level, names), element("ol", cards, class_="cards"))


def _both(comparison: Comparison, difference: Difference, name: str, sound: "Sound | str | None") -> Html:
    names, level = (comparison.first, comparison.second), comparison.level
    first, second = difference.first, difference.second
    rates = [
        element("li", of_data(run), ": ", _errors(one.errors, level))
        for run, one in zip(names, (first, second), strict=True)
    ]
    texts = [("Reference", first.reference), (names[0], first.text), (names[1], second.text)]
    return element(
        "li",
        element("h3", _id(first)),
        element("ul", rates, class_="told"),
        alignment([first, second], level, ["said", *names]),
        _sound(sound, first),
        as_written(texts),
        _about(first),
        id=name,
    )


def _errors(errors: ErrorCounts, level: Level) -> Html:
    kinds = (("substituted", errors.substitutions), ("deleted", errors.deletions), ("inserted", errors.insertions))
    told = ", ".join(f"{num:,} {kind}" for kind, num in kinds if num) or "no errors"
    rate = element("strong", f"{level.short} {percent(errors.rate)}")
    return markup(rate, f" {told} in {of(errors.num_reference, level.one)}")


def _sound(sound: "Sound | str | None", example: Example) -> Html | None:
    if sound is None:
        return None
    if isinstance(sound, str):
        return element("p", element("a", "Its sound is further up", href=f"#{sound}"), class_="sound")
    if sound.why_not is not None:
        return element("p", f"No sound: {sound.why_not}.", class_="note sound")
    data = f"data:{sound.mime};base64,{base64.b64encode(sound.data).decode()}"
    player = element("audio", controls=True, preload="none", src=data, aria_label=f"Sound of {_short(example.id)}")
    whole = f" of {seconds(example.duration_s)}" if sound.is_cut and example.duration_s is not None else ""
    told = f"the first {seconds(sound.seconds)}{whole}" if sound.is_cut else seconds(sound.seconds)
    return element("p", player, " ", element("span", told), class_="sound")


def _id(example: Example) -> Html:
    return of_data(_short(example.id))


def _short(text: str) -> str:
    return shortened(text, MOST_CHARACTERS)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else _short(str(value))


def _about(example: Example) -> Html:
    """Where it is and what is known of it."""
    known = [(name, value) for name, value in example.columns.items() if value is not None]
    pairs = [
        ("Length", seconds(example.duration_s)),
        ("Confidence", decimal(example.confidence, 3)),
        *((_short(name), _value(value)) for name, value in known[:MOST_COLUMNS]),
        ("File", shortened(example.uri, MOST_OF_PLACE)),
    ]
    left = len(known) - MOST_COLUMNS
    more = element("div", element("dt", "And"), element("dd", of(left, "more column"))) if left > 0 else None
    return element(
        "dl",
        [element("div", element("dt", of_data(n)), element("dd", of_data(v))) for n, v in pairs],
        more,
        class_="about",
    )
