"""One answer's features: lengths, opening words, language, format, JSON, tokens and cost. No text but the opening."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from killswitch.router.shadow.raw_pair import RawAnswer
from killswitch.shadow.answer_json import parsed, state_of
from killswitch.shadow.language import language_of
from killswitch.shadow.record import Side
from killswitch.spend import PriceList, Usage

LONGEST_OPENING: Final = 60
"""Characters of the opening words."""

MOST_READ: Final = 256_000
"""Characters of an answer whose format is looked at. Lengths count the whole."""

Redact = Callable[[str], str]

_LIST_ITEM: Final = re.compile(r"(?:[-*+•]|\d{1,3}[.)])\s")
_HEADING: Final = re.compile(r"#{1,6}\s")
_TABLE_RULE: Final = frozenset("|-: \t")
_INLINE: Final = re.compile(
    r"\]\(\s{0,4}<?https?:|\[\d{1,3}(?:,\s?\d{1,3}){0,5}\]|【\d|\((?:[A-Z][\w'-]{1,30}(?: et al\.)?,? )(?:19|20)\d\d\)"
)
_FOOTNOTE: Final = re.compile(
    r"(?m)\[\^\w{1,20}\]|^ {0,3}\[\d{1,3}\][:.]?\s{1,4}\S"
    r"|^ {0,3}(?:Sources|References|Quellen|出典|参考文献)\s{0,3}:?\s{0,3}$"
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s|(?<=[。\uff01\uff1f])|[\r\n]")
_MARKS: Final = re.compile(r"[*_#>`~\"“”]+")
_DIGITS: Final = re.compile(r"\d")


def side_of(
    answer: RawAnswer,
    *,
    at: float,
    response_format: object = None,
    prices: PriceList | None = None,
    redact: Redact | None = None,
) -> Side:
    """The features of an answer that was asked for at ``at`` (Unix seconds).

    ``redact`` is applied before the opening is cut from the text. If it fails the opening is "".
    """
    text = answer.text
    form = form_of(text)
    usage = Usage.of(answer.usage)
    price = prices.price(answer.model, at) if prices is not None else None
    return Side(
        model=answer.model,
        outcome=answer.outcome,
        seconds=answer.seconds,
        first_token_seconds=answer.first_token_seconds,
        refused=answer.refused,
        finish_reason=answer.finish_reason or "",
        error=answer.error,
        status=answer.status,
        input_tokens=None if usage is None else usage.input + usage.cached_input + usage.cache_write,
        cached_tokens=None if usage is None else usage.cached_input,
        output_tokens=None if usage is None else usage.output + usage.reasoning,
        reasoning_tokens=None if usage is None else usage.reasoning,
        cost_micros=None if usage is None or price is None else price.cost(usage),
        characters=len(text),
        words=words_in(text),
        opening=opening_of(text, redact),
        language=language_of(text),
        headings=form.headings,
        tables=form.tables,
        list_items=form.list_items,
        code_blocks=form.code_blocks,
        citations=form.citations,
        json=state_of(text, parsed(text), response_format),
        tool_calls=len(answer.tool_calls),
    )


@dataclass(frozen=True, slots=True)
class Form:
    """How a text is laid out. ``citations``: none, inline or footnotes."""

    headings: int
    tables: int
    list_items: int
    code_blocks: int
    citations: str


def form_of(text: str) -> Form:
    """The layout of a Markdown text. What is inside a fence of code is not counted."""
    read = text[:MOST_READ]
    headings = tables = items = fences = 0
    fence = ""
    for line in read.split("\n"):
        start = line.lstrip(" \t")
        if start.startswith(("```", "~~~")):
            mark = start[:3]
            if not fence:
                fences, fence = fences + 1, mark
            elif fence == mark:
                fence = ""
        elif fence or not start:
            continue
        elif start[0] == "#":
            headings += _HEADING.match(start) is not None
        elif "---" in start and "|" in start and _TABLE_RULE.issuperset(start.rstrip()):
            tables += 1
        else:
            items += _LIST_ITEM.match(start) is not None
    citations = "footnotes" if _FOOTNOTE.search(read) else "inline" if _INLINE.search(read) else "none"
    return Form(headings, tables, items, fences, citations)


def words_in(text: str) -> int:
    """Words between spaces; of Japanese, Chinese and Thai, which have none, one for each two characters."""
    spaced = len(text.split())
    if text.isascii():
        return spaced
    unspaced = sum("\u3040" <= character <= "\u9fff" or "\u0e00" <= character <= "\u0e7f" for character in text)
    return spaced + unspaced // 2


def opening_of(text: str, redact: Redact | None = None) -> str:
    """The first sentence up to `LONGEST_OPENING` characters, in lower case, without Markdown, each digit as ``0``."""
    start = text.lstrip()[: 8 * LONGEST_OPENING]
    if redact is not None:
        try:
            start = redact(start)
        except Exception:  # noqa: BLE001  whatever a user's hook does, the record is kept, without this text
            return ""
    plain = _MARKS.sub("", unicodedata.normalize("NFKC", start)).strip()
    sentence = _SENTENCE_END.split(plain, maxsplit=1)[0]
    flat = " ".join(_DIGITS.sub("0", sentence).casefold().split()).encode(errors="replace").decode()
    if len(flat) <= LONGEST_OPENING:
        return flat
    cut = flat[: LONGEST_OPENING + 1]
    return (cut.rpartition(" ")[0] if " " in cut[20:] else cut)[:LONGEST_OPENING].rstrip()
