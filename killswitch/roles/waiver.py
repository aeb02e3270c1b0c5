"""A waiver: a person lets one candidate of a role go on without a passed gate, for a stated reason and time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_BYTES = 64 * 1024
MAX_REASON = 2000  # characters that are kept of what a person has typed
MAX_OWNER = 200


@dataclass(frozen=True, slots=True)
class Waiver:
    """``owner`` answers for it. It holds for this pair of models until ``expires_at`` (Unix seconds), no longer."""

    role: str
    prod: str | None
    candidate: str
    owner: str
    reason: str
    by: str
    at: float
    expires_at: float

    def holds_for(self, *, prod: str | None, candidate: str | None, now: float) -> bool:
        return (self.prod, self.candidate) == (prod, candidate) and self.at <= now < self.expires_at


def to_document(waiver: Waiver) -> bytes:
    """As stored: JSON, UTF-8."""
    document = {
        "format": FORMAT,
        "role": waiver.role,
        "prod": waiver.prod,
        "candidate": waiver.candidate,
        "owner": waiver.owner[:MAX_OWNER],
        "reason": waiver.reason[:MAX_REASON],
        "by": waiver.by,
        "at": to_iso(waiver.at),
        "expires_at": to_iso(waiver.expires_at),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode(errors="replace")


def from_document(value: bytes, *, role: str) -> Waiver:
    """The inverse of `to_document`. Raises BadDocument; a reader then has no waiver."""
    fields = parse_object(value, f"waiver of role {role}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("role") != role:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['role']!r:.80}")
    return Waiver(
        role=role,
        prod=fields.optional_text("prod"),
        candidate=fields.text("candidate"),
        owner=fields.text("owner"),
        reason=fields.text("reason"),
        by=fields.text("by"),
        at=fields.time("at"),
        expires_at=fields.time("expires_at"),
    )
