"""Where a text of code or configuration holds values that may be names of models, and what stands around them.

A name counts where it is a whole value: a quoted text, an option on a command line, a value of a configuration. Prose,
comments, keys of tables, comparisons, types and titles name models without asking them, and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Syntax(Enum):
    """How a text is read."""

    PYTHON = "python"
    C_LIKE = "c-like"
    HASHED = "hashed"  # configuration and shells: comments begin with #, and values need no quotes
    JSON = "json"
    NOTEBOOK = "notebook"
    MARKUP = "markup"
    MARKDOWN = "markdown"
    PLAIN = "plain"


_SUFFIXES: Final = {
    Syntax.PYTHON: "py pyi pyw python",
    Syntax.C_LIKE: "js jsx ts tsx mjs cjs mts cts javascript typescript go java kt kts scala cs csharp c h cc cpp hpp "
    "rs rust swift php dart groovy gradle vue svelte proto jsonc json5 css scss graphql hcl tf sol zig golang kotlin",
    Syntax.HASHED: "yaml yml toml env ini cfg conf properties sh bash zsh fish shell console dockerfile makefile mk "
    "just justfile rb ruby pl ex exs r jl nix ps1 envrc dotenv cmake",
    Syntax.JSON: "json webmanifest",
    Syntax.NOTEBOOK: "ipynb",
    Syntax.MARKUP: "html htm xml xhtml svg",
    Syntax.MARKDOWN: "md mdx markdown",
}
_BY_SUFFIX: Final = {suffix: syntax for syntax, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def syntax_of(name: str) -> Syntax:
    """How to read a file of this name (``app.ts``, ``Dockerfile``, ``.env.local``), or a block of this language."""
    parts = name.lower().split(".")
    found = _BY_SUFFIX.get(parts[-1]) or _BY_SUFFIX.get(parts[0]) or _BY_SUFFIX.get(parts[1] if len(parts) > 2 else "")
    return found or Syntax.PLAIN


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A whole value at ``start`` of the text. ``keyed``: what is before it says that it is a model."""

    start: int
    text: str
    keyed: bool


