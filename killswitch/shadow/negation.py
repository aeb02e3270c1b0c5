"""Negations in a text: how many there are, and which words they deny."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CUES: Final[dict[str, frozenset[str]]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "not no never none neither nor nobody nothing nowhere cannot without unable dont cant wont didnt isnt "
        "doesnt arent wasnt couldnt shouldnt wouldnt hasnt havent hadnt",
        "de": "nicht nichts kein keine keinen keinem keiner keines nie niemals niemand ohne weder",
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
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|[,.;:!?\n]")
# what a cue denies ends here
_CONJUNCTIONS: Final = "but aber sondern mais pero sino ma mas maar men mutta ale ama tetapi но але"
_ENDS: Final = frozenset([*",.;:!?\n", *_CONJUNCTIONS.split()])
_REACH: Final = 3  # words after a cue that it may deny
_SHORTEST: Final = 4  # letters of a word that carries meaning
_STEM: Final = 5  # letters: "charge", "charged" and "charges" are one
_FEW: Final = 3  # up to here each negation counts; in a longer text one more may be politeness


@dataclass(frozen=True, slots=True)
class Negations:
    """``count`` of them, the stems they ``denied``, and the stems that are said without being denied."""

    count: int
    denied: frozenset[str]
    asserted: frozenset[str]


def negations_of(text: str, language: str) -> Negations:
    """``text`` in lower case, with straight apostrophes. An unknown language is read as English."""
    pattern = _OF_SCRIPTS.get(language)
    if pattern is not None:
        return Negations(len(pattern.findall(text)), frozenset(), frozenset())
    cues = _CUES.get(language, _CUES["en"])
    count, reach = 0, 0
    denied: set[str] = set()
    asserted: set[str] = set()
    for word in _WORD.findall(_IDIOMS.sub(" ", text)):
        if word in cues or word.endswith("n't"):
            count, reach = count + 1, _REACH
        elif word in _ENDS:
            reach = 0
        elif len(word) >= _SHORTEST:
            (denied if reach > 0 else asserted).add(word[:_STEM])
            reach -= 1
    return Negations(count, frozenset(denied), frozenset(asserted))


def denies_otherwise(one: Negations, other: Negations) -> bool:
    """Whether one text denies what the other does not.

    Either there are more negations in one (few texts say the same with one more), or a word that one text denies and
    never asserts is asserted and never denied in the other, and the other way round.
    """
    fewer, more = sorted((one.count, other.count))
    if more != fewer and (fewer == 0 or more <= _FEW):
        return True
    if more > fewer * 2:
        return True
    only_one = (one.denied - one.asserted) & (other.asserted - other.denied)
    only_other = (other.denied - other.asserted) & (one.asserted - one.denied)
    return bool(only_one) if more != fewer else bool(only_one and only_other)
