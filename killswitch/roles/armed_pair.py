"""What an armed generation of a rollout has to do with a role: which two slots it compares, and on what evidence.

Every door by which a candidate can get users looks at this document, which is stored with the arming. So a command on a
machine without the rule file, and a controller with an older one, refuse as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.roles.pairs import PairKind
from killswitch.roles.role import check_role_name
from killswitch.timestamps import to_iso
from killswitch.wording import plain

FORMAT = 1
MAX_BYTES = 16 * 1024
MAX_TEXT = 2000
UNSEEN = ("shadow", "aa")  # the stages in which no user gets the canary's answers, whatever the percent


@dataclass(frozen=True, slots=True)
class ArmedPair:
    """The pair as it was pinned ``at`` (Unix seconds), when the role's newest change was its change ``number``.

    ``gate_run`` or ``waiver`` (its reason): what allows the candidate to have users; both None where nothing has yet,
    and where nothing is needed. ``waiver_ends``: Unix seconds, None without a waiver.
    """

    rollout: str
    generation: int
    role: str
    kind: PairKind
    control: str
    canary: str
    number: int
    at: float
    by: str
    gate_run: str | None = None
    waiver: str | None = None
    waiver_ends: float | None = None

    @property
    def is_candidate(self) -> bool:
        """Whether its canary is a candidate, which needs evidence. The models of the other pairs have served users."""
        return self.kind is PairKind.UPGRADE

    def without_evidence(self, now: float) -> str | None:
        """Why no user may get its canary at ``now``; None where it rests on evidence, or needs none."""
        if not self.is_candidate or self.gate_run is not None:
            return None
        gate = f"`killswitch gate run {self.role}`"
        if self.waiver is None:
            return f"{plain(self.canary, 80)} has not passed the gate of role {self.role}: run {gate}"
        if self.waiver_ends is not None and now >= self.waiver_ends:
            return f"the waiver that it rests on ended {to_iso(self.waiver_ends)}: run {gate}, or write another waiver"
        return None

    @property
    def sentence(self) -> str:
        """What the generation is and rests on, for people."""
        pair = f"role {self.role}, {self.kind.lower().replace('_', ' ')}"
        if not self.is_candidate:
            return f"{pair}: both models have served users"
        if self.gate_run is not None:
            return f"{pair}: gate run {self.gate_run}"
        if self.waiver is None:
            return f"{pair}: no evidence yet, so no user may get {plain(self.canary, 80)}"
        until = "" if self.waiver_ends is None else f" until {to_iso(self.waiver_ends)}"
        return f"{pair}: a waiver{until}, because {plain(self.waiver, 200)}"


def to_document(pair: ArmedPair) -> bytes:
    """As stored: JSON, UTF-8."""
    return json.dumps(as_json(pair), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def as_json(pair: ArmedPair) -> dict[str, Any]:
    """The document as plain values, for ``--json`` and the status."""
    return {
        "format": FORMAT,
        "rollout": pair.rollout,
        "generation": pair.generation,
        "role": pair.role,
        "kind": pair.kind.value,
        "control": pair.control,
        "canary": pair.canary,
        "number": pair.number,
        "at": to_iso(pair.at),
        "by": pair.by,
        "gate_run": pair.gate_run,
        "waiver": None if pair.waiver is None else pair.waiver[:MAX_TEXT],
        "waiver_ends": None if pair.waiver_ends is None else to_iso(pair.waiver_ends),
    }


def from_document(value: bytes, *, rollout: str, generation: int) -> ArmedPair:
    """The inverse of `to_document`. Raises BadDocument, with what to do. On a damaged one no user gets a candidate."""
    try:
        return _parsed(value, rollout, generation)
    except BadDocument as error:
        raise BadDocument(f"{error}; end the rollout and arm it again (`killswitch end {rollout}`)") from error


def _parsed(value: bytes, rollout: str, generation: int) -> ArmedPair:
    fields = parse_object(value, f"evidence of {rollout}, generation {generation}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if (fields.text("rollout"), fields.integer("generation")) != (rollout, generation):
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['rollout']!r:.80}")
    kind = fields.text("kind")
    if kind not in set(PairKind):
        raise BadDocument(f"{fields.where}: kind {kind!r:.80} is none of {', '.join(PairKind)}")
    return ArmedPair(
        rollout=rollout,
        generation=generation,
        role=check_role_name(fields.text("role")),
        kind=PairKind(kind),
        control=fields.text("control"),
        canary=fields.text("canary"),
        number=fields.integer("number"),
        at=fields.time("at"),
        by=fields.text("by", empty=True),
        gate_run=fields.optional_text("gate_run"),
        waiver=fields.optional_text("waiver"),
        waiver_ends=fields.optional_time("waiver_ends"),
    )


def gives_users(stage: str, percent: float) -> bool:
    """Whether users get the canary's answers."""
    return percent > 0.0 and stage not in UNSEEN


def gives_more(before: tuple[str, float] | None, after: tuple[str, float]) -> bool:
    """Whether more users get the canary's answers ``after`` than ``before``: stage and percent, None for no flag."""
    shown = before[1] if before is not None and gives_users(*before) else 0.0
    return gives_users(*after) and after[1] > shown
