"""Makes texts from outside safe to print on a terminal.

Reasons, sentences, names and queries come from the flag store, from metric labels and from whatever server answers at
``--url``. An escape sequence in them could hide a line, change the window's title or type an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KEPT = frozenset("\n\t")


def visible(text: str) -> str:
    """The text with every control, format and surrogate character replaced by ``?``. Line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in _KEPT else "?" for character in text)


def one_line(document: Any) -> Any:
    """A JSON document in which every text is on one line, so that no text can start a new line when printed."""
    if isinstance(document, str):
        return document if document.isprintable() else " ".join(visible(document).split("\n")).replace("\t", " ")
    if isinstance(document, Mapping):
        return {key: one_line(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [one_line(value) for value in document]
    return document


def json_text(document: object, *, indent: int | None = None) -> str:
    """JSON of the document, without characters that a terminal would act on.

    Letters of any script stay as they are; what is not printable is escaped. Raises TypeError as `json.dumps`.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    # outside of strings, the only unprintable characters of JSON are the line ends of the indentation
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
