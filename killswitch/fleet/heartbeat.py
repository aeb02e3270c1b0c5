"""A controller's heartbeat: who is alive, and which rollouts it could judge lately.

Under the controller's session lease, so that it vanishes with its writer. Routers only ask whether there
is any; other controllers read the last good evaluations, because blindness is a state of the fleet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from killswitch.errors import BadDocument
from killswitch.stores import Item, keys
from killswitch.timestamps import from_iso, to_iso

FORMAT = 1
MAX_DOCUMENT_BYTES = 1024 * 1024  # 10,000 rollouts, all of them blind


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """``tick`` and ``last_good`` on the metric store's clock, Unix seconds.

    ``last_good`` holds only the rollouts that could *not* be judged at ``tick``, with the last tick at
    which they could (0: never); every other rollout was judged at ``tick``. So 1,000 healthy rollouts
    cost a few bytes.
    """

    id: str
    version: str
    at: float
    tick: float
    rules_digest: str
    judged: frozenset[str]
    last_good: Mapping[str, float]

    def good_at(self, rollout: str) -> float:
        """The last tick at which this controller had a usable verdict; 0 for never or not watched."""
        if rollout in self.last_good:
            return self.last_good[rollout]
        return self.tick if rollout in self.judged else 0.0


def to_document(heartbeat: Heartbeat) -> bytes:
    return json.dumps(
        {
            "format": FORMAT,
            "id": heartbeat.id,
            "version": heartbeat.version,
            "at": to_iso(heartbeat.at),
            "tick": to_iso(heartbeat.tick),
            "rules_digest": heartbeat.rules_digest,
            "judged": sorted(heartbeat.judged),
            "last_good": {name: to_iso(tick) for name, tick in heartbeat.last_good.items()},
        }
    ).encode()


def from_document(value: bytes) -> Heartbeat:
    """Raises BadDocument."""
    if len(value) > MAX_DOCUMENT_BYTES:
        raise BadDocument(f"heartbeat: {len(value)} bytes, over {MAX_DOCUMENT_BYTES}")
    try:
        document = json.loads(value)
        return Heartbeat(
            id=str(document["id"]),
            version=str(document["version"]),
            at=from_iso(document["at"]),
            tick=from_iso(document["tick"]),
            rules_digest=str(document["rules_digest"]),
            judged=frozenset(map(str, document["judged"])),
            last_good={str(name): from_iso(tick) for name, tick in document["last_good"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadDocument(f"heartbeat: {error!r}") from error


def alive(items: Iterable[Item]) -> dict[str, Heartbeat]:
    """Heartbeats by store key; one that cannot be understood counts as no sight at all."""
    found: dict[str, Heartbeat] = {}
    for item in items:
        if item.key.startswith(keys.CONTROLLERS):
            try:
                found[item.key] = from_document(item.value)
            except BadDocument:
                continue
    return found
