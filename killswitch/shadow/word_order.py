"""Whether two texts say the same words with two of them exchanged: "the tenant pays the landlord".

As a set, these words are those of "the landlord pays the tenant". Only sentences of exactly the same words are
compared, so a paraphrase is never taken for an exchange. Items of a list may stand in any order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_SENTENCE_END: Final = re.compile(r"[.!?]+(?=\s|$)|[\n\u3002]+")
_TOKEN: Final = re.compile(r"[^\s,;:|()\[\]{}\"*`#<>]+|[,;:|]")
_BETWEEN_ITEMS: Final = ", ; : | - & and or und oder et ou y o e och eller en i lub и или plus"
_SEPARATORS: Final = frozenset(_BETWEEN_ITEMS.split())
# a phrase that begins so takes its meaning with it: "on Friday … at 6 pm" may be "at 6 pm … on Friday"
_BEFORE_A_PHRASE: Final = (
    "at by for from if in into of on out over per since than through to under until up via when while with within "
    "without before after about against between during as am an auf aus bei bis durch für gegen im mit nach ohne seit "
    "um unter von vor wenn zu zum zur à au aux avec chez dans de des dès du en par pour sans si sur vers al con del "
    "desde hasta para por sin sobre da di per su tra"
)
_PREPOSITIONS: Final = frozenset(_BEFORE_A_PHRASE.split())
_LONGEST_SENTENCE: Final = 80  # words; a longer one is compared as a set alone
_LONGEST_BLOCK: Final = 4  # words that change places together

Segment = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """``words`` in order, and for each whether a comma or an "and" is right before it."""

    words: Segment
    begins: tuple[bool, ...]

    def segments(self, first: int, last: int) -> Counter[Segment]:
        """The parts between commas and conjunctions of the words from ``first`` to before ``last``."""
        found: Counter[Segment] = Counter()
        begin = first
        for place in range(first + 1, last + 1):
            if place == last or self.begins[place]:
                found[self.words[begin:place]] += 1
                begin = place
        return found


def exchanged(one: str, other: str) -> bool:
    """Whether a sentence of one text is in the other with two of its words, or two groups of them, exchanged.

    Both texts in lower case. Also where the two words are in two sentences.
    """
    mine, theirs = Counter(_sentences(one)), Counter(_sentences(other))
    left, right = ([_read(text) for text in (texts - others)] for texts, others in ((mine, theirs), (theirs, mine)))
    if not left or not right:
        return False
    by_words = {tuple(sorted(sentence.words)): sentence for sentence in right}
    alike = [(sentence, by_words.get(tuple(sorted(sentence.words)))) for sentence in left]
    if any(two is not None and _exchanged(one_, two) for one_, two in alike):
        return True
    return len(left) > 1 and len(right) > 1 and _exchanged(_joined(left), _joined(right))


def _sentences(text: str) -> Iterator[str]:
    return (stripped for part in _SENTENCE_END.split(text) if (stripped := part.strip(" \t-*#>")))


def _read(text: str) -> _Sentence:
    words: list[str] = []
    begins: list[bool] = []
    separated = True
    for token in _TOKEN.findall(text):
        if token in _SEPARATORS:
            separated = True
            continue
        words.append(token)
        begins.append(separated)
        separated = False
    return _Sentence(tuple(words), tuple(begins))


def _joined(sentences: Sequence[_Sentence]) -> _Sentence:
    return _Sentence(
        tuple(word for one in sentences for word in one.words),
        tuple(begin for one in sentences for begin in one.begins),
    )


def _exchanged(one: _Sentence, other: _Sentence) -> bool:
    mine, theirs = one.words, other.words
    if len(mine) != len(theirs) or len(mine) > _LONGEST_SENTENCE or sorted(mine) != sorted(theirs):
        return False
    first, last = 0, len(mine)
    while first < last and mine[first] == theirs[first]:
        first += 1
    while last > first and mine[last - 1] == theirs[last - 1]:
        last -= 1
    return _are_exchanged(mine[first:last], theirs[first:last]) and not _are_lists(one, other, first, last)


def _are_exchanged(mine: Segment, theirs: Segment) -> bool:
    """``A between B`` and ``B between A``, where A and B are no phrases of a preposition."""
    for left in range(1, _LONGEST_BLOCK + 1):
        for right in range(1, _LONGEST_BLOCK + 1):
            if left + right >= len(mine) or not _PREPOSITIONS.isdisjoint(mine[:left] + mine[-right:]):
                continue
            if mine[-right:] + mine[left:-right] + mine[:left] == theirs:
                return True
    return False


def _are_lists(one: _Sentence, other: _Sentence, first: int, last: int) -> bool:
    """Whether the difference is only in which order the items between commas are in."""
    return any(
        one.segments(begin, end) == other.segments(begin, end)
        for begin in range(first + 1)
        for end in {last, len(one.words)}
    )
