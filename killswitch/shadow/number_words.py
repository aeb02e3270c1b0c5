"""Numbers written in words become digits, so that "five days" and "5 days" are one fact and "fifty days" another.

English up to the millions; German, French, Spanish, Italian and Portuguese up to a hundred; Japanese counts in Chinese
numerals. A word that is also an article or an adverb ("one", "un", "una") is a number only where a unit follows it.
"""

from __future__ import annotations

import re
from typing import Final

# zero to twenty, then the tens from thirty
_LISTS: Final[dict[str, str]] = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept "
    "dix-huit dix-neuf vingt trente quarante cinquante soixante soixante-dix quatre-vingts quatre-vingt-dix",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
    "diecisiete dieciocho diecinueve veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici "
    "sedici diciassette diciotto diciannove venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "pt": "zero um dois três quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezesseis dezessete "
    "dezoito dezenove vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
}
_SCALES: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_HUNDREDS: Final = {"de": "hundert", "fr": "cent", "es": "cien", "it": "cento", "pt": "cem"}
_ALSO_OTHER_WORDS: Final = frozenset({"one", "un", "uno", "um", "eins"})
_UNITS_AFTER_ONE: Final = (
    "business|working|calendar|second|minute|hour|day|night|week|month|quarter|year|percent|per cent|dollar|euro|pound|"
    "hundred|thousand|million|billion|jour|mois|an\\b|heure|semaine|día|mes|año|hora|giorno|mese|anno|ora|dia|mês|ano"
)


def _values(language: str) -> dict[str, int]:
    numbers = (*range(21), *range(30, 100, 10))
    values = dict(zip(_LISTS[language].split(), numbers, strict=True))
    if language == "en":
        values |= _SCALES
    else:
        values[_HUNDREDS[language]] = 100
    return values


_VALUES: Final = {language: _values(language) for language in _LISTS}
_RUNS: Final = {
    language: re.compile(
        r"(?<![\w-])(?:{0})(?:(?: and |[ -])(?:{0})(?![\w]))*(?![\w])".format(
            "|".join(sorted(map(re.escape, values), key=len, reverse=True))
        ),
        re.IGNORECASE,
    )
    for language, values in _VALUES.items()
}
_UNIT_AHEAD: Final = re.compile(rf"[ -](?:{_UNITS_AFTER_ONE})", re.IGNORECASE)
_KANJI: Final = re.compile(
    "[一二三四五六七八九十百千]{1,12}(?=営業日|日|円|年|月|人|個|時|分|週|回|件|台|本|枚|か月|ヶ月|倍|割|名|泊)"
)
_KANJI_DIGITS: Final = {character: number for number, character in enumerate("〇一二三四五六七八九")}
_KANJI_SCALES: Final = {"十": 10, "百": 100, "千": 1_000}


def with_digits(text: str, language: str) -> str:
    """The text with its number words as digits. An unknown language is read as English."""
    if language == "ja":
        return _KANJI.sub(lambda found: str(_of_kanji(found[0])), text)
    known = language if language in _VALUES else "en"
    values = _VALUES[known]

    def digits(found: re.Match[str]) -> str:
        words = [word for word in re.split(r"[ ]and[ ]|[ ]", found[0].lower()) if word]
        parts = [part for word in words for part in ([word] if word in values else word.split("-"))]
        if len(parts) == 1 and parts[0] in _ALSO_OTHER_WORDS and not _UNIT_AHEAD.match(text, found.end()):
            return found[0]
        if parts[0] in _SCALES:  # "thousands of", "5 million": the number before it takes the scale
            return found[0]
        return " ".join(map(str, _grouped([values.get(part, 0) for part in parts])))

    return _RUNS[known].sub(digits, text)


def _grouped(values: list[int]) -> list[int]:
    """``[2, 100, 5]`` -> ``[205]``; ``[3, 5]`` (as in "three five") -> ``[3, 5]``."""
    done: list[int] = []
    total = part = 0
    last = 1_000_000_000_000
    for value in values:
        if value >= 1_000:
            total, part, last = total + max(part, 1) * value, 0, value
        elif value == 100 and 0 < part < 100:
            part, last = part * 100, 100
        elif value < last and (last >= 100 or (last >= 20 and value < 10)):
            part, last = part + value, value
        else:
            done.append(total + part)
            total, part, last = 0, value, value
    return [*done, total + part]


def _of_kanji(text: str) -> int:
    total = digit = 0
    for character in text:
        if character in _KANJI_SCALES:
            total, digit = total + max(digit, 1) * _KANJI_SCALES[character], 0
        else:
            digit = digit * 10 + _KANJI_DIGITS[character]
    return total + digit
