"""The page: no text of a model, a user or a name can bring markup, a script, or anything from outside into it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import example, given, settings
from hypothesis import strategies as st

from killswitch.shadow.report.html import page
from tests.doubles.shadow_reports import report_with

VOID = {"meta"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "div", "span", "table", "tr", "th"),
    *("td", "bdi", "strong", "ul", "li", "svg", "text", "rect", "line", "del", "ins"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "style", "data-label", "dir", "viewbox", "role"),
    *("aria-label", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "text-anchor"),
}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title><svg/onload=alert(1)>",
    "javascript:alert(1) https://evil.example/x.png",
    "{{7*7}} ${x} <!--",
    "refund\u202e.oiduts\u202c \u200b\x00\x1b[2J\ud800\u2066",
    "&lt;script&gt; &amp; &#60;",
)


class Reader(HTMLParser):
    """Reads a page, and keeps every tag, attribute and text of it. Fails where a tag is not closed in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def is_harmless(reader: Reader) -> bool:
    """Known tags and attributes alone, no address, and a style that is a width."""
    styles = [value for name, value in reader.attributes if name == "style"]
    return (
        reader.tags <= TAGS
        and {name for name, _ in reader.attributes} <= ATTRIBUTES
        and all(style.startswith("width:") and style.endswith("%") and len(style) < 14 for style in styles)
    )


def any_text() -> st.SearchStrategy[str]:
    pieces = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))
    return st.lists(pieces, max_size=4).map("".join)


@settings(deadline=None, max_examples=60)
@given(any_text())
@example("".join(HOSTILE))
def test_any_text_gives_a_page_without_markup_of_its_own(text: str) -> None:
    """Whatever a model, a user or a name says, the page is well formed and has no script, handler or address."""
    shown = page(report_with(text))
    shown.encode("utf-8")
    assert is_harmless(read(shown))


def test_the_page_forbids_scripts_and_everything_from_outside() -> None:
    shown = page(report_with("text"))
    policies = [value for name, value in read(shown).attributes if name == "content" and "default-src" in value]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    assert "url(" not in shown
    assert "@import" not in shown


def test_markup_in_an_answer_is_shown_as_text() -> None:
    texts = "".join(read(page(report_with("<b>bold</b>"))).texts)
    assert "<b>bold</b>" in texts


def test_a_text_that_would_run_backwards_is_shown_by_its_number() -> None:
    shown = page(report_with("pay\u202e5 euros"))
    assert "\u202e" not in shown
    assert '<span class="odd">U+202E</span>' in shown


def test_the_tone_of_84_against_11_percent_is_in_the_page() -> None:
    texts = read(page(report_with("i'd be happy"))).texts
    assert texts.count("84.0%") >= 2
    assert texts.count("11.0%") >= 2
    assert "NO GO" in texts


def test_each_histogram_has_a_bar_of_each_side_in_each_bin() -> None:
    shown = page(report_with("tokens"))
    svg = shown[shown.index("<svg") : shown.index("</svg>")]
    assert svg.count('class="control"') == 2
    assert svg.count('class="canary"') == 2


def test_words_that_only_one_answer_has_are_marked() -> None:
    assert "<ins> more</ins>" in page(report_with("five days"))


def test_no_table_of_many_columns_is_cut_on_a_narrow_screen() -> None:
    """From six columns on, each row is a card on a phone: 390 px have room for four numbers."""
    shown = page(report_with("orders"))
    tables = re.findall(r'<table class="(\w+)"><tr>(.*?)</tr>', shown)
    assert len(tables) > 5
    assert all(kind == "cards" for kind, head in tables if head.count("<th") >= 6)