# one token; a longer one is no name of a model, and is passed over in pieces
_TOKEN = re.compile(r"[\w@][\w./@:+-]{1,120}")
# what has no end runs to the end of the text, and a string has a bound: else each begin would look for its end again
_STRING = r"\"(?:\\.|[^\"\\\n]){0,2000}\"|'(?:\\.|[^'\\\n]){0,2000}'"
_COMMENTS: Final = {
    # a docstring begins its line; another text in three quotes is read for quoted values
    Syntax.PYTHON: re.compile(
        rf"(?P<comment>^[ \t]*[rRbBuU]{{0,2}}(?:\"\"\"(?:.|\n)*?(?:\"\"\"|\Z)|'''(?:.|\n)*?(?:'''|\Z))|#[^\n]*)"
        rf"|{_STRING}",
        re.MULTILINE,
    ),
    Syntax.C_LIKE: re.compile(
        rf"(?P<comment>//[^\n]*|/\*(?:.|\n)*?(?:\*/|\Z)|<!--(?:.|\n)*?(?:-->|\Z))|{_STRING}|`(?:\\.|[^`\\])*(?:`|\\?\Z)"
    ),
    Syntax.HASHED: re.compile(rf"(?P<comment>(?:^|(?<=[ \t]))[#;][^\n]*)|{_STRING}", re.MULTILINE),
    Syntax.MARKUP: re.compile(r"(?P<comment><!--(?:.|\n)*?(?:-->|\Z))"),
}
_QUOTES: Final = "\"'`"
_FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*\{?\.?(?P<info>[\w+-]*)[^\n]*\n(?P<body>(?:.*\n)*?)(?:[ \t]*(?P=fence)|\Z)",
    re.MULTILINE,
)
# the lines of code of a notebook's cells; what is shown below a cell, and its texts, are left out
_CELL = re.compile(
    r"\"cell_type\":\s*\"(?P<type>\w+)\"|^[ \t]*\"source\":\s*\[[ \t]*\n(?P<lines>(?:[ \t]*\"[^\n]*\n)*)", re.MULTILINE
)
# a key, parameter, variable or call that says that its value is a model
_MODEL_KEY = re.compile(
    r"(?:[\w-]*(?:[mM]odel|MODEL|[eE]ngine|llm|LLM|[dD]eployment)(?:s|[_-]?[iI][dD]|[_-]?[nN]ames?|_NAME|_ID)?\d*)"
    r"[\"'\]]{0,2}\s*(?:\?\?|\|\||:=|=>|[:=(,])\s*[\[({]?\s*(?:[\w.]+\()?\\?[\"'`]?\Z"
)
_MODEL_LIST = re.compile(r"(?:[mM]odels?|MODELS?)[\"']?\s*[:=]\s*[\[({][^\])}]*\Z")
_FLAG = re.compile(r"(?:^|[\s\"'`,\[(])(?:--?[\w-]*model[\w-]*|-m)[\"']?(?:[ \t]*[=,][ \t]*|[ \t]+)[\"'`]?\Z")
_ASSIGNED = re.compile(r"[\w.\]\"'-][\"']?(?:\s*[:=]\s*|:-)\Z")
_DASHED = re.compile(r"^[ \t]*-[ \t]+\Z")
_ENV = re.compile(r"^\s*(?:ENV|ARG)\s+\w+\s+\Z")
_ENV_OF_JSON = re.compile(r"\"\w+=\Z")
_FLOW = re.compile(r"[\[,{]\s*\Z")
# what shows a text to people
_SHOWN = re.compile(
    r"(?i)(?:label|title|display_?name|description|placeholder|heading|alt|tooltip|summary|encoding_for_model)"
    r"[\"']?\s*[:=(]\s*[\"'`]?\Z"
)
_COMPARED_BEFORE = re.compile(
    r"(?:[=!]==?|<>|\bcase|\b(?:not )?in|\bis)\s*[\"'`]\Z"
    r"|(?:(?:start|end)s_?with|includes|contains|has_?prefix|indexOf|toBe|toEqual|toStrictEqual|toContain|\.get|\.has|\.pop)"
    r"\((?:\w+, ?)?[\"'`]\Z",
    re.IGNORECASE,
)
_COMPARED_AFTER = re.compile(r"\s*(?:[=!]==?|(?:not )?in\b)")
_COMPARED_GROUP = re.compile(
    r"(?:(?<!\w)(?:if|elif|and|or|not|assert|return|==|!=)\b[^\n]*\bin|[=!]=)\s*[\[({][^\])}]*\Z"
)
_TYPE_BEFORE = re.compile(r"(?<!\|)\|\s*[\"'`]\Z|\btype\s+\w+\s*=\s*[\"'`]\Z")
_TYPE_AFTER = re.compile(r"\s*\|(?!\|)")
_INDEXED = re.compile(r"[\w)\]]\[[\"'`]\Z")
_AROUND: Final = 160  # characters before a value that are looked at
_LITERAL: Final = 10_000
_CALLED = re.compile(
    r"models/(?P<name>[\w.-]+):(?:stream)?[gG]enerateContent|/model/(?P<id>[\w.:-]+)/(?:invoke|converse)"
)


def named_values(text: str, syntax: Syntax, may_be: Callable[[str], bool]) -> Iterator[NamedValue]:
    """The values of the text that may be names of models, in their order.

    ``may_be``: a quick look at a token; what stands around the others is not looked at.
    """
    if syntax is Syntax.MARKDOWN:
        for block in _FENCE.finditer(text):
            shift, language = block.start("body"), syntax_of(block["info"])
            for value in named_values(block["body"], language, may_be):
                yield NamedValue(shift + value.start, value.text, value.keyed)
        return
    if syntax is Syntax.NOTEBOOK:
        text, syntax = _cells(text), Syntax.PYTHON
    code = _without_comments(text, syntax)
    for token in _TOKEN.finditer(code):
        if may_be(token[0]):
            yield from _values_of(code, token.start(), token[0], syntax)


def _cells(text: str) -> str:
    """The code of a notebook's cells, each character where it was; all else is spaces."""
    found: list[str] = []
    at, code = 0, False
    for part in _CELL.finditer(text):
        if part["type"] is not None:
            code = part["type"] == "code"
        elif code:
            found += [re.sub(r"[^\n]", " ", text[at : part.start("lines")]), _lines_of(part["lines"])]
            at = part.end("lines")
    return "".join(found) + re.sub(r"[^\n]", " ", text[at:])


