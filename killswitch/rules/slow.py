"""Reads the section `slow`: what several keys of a signal say together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from killswitch.rules.document import Path
from killswitch.rules.metrics import Complaint
from killswitch.rules.schema import NAME_PATTERN
from killswitch.rules.slow_schema import MAX_SIGNALS, SlowSignalSpec, SlowSpec
from killswitch.rules.slow_values import SINCE
from killswitch.rules.units import Kind, Quantity, shown
from killswitch.slow_settings import SlowSettings, SlowSignal

_PATH: Path = ("slow", "signals")


def read_slow(spec: SlowSpec | None) -> tuple[SlowSettings | None, list[Complaint]]:
    """The section, None without it, and what is wrong with it."""
    if spec is None:
        return None, []
    complaints = list(_complaints(spec))
    signals = tuple(_signal(name, signal) for name, signal in spec.signals.items())
    users = spec.users
    settings = SlowSettings(
        spec.source, users.query, users.user, users.day, signals, spec.password, spec.every.at, spec.every.time_zone,
        spec.assignments, spec.assignments_key,
    )  # fmt: skip
    return settings, complaints


def _signal(name: str, spec: SlowSignalSpec) -> SlowSignal:
    low, high = spec.range
    drop, increase = (None if limit is None else limit.value for limit in (spec.max_drop, spec.max_increase))
    return SlowSignal(
        name, spec.column, spec.query, low, high, drop, increase, spec.sustained, spec.settle, spec.decide,
        spec.max_response_drop,
    )  # fmt: skip


def _complaints(spec: SlowSpec) -> Iterator[Complaint]:
    if not 1 <= len(spec.signals) <= MAX_SIGNALS:
        yield Complaint(_PATH, f"{len(spec.signals)} slow signals", f"state 1 to {MAX_SIGNALS}")
    if (spec.assignments is None) != (spec.assignments_key is None):
        missing = "assignments_key" if spec.assignments_key is None else "assignments"
        yield Complaint(
            ("slow",), f"no {missing}, which goes with the table of assignments",
            "write both: the table that the router's log of exposures fills, and the key that it hashes users with",
        )  # fmt: skip
    yield from _of_statement(("slow", "users", "query"), spec.users.query)
    for name, signal in spec.signals.items():
        here: Path = (*_PATH, name)
        if not re.fullmatch(NAME_PATTERN, name, re.ASCII):
            yield Complaint(
                here, f"{shown(name)} is not a valid name of a signal",
                "use a-z, digits and _, beginning with a letter",
            )  # fmt: skip
        if signal.query is not None:
            yield from _of_statement((*here, "query"), signal.query)
        yield from _of_limits(here, signal)


def _of_statement(path: Path, query: str) -> Iterator[Complaint]:
    if f":{SINCE}" not in query:
        yield Complaint(
            path, f"{path[-1]} does not use :{SINCE}, so every evaluation reads the whole table",
            f"add `where day >= :{SINCE}`", warning=True,
        )  # fmt: skip


def _of_limits(here: Path, signal: SlowSignalSpec) -> Iterator[Complaint]:
    limits = {"max_drop": signal.max_drop, "max_increase": signal.max_increase}
    stated = {name: limit for name, limit in limits.items() if limit is not None}
    if len(stated) != 1:
        what = "both max_drop and max_increase" if stated else "a signal without a limit"
        yield Complaint(here, what, "state `max_drop` if lower is worse, or `max_increase` if higher is worse")
    for name, limit in stated.items():
        yield from _of_limit((*here, name), limit, signal)
    if signal.decide == "threshold":
        yield Complaint(
            (*here, "decide"),
            "the literal rule pins a healthy canary with 50 answers a day within a week in 28 to 57 % of runs",
            "use `decide: evidence`; `killswitch slow ROLLOUT` says how often at your traffic, and which percent it "
            "needs, also before you arm",
            warning=True,
        )


def _of_limit(path: Path, limit: Quantity, signal: SlowSignalSpec) -> Iterator[Complaint]:
    low, high = signal.range
    if limit.kind is Kind.POINTS and (low, high) != (0.0, 1.0):
        yield Complaint(
            path, f"{shown(limit.text)} is of a share, but the range is {low:g} to {high:g}",
            "write it in the column's unit, without pp",
        )  # fmt: skip
    elif limit.value >= high - low:
        fix = f"write {limit.text.rstrip('x ')}pp" if (low, high) == (0.0, 1.0) else "write less than the whole range"
        yield Complaint(path, f"{shown(limit.text)} is not less than the range, {low:g} to {high:g}", fix)
