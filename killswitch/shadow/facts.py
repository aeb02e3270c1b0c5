"""The facts that a text states, and how two texts differ in them.

Similarity passes lies: a denied answer, "fifty days" for "five days", another town. This is a plain list of what can
be read without a model: numbers, dates, money, percents, addresses, identifiers, names, negation, language. The same
texts give the same differences on every machine.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from killswitch.shadow.amount_phrases import with_numbers
from killswitch.shadow.code_facts import Code, code_differs, code_of
from killswitch.shadow.fact_words import NO_NAMES
from killswitch.shadow.language import language_of
from killswitch.shadow.negation import Negations, denies_otherwise, negations_of
from killswitch.shadow.number_context import numbers_differ, numbers_swapped, periods_differ
from killswitch.shadow.number_words import with_digits
from killswitch.shadow.quantities import Quantities, money_differs, quantities_of
from killswitch.shadow.scales import Scales, kinds_that_differ, scales_of
from killswitch.shadow.word_order import exchanged

MOST_CHARACTERS: Final = 64_000
"""Of a longer text the beginning is read, and `Facts.cut` is set: no difference there is then no proof of none."""

# Patterns of what is written in ASCII name ASCII: in Japanese a letter of the sentence is next to it.
_URL: Final = re.compile(
    r"(?<![0-9A-Za-z_@.-])(?:(?:https?|ftp)://[^\s<>\"'`|\\^{}\u3000-\u30ff\uff00-\uffef\u4e00-\u9fff]{1,2000}"
    r"|www\.[^\s<>\"'`\u3000-\u30ff\uff00-\uffef\u4e00-\u9fff]{1,2000}"
    r"|(?:[a-z0-9-]{1,63}\.){1,4}(?:com|org|net|io|dev|ai|app|gov|edu|de|fr|jp|co|uk|eu)(?![a-z0-9-])"
    r"(?:/[^\s<>\"'`\u3000-\u30ff\uff00-\uffef\u4e00-\u9fff]{0,2000})?)",
    re.IGNORECASE,
)
_EMAIL: Final = re.compile(r"(?<![0-9A-Za-z_.+-])[0-9A-Za-z_.+-]{1,64}@(?:[0-9A-Za-z-]{1,63}\.){1,5}[0-9A-Za-z-]{2,24}")
# with a digit and a letter, or a version of three parts and more
_CODE: Final = re.compile(
    r"(?<![0-9A-Za-z_.@/#-])#?(?=[0-9A-Za-z_./-]{0,80}\d)(?=[0-9_./-]{0,80}[A-Za-z])"
    r"[0-9A-Za-z_]{1,60}(?:[-_/.]{1,2}[0-9A-Za-z_]{1,60}){0,12}(?![0-9A-Za-z_])"
    r"|(?<![0-9A-Za-z_.])\d{1,6}(?:\.\d{1,6}){2,5}(?![0-9A-Za-z_])"
)
_NO_CODE: Final = re.compile(
    r"\d{1,12}(?:[.,]\d{1,3})?(?:st|nd|rd|th|k|m|bn|x|h|s|ms|min|kg|g|mg|km|cm|mm|ml|l|kb|mb|gb|tb|hz|mhz|ghz|hrs?|mins?|secs?|am|pm|th|er|usd|eur|gbp|jpy|day|days|percent|w|v|ft|lbs?)"
    r"|\d{1,6}-[a-z]{2,20}(?:-[a-z]{2,20})?|\d{1,12}/[a-z]{1,12}",
    re.IGNORECASE | re.ASCII,
)  # 5th, 20k, 1.5k, 14-day, 5/month: numbers
_VERSION: Final = re.compile(r"v(\d{1,6}(?:\.\d{1,6}){0,5})", re.IGNORECASE)
_NUMBERING: Final = re.compile(
    r"(?m)^[ \t]{0,12}(?:\d{1,3}[.)]|#{1,6})[ \t]|\[\^?\d{1,3}\](?::)?"
)  # of lists and footnotes
_WORDS: Final = re.compile(r"\w[\w']*")
# a capital letter after a space that no sentence, label, heading or list begins with
_NAMES: Final = re.compile(
    r"(?<![.!?:;\"\u201c\u201d()\[\]*_#>|\s\u2013\u2014\u2022/-]) ((?![a-z])[^\W\d_][\w']{2,40})(?![\w'])"
)
_TITLES: Final = ("Dr.", "Mr.", "Mrs.", "Ms.", "Prof.", "St.")
_TITLE: Final = re.compile(r"\b(Dr|Mrs?|Ms|Prof|St)\.(?= )")  # its point ends no sentence
_PREFIX_OF_NOT: Final = re.compile(r"\b[Nn]on-(?=[a-z])")
_NO_NAMES: Final = frozenset({"de", "ja", "zh", "ko", "th", "ar", "he", "hi"})  # every noun is capital, or no letter is


@dataclass(frozen=True, slots=True)
class Facts:
    """What a text states, each thing in one spelling. ``words``: all its words in lower case, in ``text``, too."""

    language: str
    quantities: Quantities
    urls: frozenset[str]
    identifiers: frozenset[str]
    names: frozenset[str]
    words: frozenset[str]
    negations: Negations
    scales: Scales
    code: Code
    text: str
    cut: bool


def facts_of(text: str) -> Facts:
    """The facts of any text, in time in proportion to its length, up to `MOST_CHARACTERS`."""
    cut = len(text) > MOST_CHARACTERS
    read = unicodedata.normalize("NFKC", text[:MOST_CHARACTERS])[: 2 * MOST_CHARACTERS]
    read = read.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("\N{MINUS SIGN}", "-")
    if "on-" in read:
        read = _PREFIX_OF_NOT.sub("not ", read)
    if any(title in read for title in _TITLES):
        read = _TITLE.sub(r"\1", read)
    language = language_of(read)
    code = code_of(read)
    plain = read.lower()
    urls: set[str] = set()
    identifiers: set[str] = set()
    if "@" in read:
        read = _EMAIL.sub(lambda found: _put(identifiers, found[0].lower().rstrip(".")), read)
    if "." in read:
        read = _URL.sub(lambda found: _put(urls, _plain_url(found[0])), read)
    read = _NUMBERING.sub(" \n", read)
    words, in_order = _words(read)
    numbered = with_numbers(read, language, frozenset(in_order))
    if numbered != read:
        read = numbered
        words, in_order = _words(read)
    lower = frozenset(in_order)
    identifiers |= {word for word in set(words) if _is_name_in_code(word)}
    read = with_digits(read, language)
    if any(character.isdigit() for character in read):
        read = _CODE.sub(lambda found: _code(found[0], identifiers), read)
    return Facts(
        language=language,
        quantities=quantities_of(read, lower, language),
        urls=frozenset(urls),
        identifiers=frozenset(identifiers),
        # of what is left of the text without codes; at a cut a part of a word may be left that is none
        names=frozenset() if language in _NO_NAMES else _names(read) & lower,
        words=lower,
        negations=negations_of(read.lower(), language),
        scales=scales_of(in_order),
        code=code,
        text=plain,
        cut=cut,
    )


def differences(one: Facts, other: Facts) -> tuple[str, ...]:
    """The kinds of fact in which two texts differ, sorted; the words of `killswitch.shadow.record.PairRecord`."""
    mine, theirs = one.quantities, other.quantities
    different = {
        "number": numbers_differ(_without_both(one, other), _without_both(other, one))
        or numbers_swapped(mine.neighbours, theirs.neighbours)
        or periods_differ(mine.periods, theirs.periods),
        "date": _dates_differ(mine.dates, theirs.dates),
        "money": money_differs(mine.money, theirs.money),
        "percent": mine.percents != theirs.percents,
        "url": one.urls != other.urls,
        "identifier": one.identifiers != other.identifiers
        or code_differs(one.code, other.code, one.words, other.words),
        # a name may be left out; another one in its place is another fact
        "name": bool(one.names - other.words) and bool(other.names - one.words),
        "language": bool(one.language and other.language and one.language != other.language),
    }
    if not different["language"]:  # of two languages the counts say nothing
        different["negation"] = denies_otherwise(one.negations, other.negations)
        different["order"] = exchanged(one.text, other.text)
    found = {kind for kind, differs in different.items() if differs}
    return tuple(sorted(found | kinds_that_differ(one.scales, other.scales)))


def _words(text: str) -> tuple[list[str], list[str]]:
    """As they are written, and in lower case without the 's of a genitive."""
    words = [word.rstrip("'") for word in _WORDS.findall(text)]
    return words, [word.lower().removesuffix("'s") for word in words]


