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
from collections.abc import Callable
from dataclasses import dataclass

from killswitch import __version__
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
    100) is what it obeys, 0 when everyone goes to control; ``at`` is its own clock, Unix seconds. ``version``: of the
    SDK, "" for one that did not say: services are updated at other times than controllers. ``acted_for``: how long it
    had acted on it when it reported, in seconds; 0 where it does not say. So no two clocks are compared.
    """

    id: str
    rollout: str
    revision: int
    generation: int
    standing: str
    canary_percent: float
    at: float
    acted_for: float = 0.0
    version: str = ""

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
            "version": report.version,
            "acted_for": round(report.acted_for, 3),
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
        version=fields.optional_text("version") or "",
        acted_for=max(fields.optional_number("acted_for") or 0.0, 0.0),
    )


def new_id() -> str:
    """``<host>-<pid>-<random>``: unique to each process, fit for a key."""
    host = re.sub(r"[^a-zA-Z0-9.-]", "-", socket.gethostname())[:48]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


class LeasedKey:
    """One key that a process writes, under a lease of its own. For one thread; times are the follower's seconds."""

    def __init__(self, key: str, writer: LeaseWriter) -> None:
        self._key = key
        self._writer = writer
        self._lease: Lease | None = None
        self._written: object = None
        self._renew_at = 0.0

    @property
    def held(self) -> bool:
        return self._lease is not None

    def due_at(self, news: object, earliest: float) -> float:
        """When to call `put` next, not before ``earliest``: at once if ``news`` differ, else to renew the lease."""
        return earliest if self._written != news else max(earliest, self._renew_at)

    def put(self, news: object, document: Callable[[], bytes], now: float) -> None:
        """Renew the lease if it is time, and write what is new. Raises Unavailable, AccessDenied, BadDocument."""
        if self._lease is not None and now >= self._renew_at:
            self._lease = self._writer.keep_alive(self._lease)
        if self._lease is None:
            self._lease = self._writer.grant(TTL)
            self._written = None
        self._renew_at = now + TTL / 3
        if self._written == news:
            return
        try:
            self._writer.put(self._key, document(), self._lease)
        except KillswitchError:
            self._lease = None  # the lease may be the cause: get a new one
            raise
        self._written = news

    def close(self) -> None:
        """Withdraw the key, if the store answers."""
        lease, self._lease = self._lease, None
        self._written = None
        if lease is not None:
            try:
                self._writer.revoke(lease)
            except KillswitchError:
                return  # the lease ends by itself


class Reporter:
    """Writes one router's reports. For one thread; times are seconds on the follower's clock."""

    def __init__(self, rollout: str, writer: LeaseWriter, router_id: str) -> None:
        self.id = router_id
        self._rollout = rollout
        self._key = LeasedKey(keys.router(rollout, router_id), writer)

    def due_at(self, snapshot: ObeyedFlag, earliest: float) -> float:
        """When to call `report` next, not before ``earliest``: at once if there is news, else to renew the lease."""
        return self._key.due_at(_news(snapshot), earliest)

    def report(self, snapshot: ObeyedFlag, now: float, wall: float, *, acted_at: float) -> None:
        """Renew the lease if it is time, and write what is new. Raises Unavailable, AccessDenied, BadDocument.

        ``acted_at``: since when the snapshot is obeyed.
        """
        self._key.put(_news(snapshot), lambda: to_document(self._of(snapshot, wall, now - acted_at)), now)

    def close(self) -> None:
        """Withdraw the report, if the store answers."""
        self._key.close()

    def _of(self, snapshot: ObeyedFlag, wall: float, acted_for: float) -> Report:
        return Report(
            id=self.id,
            rollout=self._rollout,
            revision=snapshot.revision,
            generation=snapshot.generation,
            standing=snapshot.state,
            canary_percent=snapshot.canary_percent,
            at=wall,
            version=__version__,
            acted_for=acted_for,
        )


def _news(snapshot: ObeyedFlag) -> tuple[object, ...]:
    return snapshot.revision, snapshot.generation, snapshot.standing, snapshot.canary_percent
