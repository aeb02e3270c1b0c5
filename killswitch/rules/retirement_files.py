"""Reads a file of retirement dates: which pinned models are retired when, as their providers have announced."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from killswitch.errors import BadDocument, BadRules
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import check_model
from killswitch.rules.document import Document, Problem, read_document
from killswitch.rules.units import shown
from killswitch.timestamps import from_iso

MAX_MODELS: Final = 2000
_KEYS: Final = ("model", "retires", "instead")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def load_retirements(path: Path) -> tuple[RetirementDate, ...]:
    """The dates of a YAML or JSON file. Raises BadRules with every problem, each as ``file:line: what; fix: …``.

    ::

        retirements:
          - {model: gpt-4o-2024-08-06, retires: 2027-02-27, instead: gpt-5-2025-08-07}
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadRules(
            [f"{path}: cannot be read ({error.strerror}); fix: write it, or name the file there is"]
        ) from error
    document = read_document(content, of="retirements")
    found, problems = _checked(document, path.name)
    if problems:
        raise BadRules([f"{path}:{one.line}: {one.what}; fix: {one.fix}" for one in sorted(problems)])
    return tuple(found)


def _checked(document: Document, source: str) -> tuple[list[RetirementDate], list[Problem]]:
    problems = list(document.problems)
    value = document.value
    listed = value.get("retirements") if isinstance(value, dict) else None
    if problems:
        return [], problems
    if not isinstance(value, dict) or value.keys() != {"retirements"} or not isinstance(listed, list):
        fix = "write `retirements:` and under it lines such as `- {model: gpt-4o-2024-08-06, retires: 2027-02-27}`"
        return [], [Problem(1, "no list of retirements", fix)]
    if len(listed) > MAX_MODELS:
        return [], [Problem(1, f"over {MAX_MODELS:,} models", "keep those that your roles name")]
    found: dict[str, RetirementDate] = {}
    for number, entry in enumerate(listed):
        line = document.line_of(("retirements", number))
        one = _entry(entry, line, source, problems)
        if one is not None and one.model in found:
            problems.append(Problem(line, f"{shown(one.model)} is here twice", "keep one of them"))
        elif one is not None:
            found[one.model] = one
    return list(found.values()), problems


def _entry(entry: Any, line: int, source: str, problems: list[Problem]) -> RetirementDate | None:
    before = len(problems)
    if not isinstance(entry, dict):
        problems.append(Problem(line, "an entry is no mapping", "write {model: …, retires: 2027-02-27}"))
        return None
    unknown = sorted(entry.keys() - set(_KEYS))
    problems += [Problem(line, f"there is no key {shown(key)}", f"write one of {', '.join(_KEYS)}") for key in unknown]
    model, instead = entry.get("model"), entry.get("instead")
    for name, given, needed in (("model", model, True), ("instead", instead, False)):
        try:
            if given is not None or needed:
                check_model(given if isinstance(given, str) else "")
        except BadDocument as error:
            problems.append(Problem(line, f"{name}: {error}", "write the id that requests are sent with"))
    at = _time(entry.get("retires"))
    if at is None:
        fix = "write a date in UTC or a time with its offset, such as 2027-02-27 or 2027-02-27T09:00:00Z"
        problems.append(Problem(line, f"retires: {shown(entry.get('retires'))} is no time", fix))
    if len(problems) > before or at is None:
        return None
    return RetirementDate(str(model), at, source, instead)


def _time(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        if _DAY.fullmatch(value):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        return from_iso(value)
    except (ValueError, BadDocument):
        return None
