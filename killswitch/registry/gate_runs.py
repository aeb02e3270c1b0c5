"""The runs of a role's gate in the store. Which of them is newest is a document of its own, so that it can be compared.

A promotion compares that document too: a run that failed while someone promoted is not overlooked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from killswitch.documents import parse_object
from killswitch.errors import BadDocument, OutcomeUnknown, Refused
from killswitch.roles.gate_record import GateRecord, from_document, to_document
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.wording import plain

FORMAT = 1
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as stored, and the revision of its last change."""

    record: GateRecord
    revision: int


def run_id(at: float, suffix: str) -> str:
    """The id of a run that begins ``at`` (Unix seconds), such as ``20261130T171429Z-3f9c2a``; they sort by time.

    ``suffix``: letters and digits that no other run of that second has.
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}-{suffix}"


def keep(store: Store, record: GateRecord) -> None:
    """Store a run that has ended. Raises Refused where its id is taken by another; else as the store does."""
    key, document = keys.gate_run(record.role, record.run), to_document(record)
    newest = json.dumps({"format": FORMAT, "role": record.role, "run": record.run}).encode()
    writes = (Put(key, document), Put(keys.gate_newest(record.role), newest))
    try:
        outcome = store.commit((Compare(key, 0),), writes)
    except OutcomeUnknown:
        item = store.get(key)
        if item is not None and item.value == document:
            return
        raise
    if not isinstance(outcome, Committed):
        item = store.get(key)
        if item is None or item.value != document:
            raise Refused(f"role {record.role} has another gate run {record.run}; run the gate again")


def run(store: Store, role: str, run: str) -> StoredRun | None:
    """One run, None where there is none of this id. Raises BadDocument for a damaged one."""
    if "/" in run:
        raise BadDocument(f"{plain(run, 80)!r} is no id of a gate run; `killswitch gate list {role}` lists them")
    item = store.get(keys.gate_run(role, run))
    return None if item is None else StoredRun(from_document(item.value, role=role), item.mod_revision)


def newest(store: Store, role: str) -> StoredRun | None:
    """The run that was stored last, None before the first. Raises BadDocument for a damaged one."""
    name = newest_name(store, role)
    return None if name is None else run(store, role, name)


def newest_name(store: Store, role: str) -> str | None:
    """The id of the run that was stored last, None before the first. Raises BadDocument for a damaged document."""
    item = store.get(keys.gate_newest(role))
    if item is None:
        return None
    return parse_object(item.value, f"newest gate run of role {role}", max_bytes=MAX_BYTES).text("run")


def newest_revision(store: Store, role: str) -> int:
    """The revision to compare where a decision rests on there being no newer run; 0 before the first."""
    item = store.get(keys.gate_newest(role))
    return 0 if item is None else item.mod_revision


def runs_since(store: Store, role: str, since: float, now: float) -> list[StoredRun]:
    """Runs that began at ``since`` or later, oldest first; those before in the same month as well.

    Only the months from ``since`` to ``now`` are read. Raises BadDocument for a damaged one: it may have failed.
    """
    return [
        StoredRun(from_document(item.value, role=role), item.mod_revision)
        for month in _months(since, now)
        for item in store.list(keys.gate_run(role, month)).items
    ]


def readable_since(store: Store, role: str, since: float, now: float) -> tuple[list[StoredRun], list[str]]:
    """`runs_since` for a person: the runs that can be read, and what is wrong with the others. No decision."""
    found: list[StoredRun] = []
    problems: list[str] = []
    for month in _months(since, now):
        for item in store.list(keys.gate_run(role, month)).items:
            try:
                found.append(StoredRun(from_document(item.value, role=role), item.mod_revision))
            except BadDocument as error:
                problems.append(f"{item.key}: {error}")
    return [one for one in found if one.record.started_at >= since], problems


def _months(since: float, now: float) -> Iterator[str]:
    """``202611`` of each month that has a moment from ``since`` to a day after ``now``: clocks differ."""
    month = datetime.fromtimestamp(since, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = datetime.fromtimestamp(now, UTC) + timedelta(days=1)
    while month <= end:
        yield f"{month:%Y%m}"
        month = (month + timedelta(days=32)).replace(day=1)
