"""Reads a file of prices: exact decimals, and all problems at once, each with its entry and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from killswitch.errors import BadDocument, BadSettings
from killswitch.timestamps import from_iso, to_iso
from killswitch.wording import plain

MOST_DOLLARS: Final = Decimal(10_000)
LEAST_DOLLARS: Final = Decimal("0.001")
# what a kind costs where an entry does not say
INSTEAD: Final[Mapping[str, str | None]] = {
    "input": None,
    "cached_input": "input",
    "cache_write": "input",
    "output": None,
    "reasoning": "output",
}
_KEYS: Final = ("model", "valid_from", *INSTEAD)
_MAX_BYTES: Final = 1_000_000
# at most 24 digits: decimal arithmetic is exact up to 28
_NUMBER: Final = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?([eE][+-]?\d{1,3})?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One entry of the file. ``dollars`` per million tokens of each kind, ``valid_from`` in Unix seconds."""

    model: str
    valid_from: float
    dollars: Mapping[str, Decimal]


class _Pairs(list[tuple[str, Any]]):
    """A mapping as it is written, so that a key that is given twice can be refused."""


def entries_of(path: Path) -> tuple[PriceEntry, ...]:
    """The entries under ``prices``. Raises BadSettings."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadSettings(
            [f"{path}: cannot be read ({error.strerror}); fix: write it, or name the file there is"]
        ) from error
    if len(text) > _MAX_BYTES:
        raise BadSettings([f"{path}: {len(text)} bytes, over {_MAX_BYTES}; fix: name the file of prices"])
    document = _yaml(text, path) if path.suffix in (".yaml", ".yml") else _json(text, path)
    return _checked(document, str(path))


def _json(text: bytes, path: Path) -> object:
    try:
        return json.loads(text, object_pairs_hook=_Pairs, parse_int=Decimal, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise BadSettings([f"{path}: not JSON ({error}); fix: correct it; a YAML file must end in .yaml"]) from error


def _yaml(text: bytes, path: Path) -> object:
    try:
        import yaml  # noqa: PLC0415  a service with prices in JSON has no PyYAML
    except ModuleNotFoundError as error:
        raise BadSettings(
            [f"{path}: pyyaml is missing to read YAML; fix: install it, or write the prices as JSON"]
        ) from error

    def value_of(node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return _Pairs((str(value_of(key)), value_of(value)) for key, value in node.value)
        if isinstance(node, yaml.SequenceNode):
            return [value_of(entry) for entry in node.value]
        return str(node.value)

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise BadSettings([f"{path}: YAML aliases (*name) are not read; fix: write each price out"])
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else value_of(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadSettings([plain(f"{path}: not YAML ({error}); fix: correct its syntax")]) from error


def _checked(document: object, where: str) -> tuple[PriceEntry, ...]:
    problems: list[str] = []
    top = _mapping(document, where, problems, ("prices",))
    listed = (top or {}).get("prices")
    if not problems and (not isinstance(listed, list) or isinstance(listed, _Pairs) or not listed):
        problems.append(
            f"{where}: `prices` is no list of entries; fix: write one, each with model, valid_from, input and output"
        )
    if problems:
        raise BadSettings(problems)
    assert isinstance(listed, list)
    entries = [
        _entry(one, f"{where}, entry {number}{_named(one)}", problems) for number, one in enumerate(listed, start=1)
    ]
    seen: set[tuple[str, float]] = set()
    for number, entry in enumerate(entries, start=1):
        if entry is None:
            continue
        if (entry.model, entry.valid_from) in seen:
            problems.append(
                f"{where}, entry {number} ({plain(entry.model, 80)}): a second price from "
                f"{to_iso(entry.valid_from)[:10]}; fix: keep one of the two"
            )
        seen.add((entry.model, entry.valid_from))
    if problems:
        raise BadSettings(problems)
    return tuple(entry for entry in entries if entry is not None)


def _named(one: object) -> str:
    """`` (gpt-5)``, where the entry has a model."""
    model = dict(one).get("model") if isinstance(one, _Pairs) else None
    return f" ({plain(model, 80)})" if isinstance(model, str) and model.strip() else ""


def _mapping(value: object, where: str, problems: list[str], known: Sequence[str]) -> dict[str, Any] | None:
    if not isinstance(value, _Pairs):
        problems.append(f"{where}: no object; fix: write one with {', '.join(known)}")
        return None
    found = dict(value)
    for name in found:
        if sum(key == name for key, _ in value) > 1:
            problems.append(f"{where}: `{plain(name, 80)}` is given twice; fix: keep one")
        if name not in known:
            fix = f"remove it, or write one of {', '.join(known)}"
            problems.append(f"{where}: there is no key `{plain(name, 80)}`; fix: {fix}")
    return found


def _entry(value: object, where: str, problems: list[str]) -> PriceEntry | None:
    before = len(problems)
    found = _mapping(value, where, problems, _KEYS)
    if found is None:
        return None
    model = found.get("model")
    if not isinstance(model, str) or not model.strip():
        problems.append(f"{where}: `model` is no name; fix: write the one that requests are sent with")
    valid_from = _time(found.get("valid_from"), where, problems)
    dollars: dict[str, Decimal] = {}
    for kind, instead in INSTEAD.items():
        if kind not in found and instead is not None:
            continue
        price = _dollars(found.get(kind), f"{where}: `{kind}`", problems)
        if price is not None:
            dollars[kind] = price
    if len(problems) > before or valid_from is None:
        return None
    for kind, instead in INSTEAD.items():
        if instead is not None:
            dollars.setdefault(kind, dollars[instead])
    return PriceEntry(str(model), valid_from, dollars)


def _time(value: object, where: str, problems: list[str]) -> float | None:
    if isinstance(value, str):
        try:
            if _DAY.fullmatch(value):
                day = date.fromisoformat(value)
                return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            return from_iso(value)
        except (ValueError, BadDocument):
            pass
    problems.append(
        f"{where}: `valid_from` is no time; fix: write a date in UTC or a time with its offset, such as 2026-11-01 "
        "or 2026-11-01T09:00:00Z"
    )
    return None


def _dollars(value: object, what: str, problems: list[str]) -> Decimal | None:
    """Dollars per million tokens, a whole number of micro-dollars."""
    unit = "dollars per million tokens"
    if value is None:
        problems.append(f"{what} is missing; fix: write {unit}")
        return None
    # YAML has its numbers as texts here, so that none passes through a float
    text = str(value).strip() if isinstance(value, (str, Decimal)) else ""
    if not _NUMBER.fullmatch(text):
        problems.append(f"{what} is {plain(repr(value), 80)}, no number; fix: write {unit}, such as 2.50")
        return None
    dollars = Decimal(text)
    shown = plain(text, 80)
    if dollars < 0:
        problems.append(f"{what} is negative ({shown}); fix: write 0 or more {unit}")
    elif dollars > MOST_DOLLARS:
        problems.append(
            f"{what} is {shown} {unit}, over {MOST_DOLLARS:,}; fix: if it is micro-dollars, divide by 1000000"
        )
    elif 0 < dollars < LEAST_DOLLARS:
        problems.append(
            f"{what} is {shown} {unit}, under {LEAST_DOLLARS}; fix: if it is per token, multiply by 1000000"
        )
    elif dollars * 1_000_000 % 1:
        problems.append(f"{what} is {shown}; fix: write at most six digits after the point")
    else:
        return dollars
    return None
