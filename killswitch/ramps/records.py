"""What the store keeps of a plan next to its progress: a person's hold, approvals, and each step that was taken."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.ramps.gate_inputs import Approval, Hold
from killswitch.timestamps import from_iso, to_iso

FORMAT = 1
MAX_BYTES = 256 * 1024
MAX_APPROVALS = 500
MAX_REASON = 2000  # characters that are kept of what a person has typed


@dataclass(frozen=True, slots=True)
class AdvanceRecord:
    """One step up: from which stage to which, by whom, and every check as it was.

    ``number`` counts the steps of a generation from 1. ``despite``: why a person went on against the gate, None where
    it passed. ``reason``: what a person said who completed the rollout.
    """

    rollout: str
    generation: int
    number: int
    from_stage: str
    to_stage: str
    percent: float
    at: float
    by: str
    automatic: bool
    checks: Sequence[Mapping[str, Any]]
    despite: str | None = None
    reason: str | None = None

    def document(self) -> bytes:
        """As stored: JSON, UTF-8."""
        return _json(
            {
                "format": FORMAT,
                "rollout": self.rollout,
                "generation": self.generation,
                "number": self.number,
                "from_stage": self.from_stage,
                "to_stage": self.to_stage,
                "percent": self.percent,
                "at": to_iso(self.at),
                "by": self.by,
                "automatic": self.automatic,
                "reason": None if self.reason is None else self.reason[:MAX_REASON],
                "despite": None if self.despite is None else self.despite[:MAX_REASON],
                "checks": list(self.checks),
            }
        )


def hold_document(hold: Hold, *, rollout: str, at: float) -> bytes:
    """``at``: Unix seconds."""
    return _json(
        {"format": FORMAT, "rollout": rollout, "reason": hold.reason[:MAX_REASON], "by": hold.by, "at": to_iso(at)}
    )


def hold_from_document(value: bytes, *, rollout: str) -> Hold:
    """Raises BadDocument; whoever reads it then takes the rollout for held."""
    fields = _fields(value, f"hold of {rollout}", rollout)
    return Hold(fields.text("reason"), fields.text("by"))


def approvals_document(approvals: Sequence[Approval], *, rollout: str) -> bytes:
    """The newest approvals of one generation; more than `MAX_APPROVALS` are not kept."""
    kept = [
        {
            "name": one.name,
            "by": one.by,
            "generation": one.generation,
            "stage": one.stage,
            "began_at": to_iso(one.began_at),
        }
        for one in approvals[-MAX_APPROVALS:]
    ]
    return _json({"format": FORMAT, "rollout": rollout, "approvals": kept})


def approvals_from_document(value: bytes, *, rollout: str) -> tuple[Approval, ...]:
    """The inverse of `approvals_document`. Raises BadDocument."""
    fields = _fields(value, f"approvals of {rollout}", rollout)
    return tuple(
        Approval(
            one.text("name"),
            one.text("by"),
            one.integer("generation"),
            one.text("stage"),
            from_iso(one.text("began_at")),
        )
        for one in fields.objects("approvals")
    )


def _fields(value: bytes, where: str, rollout: str) -> Fields:
    fields = parse_object(value, where, max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"{where}: the document is of {fields.raw['rollout']!r:.80}")
    return fields


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode(errors="replace")
