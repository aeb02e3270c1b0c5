"""What other people's documents may do to a terminal: stand there as text, and nothing else.

Reasons, sentences, names and query texts come from the flag store, from metric labels and from whatever answers at
``--url``. An escape sequence among them could hide a line, retitle the window or answer as if it were typed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KEPT = frozenset("\n\t")


def visible(text: str) -> str:
    """The text with every control, format and surrogate character replaced by ``?``; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in _KEPT else "?" for character in text)


def one_line(document: Any) -> Any:
    """A JSON document in which no text reaches into a second line: what is printed line by line stays so."""
    if isinstance(document, str):
        return document if document.isprintable() else " ".join(visible(document).split("\n")).replace("\t", " ")
    if isinstance(document, Mapping):
        return {key: one_line(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [one_line(value) for value in document]
    return document


def json_text(document: object, *, indent: int | None = None) -> str:
    """JSON that reads back as the document and holds no character a terminal would act upon.

    Letters of any script stay as they are; what is not printable is escaped. Raises TypeError as `json.dumps`.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    # outside its strings, JSON holds no character that is not printable but the line ends of the indentation
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
