"""A person's wish for a drill, as the command line leaves it in the store for a replica to take.

It is under the asking process's lease: if that process ends before a replica has taken it, no drill is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from killswitch.documents import parse_object

_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """``by``: the person, ``origin``: from where. ``nonce`` tells two requests of one person apart."""

    rollout: str
    live: bool
    by: str
    origin: str
    nonce: str


def to_document(request: DrillRequest) -> bytes:
    return json.dumps(
        {
            "rollout": request.rollout,
            "live": request.live,
            "by": request.by,
            "origin": request.origin,
            "nonce": request.nonce,
        }
    ).encode(errors="replace")


def from_document(value: bytes, *, rollout: str) -> DrillRequest:
    """Raises BadDocument."""
    fields = parse_object(value, f"request for a drill of {rollout}", max_bytes=_MAX_BYTES)
    return DrillRequest(
        rollout, fields.flag("live"), fields.text("by"), fields.text("origin", empty=True), fields.text("nonce")
    )
