"""Which language a text is written in: by its script, and in Latin or Cyrillic script by its commonest words.

Made to notice that a product began to answer in another language, from a sentence or two. A text that does not say
(a number, a name, code) has language "", which is never a difference.
"""

# ruff: noqa: RUF001  the commonest Russian words are in Cyrillic letters

from __future__ import annotations

import re
from collections import Counter
from typing import Final

_READ: Final = 4_000  # characters: the first pages decide
_FENCED: Final = re.compile(r"(?ms)^ {0,3}```.*?(?:^ {0,3}```|\Z)")
_WORD: Final = re.compile(r"[^\W\d_]+")
_FEWEST_OF_A_SCRIPT: Final = 2  # letters

# (first, last, script)
_RANGES: Final = (
    (0x0041, 0x024F, "latin"),
    (0x1E00, 0x1EFF, "latin"),
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "cyrillic"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0E00, 0x0E7F, "th"),
    (0x3040, 0x30FF, "kana"),
    (0x3400, 0x9FFF, "han"),
    (0xAC00, 0xD7AF, "ko"),
    (0x1100, 0x11FF, "ko"),
)
# a sign of these scripts is worth several Latin letters: a Japanese answer names products in Latin script
_WEIGHT: Final = {"kana": 6, "han": 4, "ko": 4, "th": 3, "hi": 3}

# Commonest words that few other languages share; where two do, both count and the others decide.
_COMMON: Final[dict[str, frozenset[str]]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the and of to is you your that for with are was this have can it not will be as on please from we our "
        "has been do if by or at an were they would should which there their when how what i'm it's",
        "de": "der die das und ist nicht sie ein eine zu den mit für von auf dem wir ihre ihr ich wird werden wurde "
        "haben kann können auch bei oder sich im zum zur des bitte innerhalb dass noch als sind",
        "fr": "le la les et est vous votre vos des une pour dans que qui pas nous sur avec ce cette sont du au aux "
        "être été avez avons peut pouvez il elle ne ou je un plus par ont",
        "es": "el la los las y es que de en un una para por con su sus no se del al lo está ha puede usted como más "
        "son fue nuestro nuestra hay ser si pero tu te le",
        "it": "il lo gli e è che di per un una con non sono del della dei nel nella alla si può ha suo sua anche come "
        "più le la questo questa stato essere hai i tuo da",
        "pt": "o os as e é que de para um uma com não do da dos das em no na por se você seu sua foi são está mais "
        "pode ao à como ou nós ser até",
        "nl": "de het een en is niet van op te dat voor met zijn u uw je wij we ook aan door wordt worden kan kunt er "
        "bij naar binnen heeft hebben om dit uit",
        "sv": "och att det är en ett som på för med inte av till den du din vi har kan från om ska ditt eller inom "
        "blir var jag de vår kommer",
        "da": "og at det er en et som på for med ikke af til den du din vi har kan fra om skal dit eller inden bliver "
        "var jeg de vores blev der",
        "no": "og at det er en et som på for med ikke av til den du din vi har kan fra om skal ditt eller innen blir "
        "var jeg de vår ble etter",
        "fi": "ja on ei se että voi ovat oli sinun meidän mutta kun tai sekä niin myös voit ole hän ne tämä jos "
        "joka kanssa sen",
        "pl": "i w na nie jest się do z że to w o jak po za od dla są lub przez został może jego pan pani proszę oraz "
        "twoje można który tego być",
        "tr": "ve bir bu için ile de da olarak değil olan çok daha gibi sizin size var veya ancak kadar sonra içinde "
        "lütfen olduğu edildi",
        "id": "yang dan di ini itu untuk dengan tidak dari anda ke akan pada adalah atau dalam kami bisa dapat sudah "
        "telah juga kita saya",
        "ru": "и в не на что с по это вы ваш для как к из у за от мы был было может если или его она они так также "
        "же но все",
        "uk": "і в не на що з по це ви ваш для як до у за від ми був було може якщо або його вона вони так також та "
        "але всі",
    }.items()
}
_SCRIPT_OF: Final = {language: "cyrillic" if language in ("ru", "uk") else "latin" for language in _COMMON}
_CANDIDATES: Final[dict[str, list[str]]] = {
    script: [language for language in _COMMON if _SCRIPT_OF[language] == script] for script in ("latin", "cyrillic")
}
_LANGUAGES_OF: Final[dict[str, dict[str, list[str]]]] = {
    script: {
        word: [language for language in languages if word in _COMMON[language]]
        for word in frozenset().union(*(_COMMON[language] for language in languages))
    }
    for script, languages in _CANDIDATES.items()
}
# letters that one language has and its neighbours have not: worth half a word each
_LETTERS: Final = (
    ("de", "ßäöü"), ("es", "ñ¿¡"), ("pt", "ãõ"), ("fr", "çœêèù"), ("it", "ìò"), ("sv", "äå"), ("da", "æø"),
    ("no", "æø"), ("fi", "äö"), ("pl", "łąęśżźćń"), ("tr", "ğışç"), ("uk", "іїєґ"), ("ru", "ыэъё"),
)  # fmt: skip


def language_of(text: str) -> str:
    """ISO 639-1 code of the text's language, "" where the text does not say. Code between fences is not read."""
    read = text[:_READ]
    if "```" in read:
        read = _FENCED.sub(" ", read)
    if read.isascii():
        return _of_words(read.lower(), "latin")
    scripts = _scripts(read)
    script, weight = max(scripts.items(), key=lambda item: item[1], default=("", 0))
    if weight < _FEWEST_OF_A_SCRIPT:
        return ""
    lower = read.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if script in _CANDIDATES:
        return _of_words(lower, script)
    if scripts["latin"] * _WEIGHT.get(script, 1) > weight:
        # more Latin letters than its own: a Japanese text about products, or an English one that quotes Japanese
        quoting = _of_words(lower, "latin")
        if quoting:
            return quoting
    if script in ("kana", "han"):
        return "ja" if scripts["kana"] * 10 >= scripts["han"] else "zh"
    return script


def _scripts(text: str) -> Counter[str]:
    """How many letters there are of each script, weighted. Kana and Chinese characters together are one text."""
    found: Counter[str] = Counter()
    for character, times in Counter(text).items():
        point = ord(character)
        if not character.isalpha():
            continue
        for first, last, script in _RANGES:
            if first <= point <= last:
                found[script] += times * _WEIGHT.get(script, 1)
                break
    if found["kana"]:
        # else a Japanese text of few kana would lose to its own product names
        found["kana"], found["han"] = found["kana"] + found["han"] // 2, found["han"]
    return found


def _of_words(text: str, script: str) -> str:
    words = Counter(_WORD.findall(text))
    languages = _LANGUAGES_OF[script]
    scores: dict[str, float] = dict.fromkeys(_CANDIDATES[script], 0)
    for word in words.keys() & languages.keys():
        # a word said ten times is not ten proofs, and one letter may be a formula's
        score = min(words[word], 3) * min(len(word), 2)
        for language in languages[word]:
            scores[language] += score
    if not text.isascii():
        for language, letters in _LETTERS:
            if language in scores:
                scores[language] += min(sum(text.count(letter) for letter in letters), 6)
    (language, best), (_, second) = sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:2]
    # two common words, or one that no other language has in a short text
    enough = best >= 4.0 or (best >= 2.0 and len(words) <= 6 and second == 0.0)
    return language if enough and best > second else ""
