"""Negations in a text: how many there are, which words they deny, and which of two opposites it says."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from killswitch.shadow.opposites import say_opposites, side_of, sides_of_script, with_phrases

_CUES: Final[dict[str, frozenset[str]]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "not no never none neither nor nobody nothing nowhere cannot without unable dont cant wont didnt isnt "
        "doesnt arent wasnt couldnt shouldnt wouldnt hasnt havent hadnt hardly barely",
        "de": "nicht nichts kein keine keinen keinem keiner keines nie niemals niemand ohne weder kaum",
        "fr": "pas jamais aucun aucune rien sans ni nul nulle",
        "es": "no nunca jamás ninguno ninguna ningún nada nadie sin ni tampoco",
        "it": "non no mai nessuno nessuna nessun niente nulla senza né",
        "pt": "não nunca jamais nenhum nenhuma nada ninguém sem nem",
        "nl": "niet niets geen nooit niemand zonder",
        "sv": "inte ej aldrig ingen inget inga utan",
        "da": "ikke ej aldrig ingen intet uden",
        "no": "ikke ei aldri ingen intet uten",
        "fi": "ei en et emme ette eivät ilman",
        "pl": "nie nigdy nikt nic bez żaden żadna",
        "tr": "değil yok hiç asla",
        "id": "tidak bukan jangan belum tanpa",
        "ru": "не нет никогда ни никто ничего без нельзя",
        "uk": "не ні ніколи ніхто нічого без",
    }.items()
}
_OF_SCRIPTS: Final = {
    "ja": re.compile("ません|ない(?!容|部|線)|なかった|なく|ず(?=に)|不可|できかね|致しかね|いたしかね"),
    "zh": re.compile("不(?!同|过|過|仅|僅|客)|没有|沒有|未(?!来|來)|无法|無法|非(?!常)|别"),
    "ko": re.compile("않|없|못|아닙|아니"),
    "ar": re.compile(r"(?<!\w)(?:لا|لم|لن|ليس|غير)(?!\w)"),
    "he": re.compile(r"(?<!\w)(?:לא|אין|ללא)(?!\w)"),
    "hi": re.compile("नहीं|मत"),
    "el": re.compile(r"(?<!\w)(?:δεν|μην|χωρίς|ποτέ)(?!\w)"),
    "th": re.compile("ไม่"),
}
# nothing is denied in these
_IDIOMS: Final = re.compile(
    r"\b(?:not only|not just|don't worry|don't hesitate|do not hesitate|no problem|no worries|why not|if not already|"
    r"not to mention|whether or not|or not|nicht nur|non seulement|no solo|non solo|não só|pas seulement|n'hésitez pas|"
    r"no dude en|zögern sie nicht|non esitare|no doubt|without further ado|no later than|not later than)\b"
)
_WORD: Final = re.compile(r"[^\W\d]+(?:'[^\W\d_]+)?|[,.;:!?\n]")
# what a cue denies ends here
_CONJUNCTIONS: Final = "but aber sondern mais pero sino ma mas maar men mutta ale ama tetapi но але"
_ENDS: Final = frozenset([*",.;:!?\n", *_CONJUNCTIONS.split()])
_REACH: Final = 3  # words after a cue that it may deny
_SHORTEST: Final = 4  # letters of a word that carries meaning
_STEM: Final = 5  # letters: "charge", "charged" and "charges" are one
_FEW: Final = 3  # up to here each negation counts; in a longer text one more may be politeness


@dataclass(frozen=True, slots=True)
class Negations:
    """``count`` of them, the stems they ``denied``, and the stems that are said without being denied.

    ``sides``: how often each side of a row of opposites is said, as (row, whether it is the right one).
    ``rows``: the rows whose left side a negation denies, which are not in ``count``: "not allowed" is "forbidden".
    """

    count: int
    denied: frozenset[str]
    asserted: frozenset[str]
    sides: Counter[tuple[str, bool]]
    rows: frozenset[str]


def negations_of(text: str, language: str) -> Negations:
    """``text`` in lower case, with straight apostrophes. An unknown language is read as English."""
    pattern = _OF_SCRIPTS.get(language)
    if pattern is not None:
        sides = sides_of_script(text, language)
        return Negations(len(pattern.findall(text)), frozenset(), frozenset(), sides, frozenset())
    cues = _CUES.get(language, _CUES["en"])
    count = reach = 0
    denied: set[str] = set()
    asserted: set[str] = set()
    rows: set[str] = set()
    sides = Counter()
    for word in _WORD.findall(with_phrases(_IDIOMS.sub(" ", text))):
        side = side_of(word, language)
        if word in cues or word.endswith("n't"):
            count, reach = count + 1, _REACH
        elif word in _ENDS:
            reach = 0
        elif side is not None and side.denial:
            right = side.right
            if reach == _REACH:  # the negation denies this word first: "not allowed" is one of the rows, no further one
                count, right = count - 1, not right
                rows |= {side.row} if right else set()
            sides[side.row, right] += 1
            (denied if right else asserted).add(side.row)
            reach -= 1
            continue
        elif len(word) >= _SHORTEST:
            (denied if reach > 0 else asserted).add(word[:_STEM])
            reach -= 1
        if side is not None:
            sides[side.row, side.right] += 1
    return Negations(count, frozenset(denied), frozenset(asserted), sides, frozenset(rows))


def denies_otherwise(one: Negations, other: Negations) -> bool:
    """Whether one text denies what the other does not, or says the opposite.

    Either there are more negations in one (few texts say the same with one more), or a word that one text denies and
    never asserts is asserted and never denied in the other, and the other way round. Or one says one of two opposites
    more often, and the other text the other one.
    """
    if say_opposites(one.sides, other.sides):
        return True
    fewer, more = sorted((_counted(one, other), _counted(other, one)))
    if more != fewer and (fewer == 0 or more <= _FEW):
        return True
    if more > fewer * 2:
        return True
    only_one = (one.denied - one.asserted) & (other.asserted - other.denied)
    only_other = (other.denied - other.asserted) & (one.asserted - one.denied)
    return bool(only_one) if more != fewer else bool(only_one and only_other)


def _counted(mine: Negations, other: Negations) -> int:
    """The negations, without those that the other text makes in one word."""
    return mine.count + sum(not other.sides[row, True] for row in mine.rows)
