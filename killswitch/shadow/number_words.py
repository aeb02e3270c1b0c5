"""Numbers written in words become digits, so that "five days" and "5 days" are one fact and "fifty days" another.

English up to the millions; German, Spanish, Italian and Portuguese up to a thousand; French, Dutch, Swedish, Polish and
Russian up to a hundred; Japanese, Chinese and Korean numerals where a unit follows. A word that is also an article or
an adverb ("one", "un", "una") is a number only where a unit follows it.
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
    "nl": "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien "
    "zeventien achttien negentien twintig dertig veertig vijftig zestig zeventig tachtig negentig",
    "sv": "noll ett två tre fyra fem sex sju åtta nio tio elva tolv tretton fjorton femton sexton sjutton arton nitton "
    "tjugo trettio fyrtio femtio sextio sjuttio åttio nittio",
    "pl": "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście trzynaście "
    "czternaście piętnaście szesnaście siedemnaście osiemnaście dziewiętnaście dwadzieścia trzydzieści czterdzieści "
    "pięćdziesiąt sześćdziesiąt siedemdziesiąt osiemdziesiąt dziewięćdziesiąt",
    "ru": "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать "
    "четырнадцать пятнадцать шестнадцать семнадцать восемнадцать девятнадцать двадцать тридцать сорок пятьдесят "
    "шестьдесят семьдесят восемьдесят девяносто",
}
_FURTHER: Final[dict[str, dict[str, int]]] = {
    "en": {"dozen": 12},
    "de": dict.fromkeys(("ein", "eine", "einen", "einem", "einer"), 1),
    "fr": {"cents": 100, "quatre-vingt": 80},
    "es": {
        "un": 1, "una": 1, "ciento": 100, "mil": 1_000, "quinientos": 500, "quinientas": 500,
        "setecientos": 700, "novecientos": 900,
        **{f"{part}cient{end}": value for end in ("os", "as") for part, value in (
            ("dos", 200), ("tres", 300), ("cuatro", 400), ("seis", 600), ("ocho", 800))},
        **{f"veinti{part}": 20 + value for value, part in enumerate(
            ("uno", "dós", "trés", "cuatro", "cinco", "séis", "siete", "ocho", "nueve"), 1)},
    },
    "pt": {"cento": 100, "duzentos": 200, "trezentos": 300, "quatrocentos": 400, "quinhentos": 500, "seiscentos": 600,
           "setecentos": 700, "oitocentos": 800, "novecentos": 900, "mil": 1_000},
}  # fmt: skip
_SCALES: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_HUNDREDS: Final = {
    "de": "hundert",
    "fr": "cent",
    "es": "cien",
    "it": "cento",
    "pt": "cem",
    "nl": "honderd",
    "sv": "hundra",
    "pl": "sto",
    "ru": "сто",
}
_ALSO_OTHER_WORDS: Final = frozenset(
    {"one", "un", "una", "uno", "um", "eins", "een", "ett", "jeden", "один", *_FURTHER["de"]}
)
_UNITS_AFTER_ONE: Final = (
    "business|working|calendar|second|minute|hour|day|night|week|month|quarter|year|percent|per cent|dollar|euro|pound|"
    "hundred|thousand|million|billion|jour|mois|an\\b|heure|semaine|día|mes|año|hora|giorno|mese|anno|ora|dia|mês|ano|"
    "tag|woche|monat|jahr|stunde|prozent|dag|vecka|månad|tydzień|день|месяц"
)


_SHORTEST_COMPOUND: Final = 6  # letters: what is shorter is in the lists


def _values(language: str) -> dict[str, int]:
    numbers = (*range(21), *range(30, 100, 10))
    values = dict(zip(_LISTS[language].split(), numbers, strict=True))
    if language == "en":
        values |= _SCALES
    else:
        values[_HUNDREDS[language]] = 100
    return values | _FURTHER.get(language, {})


def _compounds(language: str) -> dict[str, int]:
    """Numbers that are written as one word: ``einundzwanzig``, ``zweihundertfünfzig``, ``ventuno``."""
    words = _LISTS[language].split()
    ones, found = ["", *words[1:10]], dict(zip(words[:21], range(21), strict=True))
    if language == "de":
        ones[1], found["ein"] = "ein", 1
    for place, ten in enumerate(words[20:], 2):
        found[ten] = place * 10
        for value, one in enumerate(ones[1:], 1):
            if language in ("de", "nl"):
                word = (
                    one
                    + ("ën" if one.endswith("e") and language == "nl" else "und" if language == "de" else "en")
                    + ten
                )
            else:
                word = (ten[:-1] if language == "it" and one[0] in "uo" else ten) + one
            found[word] = place * 10 + value
    hundred = _HUNDREDS[language]
    below = {**found, "": 0}
    for value, one in enumerate(ones[1:], 1):
        for begin in {one + hundred, hundred} if value == 1 else {one + hundred}:
            found |= {begin + rest: value * 100 + number for rest, number in below.items()}
    if language == "de":
        found |= {word.replace("ß", "ss"): number for word, number in found.items()}
    return {word: number for word, number in found.items() if len(word) >= _SHORTEST_COMPOUND}


_COMPOUNDS: Final = {language: _compounds(language) for language in ("de", "it", "nl", "sv")}
_COMPOUNDS[""] = {word: value for known in _COMPOUNDS.values() for word, value in known.items()}
_CYRILLIC: Final = re.compile("[\u0430-\u044f]")
_LONG_WORD: Final = re.compile(r"[^\W\d_]{6,40}")
_VALUES: Final = {language: _values(language) for language in _LISTS}
_RUNS: Final = {
    language: re.compile(
        r"(?<![\w-])(?=[{1}])(?:{0})(?:(?: and | et | y | e |[ -])(?:{0})(?![\w]))*(?![\w])".format(
            "|".join(sorted(map(re.escape, values), key=len, reverse=True)),
            "".join(sorted({value[0] for value in values})),  # most words begin with another letter
        ),
        re.IGNORECASE,
    )
    for language, values in _VALUES.items()
}
_UNIT_AHEAD: Final = re.compile(rf"[ -](?:{_UNITS_AFTER_ONE})", re.IGNORECASE)
_KANJI: Final = {
    "ja": re.compile(
        "[一二三四五六七八九十百千]{1,12}(?=営業日|日|円|年|月|人|個|時|分|週|回|件|台|本|枚|か月|ヶ月|倍|割|名|泊)"
    ),
    # one of something is an article in Chinese
    "zh": re.compile(
        "(?:一(?=天|年|个月|個月|小时|小時|周|元)|(?:[二三四五六七八九十百千两兩]|一(?=[二三四五六七八九十百千])){1,12}"
        "(?=个|個|天|日|年|月|周|週|小时|小時|分钟|分鐘|秒|元|块|人|次|倍|件|台|本|页|岁|米|公斤|折|美元|欧元))"
    ),
    # a numeral of one syllable is a part of many words
    "ko": re.compile(
        "(?<![가-힣])(?:[일이삼사오육칠팔구십백천]{2,12}|[삼육칠팔십백천])"
        "(?= ?(?:일|개월|년|원|분|주|시간|명|회|퍼센트|달러))"
    ),
}
_KANJI_DIGITS: Final = {
    character: number
    for row in ("〇一二三四五六七八九", "〇일이삼사오육칠팔구")
    for number, character in enumerate(row)
} | {"两": 2, "兩": 2}
_KANJI_SCALES: Final = {"十": 10, "百": 100, "千": 1_000, "십": 10, "백": 100, "천": 1_000}


def with_digits(text: str, language: str) -> str:
    """The text with its number words as digits. An unknown language is read as English."""
    if language in _KANJI:
        return _KANJI[language].sub(lambda found: str(_of_kanji(found[0])), text)
    if not language and _CYRILLIC.search(text):
        language = "ru"
    if not language or language in _COMPOUNDS:
        compounds = _COMPOUNDS[language]
        text = _LONG_WORD.sub(lambda found: str(compounds.get(found[0].lower(), found[0])), text)
    known = language if language in _VALUES else "en"
    values = _VALUES[known]

    def digits(found: re.Match[str]) -> str:
        words = [word for word in re.split(r"[ ](?:and|et|y|e)[ ]|[ ]", found[0].lower()) if word]
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
