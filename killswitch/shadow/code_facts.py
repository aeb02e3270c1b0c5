"""What code in an answer does: operators, SQL statements, the words of code spans, and versions as they are written.

As a number, version 3.10 is 3.1; as a sentence, ``a + b`` is ``a - b``.
"""

from __future__ import annotations

import re
from typing import Final

_BLOCK: Final = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]{1,200})`")
_OPERATOR: Final = re.compile(r"(?<=[\w)\] ]) ([-+*/%&|^]|//|\*\*|&&|\|\||[<>=!]=|[<>]|<<|>>|[-+*/]=) (?=[\w(\[\"' -])")
_STATEMENT: Final = re.compile(r"\b(?:SELECT|DELETE|INSERT|UPDATE|DROP|TRUNCATE|ALTER|GRANT|REVOKE)\b")
_VERSION: Final = re.compile(
    r"\b(?:version|release|v|python|node|java|ruby|php|go|django|ubuntu|postgres|postgresql|mysql|kubernetes)"
    r" ?(\d{1,6}\.\d{1,6})(?![\d.]\d|\d)",
    re.IGNORECASE,
)
_DOTTED: Final = re.compile(r"[^\W\d_] ?\d{1,6}\.\d")  # what every version has, and few texts
_PART: Final = re.compile(r"\w+")
_KINDS: Final = ("operator", "span", "statement", "version")

Code = frozenset[tuple[str, str]]


def code_of(text: str) -> Code:
    """Each as (kind, what is written): kinds operator, span, statement and version."""
    found = {("statement", verb) for verb in _STATEMENT.findall(text)}
    if _DOTTED.search(text):
        found |= {("version", version.removesuffix(".0")) for version in _VERSION.findall(text)}
    if "`" in text:
        blocks = _BLOCK.findall(text) if "```" in text else []
        spans = _SPAN.findall(_BLOCK.sub(" ", text) if blocks else text)
        found |= {("operator", operator) for code in (*blocks, *spans) for operator in _OPERATOR.findall(code)}
        found |= {("span", word) for span in spans for word in span.split() if any(map(str.isalnum, word))}
    return frozenset(found)


def code_differs(one: Code, other: Code, words: frozenset[str], other_words: frozenset[str]) -> bool:
    """Whether each text has something of a kind that the other has not: one may leave code out, or unmarked.

    ``words``: the words of ``one`` in lower case, wherever they are in the text.
    """
    mine, theirs = _missing(one - other, other_words), _missing(other - one, words)
    return any(kind in mine and kind in theirs for kind in _KINDS)


def _missing(code: Code, words: frozenset[str]) -> set[str]:
    return {kind for kind, text in code if kind != "span" or not words.issuperset(_PART.findall(text.lower()))}
