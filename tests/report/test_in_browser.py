"""What only a browser can tell: that pages load without complaint, fetch nothing, run nothing of the data, and work."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.results import Evaluation
from pipeline.report.audio import Sound, _mp3
from pipeline.report.page import comparison_page, evaluation_page
from tests.report import figures
from tests.report.browser import CHROMIUM, Browser, Page

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome here"),
    pytest.mark.xdist_group("browser"),  # which is started once
]

HOSTILE = (
    "</bdi></style></script></svg><script>window.ran=1</script><img src=x onerror=window.ran=1>"
    "<svg onload=window.ran=1>\"' onmouseover=window.ran=1 autofocus onfocus=window.ran=1 x='&lt;\u202e\u2066\x00\ud800"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    started = Browser()
    yield started
    started.close()


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return figures.evaluation(num_points=300)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, evaluation: Evaluation) -> Path:
    tone = (0.3 * np.sin(np.arange(int(1.2 * 16_000)) / 9)).astype(np.float32)
    sounds = {f"recording-{number}": Sound(data=_mp3(tone), seconds=1.2) for number in range(3)}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(evaluation_page(evaluation, sounds).encode())
    return path


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    opened = browser.open(file)
    yield opened
    assert opened.complaints == []
    opened.close()


def column(page: Page, number: int, shown: str = "true") -> list[str]:
    """Of the slices that are shown the texts of a column."""
    rows = f"[...document.querySelectorAll('#slices tbody tr')].filter(r => {shown})"
    return [str(text) for text in page.run(f"{rows}.map(r => r.cells[{number}].textContent)")]


def heading(number: int) -> str:
    return f"document.querySelectorAll('#slices thead th')[{number}]"


def test_a_page_loads_without_complaint_and_asks_for_nothing(page: Page, file: Path) -> None:
    assert [url for url in page.requests if not url.startswith("data:")] == [file.as_uri()]


def test_slices_are_sorted_by_a_click_and_again_the_other_way(page: Page, evaluation: Evaluation) -> None:
    rates = {one.value: round(one.rate.value or 0.0, 6) for one in evaluation.slices}
    names = list(rates)
    for order in ("descending", "ascending", "descending"):
        page.run(f"{heading(2)}.querySelector('button').click()")
        names.sort(key=lambda name: rates[name], reverse=order == "descending")  # as Python's, it is stable
        assert [text.split("\u25b2")[0] for text in column(page, 1)] == names
        assert page.run(f"{heading(2)}.getAttribute('aria-sort')") == order
    assert page.run("document.querySelectorAll('#slices [aria-sort]').length") == 1


def test_texts_are_sorted_as_people_count(page: Page) -> None:
    page.run(f"{heading(1)}.querySelector('button').click()")
    ranges = [text for text in column(page, 1) if text.endswith(" s")]
    assert ranges == [f"{low} to {low + 5} s" for low in range(0, 30, 5)]  # 5 before 10


def test_numbers_are_sorted_by_what_they_are_and_nothing_is_last(page: Page) -> None:
    """Values such as 1.25 h and 3.3 min, and bare numbers; a dash is none."""
    page.run(f"{heading(8)}.querySelector('button').click()")
    assert column(page, 8)[:2] == ["1.25 h", "16.7 min"] and column(page, 8)[-1] == "3.3 min"
    table = (
        "[...document.querySelectorAll('details table')].find(t => t.caption.textContent.startsWith('Recordings of'))"
    )
    sort = f"(() => {{ {table}.querySelectorAll('button')[1].click(); return [...{table}.tBodies[0].rows]"
    lengths = page.run(f"{sort}.map(r => r.cells[1].textContent) }})()")
    assert lengths == sorted(lengths, key=float, reverse=True)


def test_the_keyboard_reaches_and_works_the_table(page: Page) -> None:
    page.run(f"{heading(0)}.querySelector('button').focus()")
    page.press("Tab")
    page.press("Tab")
    assert page.run(f"document.activeElement === {heading(2)}.querySelector('button')")
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.run(f"{heading(2)}.getAttribute('aria-sort')") == "descending"


def test_a_filter_leaves_the_rows_with_all_its_words(page: Page, evaluation: Evaluation) -> None:
    def typed(text: str) -> None:
        field = "document.querySelector('#slices input')"
        page.run(f"{field}.value = {json.dumps(text)}; {field}.dispatchEvent(new Event('input'))")

    assert page.run("document.querySelector('#slices input').labels[0].textContent").strip() == "Only slices with"
    typed("SPEAKER an")
    assert column(page, 1, "r.checkVisibility()") == ["anna"]
    assert page.run("document.querySelector('#slices output').textContent") == f"1 of {len(evaluation.slices)}"
    typed("worse")
    assert column(page, 0, "r.checkVisibility()") == ["room"]
    typed("")
    assert len(column(page, 1, "r.checkVisibility()")) == len(evaluation.slices)


def test_sounds_can_be_played(page: Page) -> None:
    lengths = page.run(
        """Promise.all([...document.querySelectorAll('audio')].map(audio => new Promise((kept, broken) => {
            audio.addEventListener('canplaythrough', () => kept([audio.duration, audio.controls]));
            audio.addEventListener('error', () => broken(audio.error.message));
            audio.preload = 'auto';
            audio.load();
        })))"""
    )
    assert len(lengths) == 3
    assert all(length == pytest.approx(1.2, abs=0.15) and controls for length, controls in lengths)


def test_what_is_not_on_the_page_is_refused(browser: Browser, file: Path) -> None:
    page = browser.open(file)
    refused = page.run(
        """new Promise(async kept => {
            const refused = [];
            document.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.ran = 1';
            const image = Object.assign(new Image(), {src: 'https://127.0.0.1:9/x.png'});
            const link = Object.assign(document.createElement('a'), {href: 'javascript:window.ran=1'});
            document.body.append(script, image, link);
            document.body.insertAdjacentHTML('beforeend', '<p style="color: red" onclick="window.ran = 1"></p>');
            document.body.lastChild.click();
            link.click();
            await fetch('https://127.0.0.1:9/').catch(() => 0);
            setTimeout(() => kept(refused), 100);
        })"""
    )
    assert {"script-src-elem", "script-src-attr", "style-src-attr", "img-src", "connect-src"} <= set(refused)
    assert page.run("typeof window.ran") == "undefined"
    page.close()


def test_nothing_of_the_data_runs(browser: Browser, tmp_path: Path) -> None:
    from tests.report.test_page import Hostile

    whole = figures.evaluation(num_points=30)
    one = Hostile(HOSTILE).of(replace(whole, worst=whole.worst[:2]))
    report = Hostile(HOSTILE).of(figures.report(evaluations=(replace(one, name="one"), replace(one, name="two"))))
    links = {each.name: f"javascript:window.ran=1//{each.name}" for each in report.evaluations}
    for made in (evaluation_page(one, {}), comparison_page(report, links, {})):
        path = tmp_path / "hostile.html"
        path.write_bytes(made.encode())
        page = browser.open(path)
        page.run("for (const e of document.querySelectorAll('*')) e.dispatchEvent(new MouseEvent('mouseover'))")
        page.run("for (const e of document.querySelectorAll('button, details, a[href^=\".\"]')) e.focus()")
        assert page.run("[typeof window.ran, document.scripts.length, document.images.length]") == ["undefined", 1, 0]
        assert page.run("document.body.textContent.includes('</style></script></svg><script>window.ran=1')")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith("data:")] == [path.as_uri()]
        page.close()


def test_a_comparison_loads_without_complaint(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    report = figures.report(evaluations=(figures.evaluation("base", 0), figures.evaluation("large", 0)))
    path.write_bytes(comparison_page(report, {"base": "base/report.html"}, {}).encode())
    page = browser.open(path)
    assert page.complaints == []
    assert page.run("document.querySelector('#runs a').href") == (tmp_path / "base/report.html").as_uri()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(page: Page, scheme: str) -> None:
    """By WCAG's measure: 4.5 for text, 3 for the marks of plots."""
    page.prefer(scheme)
    found = page.run(
        """(() => {
            const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
            const light = colour => {
                paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = element => {
                for (let at = element; at; at = at.parentElement) {
                    const colour = getComputedStyle(at).backgroundColor;
                    if (!colour.endsWith(', 0)')) return colour;
                }
            };
            const of = (selector, property) => {
                const element = document.querySelector(selector);
                const one = light(getComputedStyle(element)[property]), two = light(ground(element));
                return [selector, (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05)];
            };
            const texts = ['body', '.headline strong', '.kind', '.alert', 'dt', '.note', 'ins.s', 'ins.i', 'del',
                           '.marked td', '.mark', 'summary', 'nav a', '#theme', 'th button', 'dd', '.t'];
            return [texts.map(one => of(one, 'color')), [of('.fill-accent', 'fill'), of('.stroke-second', 'stroke')]];
        })()"""
    )
    assert not [one for one in found[0] if one[1] < 4.5]
    assert not [one for one in found[1] if one[1] < 3.0]


