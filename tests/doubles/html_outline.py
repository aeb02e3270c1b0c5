"""A page as a screen reader and a browser's policy see it: headings, tables, names, and what could act or fetch."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = frozenset({"meta", "polyline", "polygon", "circle"})
_TAGS = frozenset({
    *("html", "head", "meta", "title", "style", "body", "main", "nav", "h1", "h2", "h3", "p", "a", "span", "b", "code"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "div", "figure", "figcaption", "details", "summary"),
    *("svg", "desc", "polyline", "polygon", "circle", "text"),
})  # fmt: skip


class Outline(HTMLParser):
    """Reads a page strictly: what it does not know, or is not closed in its place, is an error."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.headings: list[tuple[int, str]] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS, tag
        values = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in values.items()]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), ""))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in _VOID, tag

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self.headings and self._open and self._open[-1] in ("h1", "h2", "h3", "a", "span"):
            level, said = self.headings[-1]
            self.headings[-1] = (level, said + data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)
