"""Two answers word by word: which words only one of them has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_SINGLE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")  # scripts that do not separate words
_MOST_WORDS = 1_500  # of one text; comparing takes the product of both

Piece = tuple[str, bool]


def word_differences(control: str, other: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, each with True where the other text does not have it there.

    From `_MOST_WORDS` on the rest is one piece that is not compared.
    """
    one, rest_of_one = _split(control)
    two, rest_of_two = _split(other)
    pieces_of_one: list[Piece] = []
    pieces_of_two: list[Piece] = []
    for kind, begin, end, start, stop in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        differ = kind != "equal"
        _add(pieces_of_one, one[begin:end], differ=differ)
        _add(pieces_of_two, two[start:stop], differ=differ)
    _add(pieces_of_one, [rest_of_one], differ=False)
    _add(pieces_of_two, [rest_of_two], differ=False)
    return pieces_of_one, pieces_of_two


def _split(text: str) -> tuple[list[str], str]:
    words = []
    for word in _WORDS.findall(text):
        words.extend([word] if not _SINGLE.search(word) else list(word))
    return words[:_MOST_WORDS], "".join(words[_MOST_WORDS:])


def _add(pieces: list[Piece], words: Sequence[str], *, differ: bool) -> None:
    text = "".join(words)
    if text:
        pieces.append((text, differ))