def test_colours_follow_the_system_until_one_is_chosen(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.run("localStorage.clear()")
    page.prefer("light")
    light = page.run(ground)
    page.prefer("dark")
    dark = page.run(ground)
    assert light != dark
    assert page.run("document.getElementById('theme').getAttribute('aria-pressed')") == "true"
    page.run("document.getElementById('theme').click()")
    assert page.run(ground) == light
    page.run("document.getElementById('theme').click(); localStorage.clear()")
    assert page.run(ground) == dark


def test_errors_can_be_told_apart_without_colour(page: Page) -> None:
    lines = page.run(
        """['del', 'ins.s', 'ins.i'].map(one => document.querySelector('#worst .cards ' + one)).map(element =>
            [getComputedStyle(element).textDecorationLine, getComputedStyle(element, '::before').content])"""
    )
    assert lines == [["line-through", "none"], ["underline", "none"], ["none", '"+"']]


def test_the_lines_of_an_alignment_are_of_the_same_height_and_order(page: Page) -> None:
    """What was said above what was heard, in each column."""
    rows = page.run(
        """[...document.querySelectorAll('#worst .cards .t:not([data-word])')].slice(0, 9).map(element =>
            [...element.children].map(child => child.getBoundingClientRect().top))"""
    )
    assert len(rows) == 9
    assert all(len(tops) == 2 and tops[0] < tops[1] for tops in rows)


def test_a_narrow_window_scrolls_tables_and_not_the_page(page: Page) -> None:
    page.width(400)
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.run("document.querySelector('#slices .scrolled').scrollWidth > 400")


def test_without_scripts_all_is_there_and_nothing_is_dead(browser: Browser, file: Path) -> None:
    page = browser.open(file, scripts=False)
    snapshot = page.ask("DOMSnapshot.captureSnapshot", computedStyles=[])
    (document, strings) = snapshot["documents"][0], snapshot["strings"]
    laid_out = {strings[text] for text in document["layout"]["text"] if text >= 0}
    assert {"7.31%", "Word error rate by slice", "anna", "Worst recordings"} <= laid_out
    names = [strings[name] for name in document["nodes"]["nodeName"]]
    shown = [names[node] for node in document["layout"]["nodeIndex"]]
    assert "AUDIO" in shown and "svg" in shown and "BUTTON" not in shown and "INPUT" not in shown
    page.close()


def test_printed_it_is_a_paper(page: Page) -> None:
    page.prefer("dark", media="print")
    hidden = "['nav', '.filter', '.sound', '.numbers'].every(one => !document.querySelector(one).checkVisibility())"
    assert page.run(hidden)
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("document.querySelector('#worst details dd').getBoundingClientRect().height") > 10  # and opened
    assert page.run("document.querySelector('#slices .scrolled').scrollWidth <= document.body.clientWidth")
    assert page.pdf().startswith(b"%PDF-")


def test_plots_are_drawn(page: Page) -> None:
    """Some thousand pixels of the accent where points are, by the picture that the browser makes of them."""
    page.prefer("light")
    page.run("document.querySelector('#where').scrollIntoView()")
    picture = page.screenshot()
    assert np.count_nonzero((abs(pixels(picture) - [58, 85, 204]) < 60).all(axis=2)) > 1_000


def pixels(png: bytes) -> np.ndarray:
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), np.int16)
