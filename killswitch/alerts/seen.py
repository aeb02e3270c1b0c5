"""Which alerts have been seen, and what each has done: the store's memory of one rollout, bounded.

Of each alert (its fingerprint) the newest beginning is kept, so a copy from another replica of Alertmanager, a repeat
of the group and a replay of an older message are known again, by any replica and after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_BYTES = 128 * 1024
MAX_SEEN = 500
# Seconds by which the clocks of those who raise alerts, arm and decide may differ.
CLOCKS = 60.0
_MILLISECOND = 0.001  # as documents hold times


class Did(IntEnum):
    """What an alert has done, in the order of what it takes from the canary."""

    NOTHING = 0
    HELD = 1
    TRIPPED = 2


@dataclass(frozen=True, slots=True)
class SeenAlert:
    """``starts_at``: its newest beginning. ``generation``: the flag's when it was seen, 0 without a flag."""

    starts_at: float
    generation: int
    did: Did

    def covers(self, starts_at: float, *, now: float) -> bool:
        """Whether an alert that began then has been seen. ``now``: Unix seconds.

        A beginning that is not over yet came from a clock that was ahead. It is known again, and says nothing of
        others: until that clock's time has come, every real alert begins before it.
        """
        if self.starts_at > now + CLOCKS:
            return abs(starts_at - self.starts_at) <= _MILLISECOND
        return starts_at <= self.starts_at + _MILLISECOND


Seen = Mapping[str, SeenAlert]  # by fingerprint, the one that was seen last at the end


def with_seen(seen: Seen, fingerprint: str, alert: SeenAlert, *, now: float) -> Seen:
    """The memory with this alert as the newest. What was done about the same beginning is never forgotten."""
    known = seen.get(fingerprint)
    if known is not None and known.covers(alert.starts_at, now=now):
        if known.did >= alert.did or known.generation != alert.generation:
            return seen
        alert = replace(alert, starts_at=known.starts_at)
    kept = {name: one for name, one in seen.items() if name != fingerprint}
    kept[fingerprint] = alert
    return dict(list(kept.items())[-MAX_SEEN:])


def to_document(seen: Seen, *, rollout: str) -> bytes:
    """As stored: JSON, UTF-8."""
    alerts = [
        {
            "fingerprint": fingerprint,
            "starts_at": to_iso(one.starts_at),
            "generation": one.generation,
            "did": one.did.name.lower(),
        }
        for fingerprint, one in seen.items()
    ]
    return json.dumps({"format": FORMAT, "rollout": rollout, "alerts": alerts}).encode()


def from_document(value: bytes, *, rollout: str) -> Seen:
    """Raises BadDocument."""
    fields = parse_object(value, f"alerts seen of {rollout}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT or fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: not a document of this rollout and format")
    return {one.text("fingerprint"): _seen(one) for one in fields.objects("alerts")}


def _seen(fields: Fields) -> SeenAlert:
    did = fields.text("did").upper()
    if did not in Did.__members__:
        raise BadDocument(f"{fields.where}: did {did!r:.40} is none of {', '.join(Did.__members__).lower()}")
    return SeenAlert(fields.time("starts_at"), fields.integer("generation"), Did[did])
