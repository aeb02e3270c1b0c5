"""The words and signs that make a number a date, a sum, a percent or a measure, in the languages that are read.

A row of names is one thing; the first name of a row stands for all.
"""

from __future__ import annotations

import re
from typing import Final

_MONTH_NAMES: Final = (
    "january jan januar janvier enero gennaio janeiro",
    "february feb februar février febrero febbraio fevereiro",
    "march mar märz mars marzo março",
    "april apr avril abril aprile",
    "may mai mayo maggio maio",
    "june jun juni juin junio giugno junho",
    "july jul juli juillet julio luglio julho",
    "august aug août agosto",
    "september sep sept septembre septiembre settembre setembro",
    "october oct oktober octobre octubre ottobre outubro okt",
    "november nov novembre noviembre novembro",
    "december dec dezember décembre diciembre dicembre dezembro dez",
)
_WEEKDAY_NAMES: Final = (
    "monday montag lundi lunes lunedì",
    "tuesday dienstag mardi martes martedì",
    "wednesday mittwoch mercredi miércoles mercoledì",
    "thursday donnerstag jeudi jueves giovedì",
    "friday freitag vendredi viernes venerdì",
    "saturday samstag samedi sábado sabato",
    "sunday sonntag dimanche domingo domenica",
)
_UNIT_NAMES: Final = (
    "second sec secs seconds sekunde sekunden seconde secondes segundos secondi 秒",
    "minute minutes min mins minuten minutos minuti 分",
    "hour hours hr hrs stunde stunden heure heures hora horas ora ore uur 時間 小时 시간",
    "day days tag tage tagen jour jours día días dia dias giorno giorni dag dagen dagar dni день дня дней 日 天 일",
    "week weeks woche wochen semaine semaines semana semanas settimana settimane weken vecka veckor 週間 周 주",
    "month months monat monate monaten mois mes meses mese mesi maand maanden månad månader か月 ヶ月 个月 개월",
    "year years jahr jahre jahren ans año años ano anos anno anni jaar 年 년",
    "night nights",
    "mile miles",
    "km kilometers kilometres",
    "meter meters metres",
    "cm",
    "mm",
    "ft feet foot",
    "inch inches",
    "yard yards",
    "kg kilograms",
    "g grams",
    "mg",
    "lb lbs",
    "liter liters litres",
    "ml",
    "gallon gallons",
    "ounce ounces oz",
    "ton tons tonne tonnes",
    "acre acres",
    "wh",
    "kwh",
    "mah",
    "kw",
    "mbps",
    "gbps",
    "kb",
    "mb",
    "gb",
    "tb",
    "°c",
    "°f",
    "ms",
    "hz",
    "mhz",
    "ghz",
    "watt watts",
    "user users",
    "item items",
    "page pages",
    "seat seats",
    "token tokens",
    "person people persons",
    "time times 回",
)
_MONEY_NAMES: Final = {
    "USD": "$|us$|usd|dollar|dollars|us dollars|dólares|ドル",
    "EUR": "€|eur|euro|euros|ユーロ",
    "GBP": "£|gbp|pound|pounds",
    "JPY": "¥|jpy|yen|円",
    "CNY": "cny|元",
    "KRW": "₩|krw|원",
    "INR": "₹|inr|rupees",
    "CAD": "ca$|c$|cad",
    "AUD": "au$|a$|aud",
    "CHF": "chf",
    "BRL": "r$|brl",
    "cent": "cent|cents",
}
SCALES: Final = {
    "k": 1_000,
    "m": 1_000_000,
    "bn": 1_000_000_000,
    "hundred": 100,
    "thousand": 1_000,
    "mille": 1_000,
    "tausend": 1_000,
    "million": 1_000_000,
    "millions": 1_000_000,
    "millionen": 1_000_000,
    "millones": 1_000_000,
    "billion": 1_000_000_000,
    "万": 10_000,
    "億": 100_000_000,
}
_PERCENT_NAMES: Final = ("percent", "per cent", "pct", "prozent", "pour cent", "por ciento", "por cento", "per cento")
_NO_LETTER: Final = r"(?![^\W\d_])"  # an abbreviation ends here: "3 min", not "3 minor"


def _one_of(names: list[str]) -> str:
    """A pattern for any of them, the longest first, for a verbose expression."""
    return "(?:" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + ")"


def _ended(names: list[str]) -> str:
    """Any of them; one in Latin letters ends where its letters end, while Japanese goes on without a space."""
    latin = [name for name in names if "a" <= name[-1] <= "z"]
    return f"(?:{_one_of(latin)}{_NO_LETTER}|{_one_of([name for name in names if name not in latin])})"


MONTHS: Final = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
MONTH: Final = _one_of(list(MONTHS)) + r"\.?" + _NO_LETTER
# "may" and "march" are other words, too
MONTHS_ALONE: Final = frozenset(names.split()[0] for names in _MONTH_NAMES) - {"march", "may"}
WEEKDAYS: Final = {name: number for number, names in enumerate(_WEEKDAY_NAMES) for name in names.split()}
NAMED_TIMES: Final = {
    **dict.fromkeys(("noon", "midday", "midi", "mediodía"), "T12:00"),
    **dict.fromkeys(("midnight", "mitternacht", "minuit", "medianoche"), "T00:00"),
}
UNITS: Final = {name: names.split()[0] for names in _UNIT_NAMES for name in names.split()}
UNIT: Final = _ended(list(UNITS))
CURRENCIES: Final = {name: currency for currency, names in _MONEY_NAMES.items() for name in names.split("|")}
_SIGNS: Final = [name for name in CURRENCIES if not name[-1].isalpha()]
_CODES: Final = [name for name in CURRENCIES if len(name) == 3 and name.isascii() and name.isalpha()]
BEFORE_A_SUM: Final = rf"{_one_of(_SIGNS)}|\b{_one_of(_CODES)}"
AFTER_A_SUM: Final = _ended(list(CURRENCIES))
PERCENT: Final = rf"%|パーセント|{_one_of(list(_PERCENT_NAMES))}{_NO_LETTER}"
SCALE: Final = _ended(list(SCALES))
# capital letters that are no name
NO_NAMES: Final = MONTHS.keys() | WEEKDAYS.keys() | CURRENCIES.keys()
