"""The kinds of value that only the section `slow` holds: statements, warehouses, ranges, times of day."""

from __future__ import annotations

import math
import re
import zoneinfo
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import PlainValidator, WithJsonSchema

from killswitch.errors import BadSettings
from killswitch.net.credentials import Secret
from killswitch.rules import patterns
from killswitch.rules.units import Kind, Quantity, format_duration, parse_as, parse_duration, parse_quantity, shown
from killswitch.rules.values import Wrong, one_of
from killswitch.timestamps import DAY

SINCE = "since"
LONGEST_STATEMENT = 8_000
LONGEST_SUSTAINED = 30 * DAY
LONGEST_SETTLE = 60 * DAY
COLUMN_PATTERN = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
TABLE_PATTERN = rf"{COLUMN_PATTERN}(?:\.{COLUMN_PATTERN}){{0,2}}"
_LITERALS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")
# quoting that not every warehouse reads alike: what one takes for a text is a second statement to another
_OTHER_QUOTES = re.compile(r"\$\w*\$|\\['\"`]")
_BIND = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")
_LARGEST = 1e9
_SECRETS = r"pass(?:word|wd|phrase)|pwd|secret|token|credential|(?:private|api|access)_?key"
# a name and its value, but not the place of a file
_SECRET_IN_URL = re.compile(rf"(?i)[?&;][^=&;]*(?:{_SECRETS})(?![^=&;]*(?:path|file)=)[^=&;]*=.|://[^/?#@]*:[^?#]*@")


