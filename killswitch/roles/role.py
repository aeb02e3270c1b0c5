"""A role: what production code asks for instead of a model's name, and which model is pinned in each of its slots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from killswitch.errors import BadDocument
from killswitch.wording import plain

MAX_MODEL = 200  # characters of a model's id
MAX_BY = 200  # characters of who has made a change
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\Z")


class Slot(StrEnum):
    """``prod`` serves users, ``candidate`` may come next, ``previous`` served users before and is rolled back to."""

    PROD = "prod"
    CANDIDATE = "candidate"
    PREVIOUS = "previous"


class RoleChange(StrEnum):
    """What has been done to a role."""

    CREATED = "CREATED"
    CANDIDATE_SET = "CANDIDATE_SET"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"
    IMPORTED = "IMPORTED"


@dataclass(frozen=True, slots=True)
class ProdOrigin:
    """Since when the prod model is prod (Unix seconds), by whom, by which change, and on what evidence.

    ``gate_run`` and ``waiver`` as in `RoleHistoryEntry`; both None for a model that a person named or rolled back to.
    """

    at: float
    by: str
    change: RoleChange
    gate_run: str | None = None
    waiver: str | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """The pinned model of each slot, None where it is empty.

    ``number`` counts the role's changes from 1, as its history does. ``change`` is the newest of them, made
    ``updated_at`` (Unix seconds) by ``updated_by``. ``origin``: of prod, None where there is none or
    it is not known.
    """

    name: str
    prod: str | None
    candidate: str | None
    previous: str | None
    number: int
    change: RoleChange
    updated_at: float
    updated_by: str
    origin: ProdOrigin | None = None

    def model(self, slot: Slot) -> str | None:
        return {Slot.PROD: self.prod, Slot.CANDIDATE: self.candidate, Slot.PREVIOUS: self.previous}[slot]


@dataclass(frozen=True, slots=True)
class RoleHistoryEntry:
    """One change of a role: what its slots are after it, who made it, when, why and on what evidence.

    ``gate_run``: the id of the run that a promotion rests on. ``waiver``: whose waiver it rests on instead, until when
    and why. ``incident``: the trip that a rollback follows. Each is None where there is none.
    """

    role: Role
    reason: str
    gate_run: str | None = None
    waiver: str | None = None
    incident: str | None = None


def check_role_name(name: str) -> str:
    """The name. Raises BadDocument for what is no role's name."""
    if not _NAME.match(name):
        raise BadDocument(
            f"{plain(name, 80)!r} is no name of a role; use at most 63 of a-z, 0-9, _ and -, as in review_triage"
        )
    return name


def check_model(model: str) -> str:
    """The id. Raises BadDocument for what cannot be a model's id in a request, a label or a page."""
    if not model or len(model) > MAX_MODEL or plain(model, MAX_MODEL) != model or model != model.strip():
        raise BadDocument(f"{plain(model, 80)!r} is no model's id; write 1 to {MAX_MODEL} characters on one line")
    return model
