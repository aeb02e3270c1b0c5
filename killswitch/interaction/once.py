"""A press is done once: what it does is in one transaction with a key that must not be there yet.

So a replay, a press that Slack delivers twice, and a press that two replicas get have one effect, whichever is first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.stores import Compare, Put, Store, keys
from killswitch.timestamps import from_iso, to_iso
from killswitch.wording import date_and_time, plain

FORMAT = 1
# the key outlives its button, because machines' clocks differ
GRACE = 900.0  # seconds
SHORTEST = 60.0
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PressNote:
    """What a press adds to its transaction."""

    compare: Compare
    put: Put


def nonce_of(trigger_id: str) -> str:
    """The nonce of a slash command: Slack gives each its own ``trigger_id``, and the same to each delivery of one."""
    return hashlib.sha256(trigger_id.encode()).hexdigest()[:32]


def once(store: Store, rollout: str, nonce: str, deed: str, *, by: str, at: float, expires_at: float) -> PressNote:
    """``at`` and ``expires_at``: Unix seconds. Raises what the store raises: it grants a lease."""
    key = keys.press(rollout, nonce, deed)
    lease = store.grant(max(SHORTEST, expires_at - at) + GRACE)
    document = {"format": FORMAT, "by": plain(by, 200), "at": to_iso(at)}
    return PressNote(
        Compare(key, 0), Put(key, json.dumps(document, ensure_ascii=False).encode(errors="replace"), lease)
    )


def done_before(store: Store, rollout: str, nonce: str, deed: str) -> str | None:
    """``by Ann (U012) at …`` where this press has been done, else None. Raises what the store raises."""
    item = store.get(keys.press(rollout, nonce, deed))
    if item is None:
        return None
    try:
        fields = parse_object(item.value, "press", max_bytes=_MAX_BYTES)
        return f"by {plain(fields.text('by'), 200)} at {date_and_time(from_iso(fields.text('at')))}"
    except BadDocument:
        return "by someone"
