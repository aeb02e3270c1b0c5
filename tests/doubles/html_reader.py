"""Reads HTML as strictly as a browser does not, and says whether anything in it could act or fetch."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

from hypothesis import strategies as st

VOID = {"meta", "polyline", "circle", "polygon"}  # shapes of SVG end themselves
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "div", "span", "table", "tr", "th"),
    *("details", "summary", "pre", "b", "code"),
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


def hostile_texts() -> st.SearchStrategy[str]:
    pieces = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20))
    return st.lists(pieces, max_size=4).map("".join)


def row_of(page: str, name: str) -> list[str]:
    """The texts of the cells of the first table row that begins with this name."""
    for row in re.findall(r"<tr [^>]*>(.*?)</tr>", page, re.DOTALL):
        cells = [unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<t[hd] [^>]*>(.*?)</t[hd]>", row)]
        if cells and cells[0] == name:
            return cells
    raise AssertionError(name)