def _text(value: object, longest: int, what: str, *, secret: bool = False) -> str:
    """``secret``: it may hold a password, so it is not shown: what is refused is also logged and paged."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest or "\0" in value:
        it = f"not {what}" if secret else f"{shown(value)} is not {what}"
        raise Wrong(it, f"write a text of at most {longest:,} characters, in quotes")
    return value.strip()


def _statement(value: object) -> str:
    text = _text(value, LONGEST_STATEMENT, "an SQL statement").removesuffix(";").rstrip()
    if _OTHER_QUOTES.search(text):
        raise Wrong(
            "a text in dollars, or a backslash before a quote", "put texts in single quotes, and write '' for a quote"
        )
    bare = _LITERALS.sub("''", text)
    if not re.match(r"(?:select|with)\b", bare, re.IGNORECASE):
        raise Wrong("not a statement that reads", "begin with `select` or `with`")
    if ";" in bare or "--" in bare or "/*" in bare:
        raise Wrong("more than one statement, or a comment", "write one statement without comments")
    if bare.count("(") != bare.count(")") or "'" in bare.replace("''", ""):
        raise Wrong("not a whole statement", "close its brackets and quotes")
    unknown = sorted({name for name in _BIND.findall(bare) if name != SINCE})
    if unknown:
        raise Wrong(f":{unknown[0]} is not known", f"the only parameter is :{SINCE}, the first day that is needed")
    return text


def _warehouse(value: object) -> str:
    text = _text(value, 2000, "the URL of a warehouse", secret=True)
    try:
        scheme = urlsplit(text).scheme
    except ValueError:
        scheme = ""
    if _SECRET_IN_URL.search(text) or _SECRET_IN_URL.search(unquote(text)):
        raise Wrong("the URL holds a password", "remove it, and write `password: file:/path` or `env:NAME` next to it")
    if not re.fullmatch(r"[a-z][a-z0-9_]*(?:\+[a-z0-9_]+)?", scheme) or "://" not in text:
        raise Wrong(
            "not the URL of a warehouse",
            "write duckdb:///folder-or-file, or a SQLAlchemy URL such as postgresql://reader@warehouse/analytics",
        )
    return text


def _password(value: object) -> str:
    text = _text(value, 1000, "a place of a secret", secret=True)
    try:
        Secret.parse(text)
    except BadSettings:
        raise Wrong("not a place of a secret", "write file:/path/of/it or env:NAME, never the password") from None
    return text


def _named(pattern: str, what: str, value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise Wrong(f"{shown(value)} is not the name of a {what}", f"write a name that matches {pattern}")
    return value


def _range(value: object) -> tuple[float, float]:
    ends = value if isinstance(value, list) else []
    if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise Wrong(f"{shown(value)} is not a range", "write [lowest, highest], such as [0, 100]")
    low, high = float(ends[0]), float(ends[1])
    if not (math.isfinite(low) and math.isfinite(high) and -_LARGEST <= low < high <= _LARGEST):
        raise Wrong(f"{shown(value)} is not a range", "write the lowest value first; both within a thousand million")
    return low, high


def _limit(value: object) -> Quantity:
    quantity = parse_quantity(value)
    if quantity.kind not in (Kind.RATIO, Kind.POINTS):
        raise Wrong(f"{shown(quantity.text)} is not a difference", "write 3 in the column's unit, or 1pp of a share")
    return quantity


def _long(shortest: float, longest: float, value: object) -> float:
    seconds = parse_duration(value)
    if not shortest <= seconds <= longest:
        least = format_duration(shortest) if shortest else "zero"
        raise Wrong(f"{shown(value)} is out of range", f"use {least} to {format_duration(longest)}")
    return seconds


def _time_of_day(value: object) -> float:
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", value) if isinstance(value, str) else None
    if match is None:
        raise Wrong(f"{shown(value)} is not a time of day", 'write it like "06:00", in quotes')
    return int(match[1]) * 3600.0 + int(match[2]) * 60.0


def _time_zone(value: object) -> str:
    try:
        return zoneinfo.ZoneInfo(value if isinstance(value, str) else "").key
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise Wrong(f"{shown(value)} is not a time zone", "write a name such as Europe/Berlin or UTC") from None


def _points(value: object) -> float:
    points = parse_as(Kind.POINTS, value).value
    if not 0.0 < points < 1.0:
        raise Wrong(f"{shown(value)} is out of range", "write more than 0pp and less than 100pp")
    return points


Statement = Annotated[
    str, PlainValidator(_statement),
    WithJsonSchema({"type": "string", "pattern": r"^\s*(?:[sS][eE][lL][eE][cC][tT]|[wW][iI][tT][hH])\b",
                    "maxLength": LONGEST_STATEMENT}),
]  # fmt: skip
WarehouseUrl = Annotated[
    str, PlainValidator(_warehouse), WithJsonSchema({"type": "string", "pattern": r"^\s*[a-z][a-z0-9_+]*://"})
]
PasswordPlace = Annotated[
    str | None, PlainValidator(_password), WithJsonSchema({"type": "string", "pattern": r"^\s*(?:file|env):."})
]
ColumnName = Annotated[
    str, PlainValidator(lambda value: _named(COLUMN_PATTERN, "column", value)),
    WithJsonSchema({"type": "string", "pattern": f"^{COLUMN_PATTERN}$"}),
]  # fmt: skip
TableName = Annotated[
    str | None, PlainValidator(lambda value: _named(TABLE_PATTERN, "table", value)),
    WithJsonSchema({"type": "string", "pattern": f"^{TABLE_PATTERN}$"}),
]  # fmt: skip
ValueRange = Annotated[
    tuple[float, float], PlainValidator(_range),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]  # fmt: skip
SlowLimit = Annotated[
    Quantity | None, PlainValidator(_limit), WithJsonSchema({"type": ["string", "number"], "minimum": 0})
]
Sustained = Annotated[
    float, PlainValidator(lambda value: _long(DAY, LONGEST_SUSTAINED, value)),
    WithJsonSchema({"type": "string", "pattern": patterns.duration(longest=int(LONGEST_SUSTAINED), zero=False)}),
]  # fmt: skip
Settle = Annotated[
    float, PlainValidator(lambda value: _long(0.0, LONGEST_SETTLE, value)),
    WithJsonSchema({"type": "string", "pattern": patterns.duration(longest=int(LONGEST_SETTLE))}),
]  # fmt: skip
ResponsePoints = Annotated[
    float, PlainValidator(_points), WithJsonSchema({"type": "string", "pattern": patterns.POINTS})
]
TimeOfDay = Annotated[
    float, PlainValidator(_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"}),
]  # fmt: skip
ZoneName = Annotated[str, PlainValidator(_time_zone), WithJsonSchema({"type": "string", "minLength": 1})]
SlowDeciding = Annotated[
    Literal["evidence", "threshold"], PlainValidator(one_of("evidence", "threshold")),
    WithJsonSchema({"type": "string", "enum": ["evidence", "threshold"]}),
]  # fmt: skip