def _lines_of(cell: str) -> str:
    cell = re.sub(r"^([ \t]*)\"", r"\1 ", cell, flags=re.MULTILINE)
    cell = re.sub(r"(\\n)?\"(,?)[ \t]*$", lambda end: " " * len(end[0]), cell, flags=re.MULTILINE)
    cell = cell.replace('\\"\\"\\"', '   """')
    return re.sub(r"\\\"(?=\w)", ' "', cell).replace('\\"', '" ')


def _without_comments(text: str, syntax: Syntax) -> str:
    """The text with its comments as spaces, so that every place stays where it was."""
    pattern = _COMMENTS.get(syntax)
    return text if pattern is None else pattern.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    comment = found.groupdict().get("comment")
    return found[0] if comment is None else re.sub(r"[^\n]", " ", comment)


def _values_of(code: str, start: int, token: str, syntax: Syntax) -> Iterator[NamedValue]:
    if "://" in token or token.startswith("/") or code[start - 1 : start] == "/":
        for called in _CALLED.finditer(token):
            group = "name" if called["name"] else "id"
            yield NamedValue(start + called.start(group), called[group], keyed=True)
        return
    if ":-" in token:  # ${MODEL:-default}
        shift = token.index(":-") + 2
        start, token = start + shift, token[shift:]
    trimmed = token.rstrip(".:/-")
    value = _whole(code, start, start + len(token), trimmed, syntax)
    if value is not None:
        yield value


def _whole(code: str, start: int, end: int, token: str, syntax: Syntax) -> NamedValue | None:
    """The value, if the token at ``start`` is all of one that names what is asked."""
    line = code.rfind("\n", 0, start) + 1
    before = code[max(line, start - _AROUND) : start]
    json = syntax is Syntax.JSON
    if len(token) < end - start or (json and before.endswith(("`", '\\"'))):
        return None  # part of a longer value, or a text within a text
    if before.endswith(tuple(_QUOTES)) and code[end : end + 2].lstrip("\\")[:1] == before[-1]:
        after = code[end + 1 + (code[end] == "\\") : end + 80]
        above = code[max(0, start - _AROUND) : start]
        keyed = _keyed(before) or bool(_MODEL_KEY.search(above))
        return None if _only_named(code, start, before, after) else NamedValue(start, token, keyed)
    after = code[end : end + 80]
    if not re.match(r"[ \t]*(?:$|[,;\]})\"'`\\&|]|\\n)|\s", after, re.MULTILINE):
        return None
    assigned = before.endswith("=") and _MODEL_KEY.search(before) and (not json or _ENV_OF_JSON.search(before))
    if _FLAG.search(before) or assigned:
        return NamedValue(start, token, keyed=True)
    bare = syntax is Syntax.HASHED and not _SHOWN.search(before)
    if bare and re.match(r"[ \t]*(?:$|[\],}\"'])", after, re.MULTILINE) and _bare_value(before):
        return NamedValue(start, token, _keyed(before))
    return None


def _bare_value(before: str) -> bool:
    quotes = before.count('"') % 2 or before.count("'") % 2
    if quotes and not before.endswith(("=", ":-")):
        return False
    return any(pattern.search(before) for pattern in (_ASSIGNED, _DASHED, _ENV)) or (
        bool(_FLOW.search(before)) and ":" in before and not quotes
    )


def _keyed(before: str) -> bool:
    return any(pattern.search(before) for pattern in (_MODEL_KEY, _MODEL_LIST, _FLAG))


def _only_named(code: str, start: int, before: str, after: str) -> bool:
    """Whether a quoted name is a key, one side of a comparison, a type or a title: nothing that is asked."""
    key = re.match(r"\s*(?::(?![:=])|=>)", after)
    if key and "?" not in before and not _keyed(before):
        return True
    if any(pattern.search(before) for pattern in (_SHOWN, _COMPARED_BEFORE, _COMPARED_GROUP, _TYPE_BEFORE, _INDEXED)):
        return True
    if _COMPARED_AFTER.match(after) or _TYPE_AFTER.match(after):
        return True
    above = code[max(0, start - _LITERAL) : start]
    literal = above.rfind("Literal[")
    return literal >= 0 and "]" not in above[literal:]
