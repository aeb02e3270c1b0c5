"""One process's report of models that did not match their pins, under its lease: the controller pages each once.

It is stored under ``role-reports/<process>`` while there is something to report, and vanishes with the process.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.roles.role import Slot, check_model, check_role_name
from killswitch.router.pinned.answered import OTHER, Mismatches, ModelMismatch
from killswitch.router.presence import LeasedKey
from killswitch.stores import keys
from killswitch.stores.reader import LeaseWriter
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_REPORTED = 10  # mismatches, those that were seen last; a thousand reports fit into one answer of the store
MAX_BYTES = 8192
LOOK_EVERY = 5.0  # seconds between looks at what was counted
_QUIET_AFTER = 3600.0  # seconds after which a mismatch that was not seen again leaves the report


@dataclass(frozen=True, slots=True)
class ReportedMismatch:
    """``answered`` has answered ``number`` times for ``role``, where ``pinned`` was asked."""

    role: str
    pinned: str
    answered: str
    number: int


@dataclass(frozen=True, slots=True)
class MismatchReport:
    """What process ``id`` has seen; ``at`` is its own clock, Unix seconds."""

    id: str
    at: float
    mismatches: tuple[ReportedMismatch, ...]


def to_document(report: MismatchReport) -> bytes:
    rows = [
        {"role": one.role, "pinned": one.pinned, "answered": one.answered, "number": one.number}
        for one in report.mismatches[:MAX_REPORTED]
    ]
    document = {"format": FORMAT, "id": report.id, "at": to_iso(report.at), "mismatches": rows}
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def from_document(value: bytes) -> MismatchReport:
    """Raises BadDocument."""
    fields = parse_object(value, "a report of mismatches", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"a report of mismatches: format {fields.raw['format']!r:.40}; this version reads {FORMAT}")
    rows = fields.objects("mismatches")
    return MismatchReport(
        id=fields.text("id"),
        at=fields.time("at"),
        mismatches=tuple(
            ReportedMismatch(
                check_role_name(row.text("role")),
                check_model(row.text("pinned")),
                check_model(row.text("answered")),
                row.integer("number"),
            )
            for row in rows[:MAX_REPORTED]
        ),
    )


class MismatchReporter:
    """Writes one process's report. For one thread; times are seconds on the follower's clock."""

    pause = LOOK_EVERY

    def __init__(self, mismatches: Mismatches, writer: LeaseWriter, process_id: str) -> None:
        self._mismatches = mismatches
        self._id = process_id
        self._key = LeasedKey(keys.role_report(process_id), writer)

    def due_at(self, earliest: float) -> float:
        """When to call `report` next: not before ``earliest``; infinity while nothing was ever seen."""
        return earliest if self._mismatches.seen() or self._key.held else math.inf

    def report(self, model: Callable[[Slot, str], str | None], now: float, wall: float) -> None:
        """Write what is new. ``model`` gives the pins of now; a mismatch of a pin that no slot has now is left out.

        Raises Unavailable, AccessDenied, BadDocument.
        """
        current = [one for one in self._looked_at(now) if any(model(slot, one.role) == one.pinned for slot in Slot)]
        newest = sorted(current, key=lambda one: (-one.seen_at, one.role, one.pinned, one.answered))[:MAX_REPORTED]
        if not newest:
            self._key.close()
            return
        rows = tuple(ReportedMismatch(one.role, one.pinned, one.answered, one.number) for one in newest)
        news = frozenset((row.role, row.pinned, row.answered) for row in rows)  # numbers alone are no news
        if self._key.due_at(news, now) <= now:
            self._key.put(news, lambda: to_document(MismatchReport(self._id, wall, rows)), now)

    def close(self) -> None:
        """Withdraw the report, if the store answers."""
        self._key.close()

    def _looked_at(self, now: float) -> list[ModelMismatch]:
        found = self._mismatches.seen()
        for one in found:
            one.look(now)
        return [one for one in found if one.number and now - one.seen_at < _QUIET_AFTER and one.role != OTHER]
