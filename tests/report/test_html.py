"""What would let a string of the data become part of the page: markup, attributes, characters that no page may hold."""

from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.report.html import Html, element, fit, markup, of_data

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=40)  # half surrogate pairs and controls, too
HOSTILE = "</bdi></script><img src=x onerror=alert(1)>\"'&amp;\x00\ud800\u202e"


class Seen(HTMLParser):
    """Python's own parser: elements with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(text=ANYTHING, value=ANYTHING)
@example(text=HOSTILE, value=HOSTILE)
def test_text_stays_text_and_a_value_a_value(text: str, value: str) -> None:
    page = element("p", text, title=value)
    page.encode()  # what cannot be written is not there
    seen = Seen(page)
    assert seen.tags == [("p", {"title": fit(value)})]
    assert seen.text == fit(text)


@given(ANYTHING)
def test_fitting_changes_only_what_no_page_may_hold(text: str) -> None:
    shown = fit(text)
    assert len(shown) == len(text) and fit(shown) == shown
    allowed = [c for c in text if c in "\t\n" or (c.isprintable() and not "\ufdd0" <= c <= "\ufdef")]
    assert all(c in shown for c in allowed)
    assert "\x00" not in shown and not any("\ud800" <= c <= "\udfff" for c in shown)


def test_data_keeps_its_direction_to_itself() -> None:
    assert of_data("\u202eabc") == "<bdi>\u202eabc</bdi>"  # in whose end the override ends


def test_only_markup_is_taken_as_it_is() -> None:
    assert markup("<", Html("<br>"), ["&", None, 3]) == "&lt;<br>&amp;3"
    joined = Html("<b>") + "</b>"  # a plain string again: forgotten markup is shown, never run
    assert markup(joined) == "&lt;b&gt;&lt;/b&gt;"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"hidden": True}, "<p hidden></p>"),
        ({"hidden": False, "class_": None}, "<p></p>"),
        ({"class_": "n", "data_value": 0}, '<p class="n" data-value="0"></p>'),
    ],
)
def test_attributes(attributes: dict[str, str], expected: str) -> None:
    assert element("p", **attributes) == expected