def _without_both(facts: Facts, other: Facts) -> dict[str, set[str]]:
    """The numbers, without the 2 of "the two doors" where the other text says "both doors"."""
    numbers = facts.quantities.numbers
    if "both" not in other.words or "2" not in numbers or "2" in other.quantities.numbers:
        return numbers
    return {value: units for value, units in numbers.items() if value != "2"}


def _put(where: set[str], value: str) -> str:
    where.add(value)
    return " "


def _plain_url(url: str) -> str:
    """Without the scheme, ``www.`` and the marks that a sentence or Markdown put behind it."""
    url = url.rstrip(".,;:!?*_>")
    while url.endswith((")", "]")) and url.count("(") + url.count("[") < url.count(")") + url.count("]"):
        url = url[:-1].rstrip(".,;:!?*_>")
    url = url.partition("://")[2] or url
    host, slash, path = url.partition("/")
    host = host.lower().removeprefix("www.")
    return f"{host}{slash}{path}".rstrip("/")


def _is_name_in_code(word: str) -> bool:
    """snake_case, CONSTANT_CASE, camelCase: what a person would not write in a sentence."""
    if "_" in word.strip("_"):
        return True
    rest = word[1:]
    return rest != rest.lower() and word != word.upper() and "'" not in word


def _code(text: str, identifiers: set[str]) -> str:
    version = _VERSION.fullmatch(text)
    if version is not None and version[1].count(".") <= 1:
        return version[1]  # "v2.0" is "version 2.0"
    if _NO_CODE.fullmatch(text):
        return text
    identifiers.add((version[1] if version else text.lstrip("#")).lower())
    return " "


def _names(text: str) -> frozenset[str]:
    """Words with a capital letter inside a sentence, in lower case."""
    # the first word of a sentence, a line, a heading or a label is capital whatever it is
    words = {word for word in _NAMES.findall(text) if word[0].isupper()}
    found = {word.rstrip("'").lower().removesuffix("'s") for word in words}
    return frozenset(found - NO_NAMES)


def _dates_differ(one: set[str], other: set[str]) -> bool:
    """A date without its year, or a month alone, is the date that has the rest."""
    return any(
        not any(
            mine in theirs or theirs in mine or mine.lstrip("-") in theirs or theirs.lstrip("-") in mine
            for theirs in others
        )
        for dates, others in ((one - other, other), (other - one, one))
        for mine in dates
    )
