"""Texts of models and users as they may be shown: escaped, and what hides or reorders text made visible.

Right-to-left overrides, zero-width characters and control characters can make an answer look like another one. Each is
shown as its number: U+202E.
"""

from __future__ import annotations

import unicodedata
from html import escape

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT = frozenset("\n\t")
_JOINERS = frozenset("\u200c\u200d")  # between letters of some scripts, and in emoji, they are spelling
_MOST_MARKS = 4  # combining marks on one letter; more of them paint over the lines above


def in_html(text: str) -> str:
    """The text as HTML: no markup of its own, hidden characters as ``<span class="odd">U+202E</span>``."""
    if text.isascii() and text.isprintable():
        return escape(text)
    return "".join(f'<span class="odd">{shown}</span>' if odd else escape(shown) for shown, odd in _parts(text))


def in_terminal(text: str) -> str:
    """One line for a terminal: hidden characters as ``<U+202E>``, line ends and tabs as spaces."""
    if text.isascii() and text.isprintable():
        return text
    parts = (f"<{shown}>" if odd else shown for shown, odd in _parts(text))
    return " ".join("".join(parts).split())


def in_comment(text: str) -> str:
    """The text as HTML on one line, for a comment on a code host: line ends as numbers, no class, nothing hidden.

    It belongs into ``code`` or ``pre``, where a code host makes no links and calls no people. Without line ends no
    blank line can end the block of HTML, after which Markdown would count again.
    """
    parts = (escape(f"<{shown}>" if odd else shown) for shown, odd in _parts(text))
    return "".join(parts).replace("\n", "&#10;").replace("\t", "&#9;")


def _parts(text: str) -> list[tuple[str, bool]]:
    """Runs of text, and each hidden character by its number with True."""
    found: list[tuple[str, bool]] = []
    run: list[str] = []
    marks = 0
    before = ""
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        joins = character in _JOINERS and before != "" and not before.isascii() and before not in _JOINERS
        if (category in _HIDDEN and character not in _KEPT and not joins) or marks > _MOST_MARKS:
            if run:
                found.append(("".join(run), False))
                run = []
            found.append((f"U+{ord(character):04X}", True))
        else:
            run.append(character)
        before = character
    if run:
        found.append(("".join(run), False))
    return found
