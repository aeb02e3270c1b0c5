"""What a status shows of roles: a row for each, and what armed rollouts rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from killswitch.roles.role import Role
from killswitch.timestamps import to_iso

MOST_ROWS = 100  # `killswitch role list` has all of them


@dataclass(frozen=True, slots=True)
class RolesSeen:
    """``rows``: by name, at most `MOST_ROWS`; ``more``: how many are left out. ``problem``: why none could be read.

    ``rests_on``: by rollout and generation, a sentence about the slots and the evidence of an arming.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    more: int = 0
    rests_on: Mapping[tuple[str, int], str] = field(default_factory=dict)
    problem: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON, for the status."""
        return {"rows": [dict(row) for row in self.rows], "more": self.more, "problem": self.problem}


NO_ROLES = RolesSeen()


def rows_of(good: Mapping[str, Role], damaged: Mapping[str, str]) -> tuple[tuple[Mapping[str, Any], ...], int]:
    """The rows to show, damaged roles first, and how many are left out."""
    bad = [{**_ROW, "role": name, "problem": damaged[name]} for name in sorted(damaged)]
    rows = [*bad, *(_row(good[name]) for name in sorted(good))]
    return tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS)


_ROW = {"role": "", "prod": None, "candidate": None, "previous": None, "since": None, "by": None, "problem": None}


def _row(role: Role) -> dict[str, Any]:
    origin = role.origin
    return {
        **_ROW,
        "role": role.name,
        "prod": role.prod,
        "candidate": role.candidate,
        "previous": role.previous,
        "since": None if origin is None else to_iso(int(origin.at)),  # the history has milliseconds
        "by": None if origin is None else origin.by,
    }
