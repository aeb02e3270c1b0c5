"""A router's report of itself: which revision it has acted on, so that people see how far a trip has got.

It is stored under ``routers/<rollout>/<id>`` in the router's own lease and vanishes with it. Nothing that a router does
depends on whether a report could be written.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from dataclasses import dataclass

from killswitch.documents import parse_object
from killswitch.errors import BadDocument, KillswitchError
from killswitch.router.snapshot import ObeyedFlag
from killswitch.stores import Lease, keys
from killswitch.stores.reader import LeaseWriter
from killswitch.timestamps import to_iso

FORMAT = 1
TTL = 60.0  # seconds after which a dead router's report vanishes
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Report:
    """One router's report. ``revision`` and ``generation`` are of the flag it has acted on; ``canary_percent`` (0 to
    100) is what it obeys, 0 when everyone goes to control; ``at`` is its own clock, Unix seconds.
    """

    id: str
    rollout: str
    revision: int
    generation: int
    standing: str
    canary_percent: float
    at: float

    @property
    def on_control(self) -> bool:
        return self.canary_percent == 0.0


def to_document(report: Report) -> bytes:
    return json.dumps(
        {
            "format": FORMAT,
            "id": report.id,
            "rollout": report.rollout,
            "revision": report.revision,
            "generation": report.generation,
            "standing": report.standing,
            "canary_percent": report.canary_percent,
            "at": to_iso(report.at),
        }
    ).encode()


def from_document(value: bytes) -> Report:
    """Raises BadDocument."""
    fields = parse_object(value, "a router's report", max_bytes=_MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"a router's report: format {fields.raw['format']!r:.40}; this version reads {FORMAT}")
    return Report(
        id=fields.text("id"),
        rollout=fields.text("rollout"),
        revision=fields.integer("revision"),
        generation=fields.integer("generation"),
        standing=fields.text("standing"),
        canary_percent=fields.number("canary_percent"),
        at=fields.time("at"),
    )


def new_id() -> str:
    """``<host>-<pid>-<random>``: unique to each process, fit for a key."""
    host = re.sub(r"[^a-zA-Z0-9.-]", "-", socket.gethostname())[:48]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


class Reporter:
    """Writes one router's reports. For one thread; times are seconds on the follower's clock."""

    def __init__(self, rollout: str, writer: LeaseWriter, router_id: str) -> None:
        self.id = router_id
        self._rollout = rollout
        self._writer = writer
        self._lease: Lease | None = None
        self._written: tuple[object, ...] | None = None
        self._renew_at = 0.0

    def due_at(self, snapshot: ObeyedFlag, earliest: float) -> float:
        """When to call `report` next, not before ``earliest``: at once if there is news, else to renew the lease."""
        return earliest if self._written != _news(snapshot) else max(earliest, self._renew_at)

    def report(self, snapshot: ObeyedFlag, now: float, wall: float) -> None:
        """Renew the lease if it is time, and write what is new. Raises Unavailable, AccessDenied, BadDocument."""
        if self._lease is not None and now >= self._renew_at:
            self._lease = self._writer.keep_alive(self._lease)
        if self._lease is None:
            self._lease = self._writer.grant(TTL)
            self._written = None
        self._renew_at = now + TTL / 3
        if self._written == _news(snapshot):
            return
        report = Report(
            id=self.id,
            rollout=self._rollout,
            revision=snapshot.revision,
            generation=snapshot.generation,
            standing=snapshot.state,
            canary_percent=snapshot.canary_percent,
            at=wall,
        )
        try:
            self._writer.put(keys.router(self._rollout, self.id), to_document(report), self._lease)
        except KillswitchError:
            self._lease = None  # the lease may be the cause: get a new one
            raise
        self._written = _news(snapshot)

    def close(self) -> None:
        """Withdraw the report, if the store answers."""
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                self._writer.revoke(lease)
            except KillswitchError:
                return  # the lease ends by itself


def _news(snapshot: ObeyedFlag) -> tuple[object, ...]:
    return snapshot.revision, snapshot.generation, snapshot.standing, snapshot.canary_percent
