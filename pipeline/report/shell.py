"""What every page is made of: its head with a policy that lets nothing in, its contents, its sections.

Knows nothing of what sections hold.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import pipeline
from pipeline.report.html import Child, Html, element, markup

ICON = (  # a crescent
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path fill="#5a6fe0" d="M10.8 1.6a6.6 6.6 0 1 0 3.9 9.3A5.6 5.6 0 0 1 10.8 1.6z"/></svg>'
)


@dataclass(frozen=True)
class Section:
    name: str  # its own on the page, for links
    title: Child
    content: Html

    def html(self) -> Html:
        heading = element("h2", self.title, id=f"{self.name}-heading")
        return element("section", heading, self.content, id=self.name, aria_labelledby=f"{self.name}-heading")


def document(title: str, heading: Child, sections: Sequence[Section]) -> str:
    """The page, which is one file and asks for no other."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "img-src data:",
            "media-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    icon = f"data:image/svg+xml;base64,{base64.b64encode(ICON.encode()).decode()}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("link", rel="icon", href=icon),
        element("style", Html(style)),
    )
    links = [element("li", element("a", section.title, href=f"#{section.name}")) for section in sections]
    theme = element("button", "Dark", type="button", id="theme", aria_pressed="false", hidden=True)
    body = element(
        "body",
        element("a", "To the figures", href="#main", class_="skip"),
        element("nav", element("p", "Nightshift", class_="brand"), element("ul", links), theme, aria_label="Contents"),
        element(
            "main",
            element("header", heading),
            [section.html() for section in sections],
            element("footer", f"Made by Nightshift {pipeline.__version__}. All of it is in this one file."),
            id="main",
        ),
        element("script", Html(script)),
    )
    return markup(Html("<!DOCTYPE html>\n"), element("html", head, Html("\n"), body, lang="en"), Html("\n"))


def _asset(name: str) -> str:
    return resources.files("pipeline.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
