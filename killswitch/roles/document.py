"""A role and its history as stored: one JSON document each, refused unless it is whole and sane."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.roles.role import MAX_BY, ProdOrigin, Role, RoleChange, RoleHistoryEntry, check_model, check_role_name
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_BYTES = 64 * 1024  # the longest reason, all of it escaped, has 12,000 bytes
MAX_REASON = 2000  # characters that are kept of what a person has typed


def to_document(role: Role) -> bytes:
    """The role as stored: JSON, UTF-8."""
    return _json(_of_role(role))


def from_document(value: bytes, *, name: str) -> Role:
    """The inverse of `to_document`, for a document that claims to be of the role ``name``.

    Raises BadDocument, naming the field. Unknown fields are ignored, so that a newer writer may add some.
    """
    return _role(parse_object(value, f"role {name}", max_bytes=MAX_BYTES), name)


def history_document(entry: RoleHistoryEntry) -> bytes:
    """One change as stored."""
    more = {
        "reason": entry.reason[:MAX_REASON],
        "gate_run": entry.gate_run,
        "waiver": None if entry.waiver is None else entry.waiver[:MAX_REASON],
        "incident": entry.incident,
    }
    return _json({**_of_role(entry.role), **more})


def history_from_document(value: bytes, *, name: str) -> RoleHistoryEntry:
    """The inverse of `history_document`. Raises BadDocument."""
    fields = parse_object(value, f"history of role {name}", max_bytes=MAX_BYTES)
    return RoleHistoryEntry(
        _role(fields, name),
        fields.text("reason", empty=True),
        fields.optional_text("gate_run"),
        fields.optional_text("waiver"),
        fields.optional_text("incident"),
    )


def _of_role(role: Role) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "role": role.name,
        "number": role.number,
        "slots": {"prod": role.prod, "candidate": role.candidate, "previous": role.previous},
        "change": role.change.value,
        "updated_at": to_iso(role.updated_at),
        "updated_by": role.updated_by[:MAX_BY],
        "origin": None if role.origin is None else _of_origin(role.origin),
    }


def _of_origin(origin: ProdOrigin) -> dict[str, Any]:
    return {
        "at": to_iso(origin.at),
        "by": origin.by[:MAX_BY],
        "change": origin.change.value,
        "gate_run": origin.gate_run,
        "waiver": None if origin.waiver is None else origin.waiver[:MAX_REASON],
    }


def _role(fields: Fields, name: str) -> Role:
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("role") != check_role_name(name):
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['role']!r:.80}")
    number = fields.integer("number")
    if number < 1:
        raise BadDocument(f"{fields.where}: number must be 1 or more, got {number}")
    origin = fields.raw.get("origin")
    slots = Fields(fields.raw.get("slots"), f"{fields.where}, slots")
    return Role(
        name=name,
        prod=_model(slots, "prod"),
        candidate=_model(slots, "candidate"),
        previous=_model(slots, "previous"),
        number=number,
        change=_change(fields),
        updated_at=fields.time("updated_at"),
        updated_by=fields.text("updated_by", empty=True),
        origin=None if origin is None else _origin(Fields(origin, f"{fields.where}, origin")),
    )


def _origin(fields: Fields) -> ProdOrigin:
    return ProdOrigin(
        at=fields.time("at"),
        by=fields.text("by", empty=True),
        change=_change(fields),
        gate_run=fields.optional_text("gate_run"),
        waiver=fields.optional_text("waiver"),
    )


def _change(fields: Fields) -> RoleChange:
    change = fields.text("change")
    if change not in set(RoleChange):
        raise BadDocument(f"{fields.where}: change {change!r:.80} is none of {', '.join(RoleChange)}")
    return RoleChange(change)


def _model(slots: Fields, slot: str) -> str | None:
    model = slots.optional_text(slot)
    try:
        return None if model is None else check_model(model)
    except BadDocument as error:
        raise BadDocument(f"{slots.where}: {slot}: {error}") from error


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode(errors="replace")
