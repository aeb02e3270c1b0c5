"""Who reads and writes which keys: what each part of the system must be granted, and no more (docs/security.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from killswitch.stores import Compare, Put, Store, keys

_NO_REVISION = 2**62  # no store gets there


class StoreUser(StrEnum):
    """Whose credentials they are."""

    CONTROLLER = "controller"
    ROUTER = "router"
    LEDGER = "ledger"
    SLACK = "slack"
    """What a controller needs besides where people press buttons in Slack."""
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Prefixes of keys. What may be written may be read too, but for ``writes_only``."""

    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes_only: tuple[str, ...] = ()

    @property
    def readable(self) -> str:
        """A prefix that may surely be read."""
        return (*self.writes, *self.reads)[0]


PERMISSIONS: Mapping[StoreUser, Permissions] = {
    StoreUser.CONTROLLER: Permissions(
        writes=(
            *(keys.FLAGS, keys.FLAG_HISTORY, keys.INCIDENTS, keys.OUTBOX, keys.CLAIMS, keys.CONTROLLERS, keys.NOTICES),
            *(keys.OUTAGES, keys.SHADOW_DECISIONS, keys.LEDGER, keys.LEDGER_LIVE, keys.PLAN_PROGRESS, keys.ADVANCES),
            *(keys.SLOW_STANDINGS, keys.ROLES, keys.ROLE_HISTORY, keys.ROLE_HEALTH, keys.ROLE_NOTICES),
            *(keys.INCIDENT_TRENDS, keys.GATE_EVIDENCE, keys.ALERTS, keys.HOLDS, keys.GENERATIONS),
            *(keys.DRILLS, keys.DRILLS_OPEN, keys.DRILL_INCIDENTS, keys.DRILL_REQUESTS, keys.DRILL_STANDINGS),
        ),
        reads=(
            *(keys.ROUTERS, keys.BASELINES, keys.APPROVALS, keys.ROLE_REPORTS, keys.ROLE_WAIVERS),
            *(keys.GATES, keys.GATE_NEWEST),
        ),
    ),
    StoreUser.ROUTER: Permissions(
        reads=(keys.FLAGS, keys.CONTROLLERS, keys.ROLES), writes_only=(keys.ROUTERS, keys.ROLE_REPORTS)
    ),
    StoreUser.LEDGER: Permissions(writes=(keys.LEDGER, keys.LEDGER_OWNERS)),
    StoreUser.SLACK: Permissions(writes=(keys.PRESSES, keys.HOLDS, keys.GENERATIONS, keys.BASELINES, keys.APPROVALS)),
    StoreUser.PERSON: Permissions(
        writes=(
            *(keys.FLAGS, keys.FLAG_HISTORY, keys.INCIDENTS, keys.OUTBOX, keys.CLAIMS, keys.BASELINES, keys.NOTICES),
            *(keys.GENERATIONS, keys.SHADOW_DECISIONS, keys.APPROVALS, keys.HOLDS, keys.ADVANCES, keys.ROLES),
            *(keys.ROLE_HISTORY, keys.ROLE_WAIVERS, keys.GATES, keys.GATE_NEWEST, keys.GATE_EVIDENCE),
            *(keys.DRILLS, keys.DRILL_REQUESTS, keys.DRILL_STANDINGS),
        ),
        reads=(keys.ROOT,),
    ),
}


def try_writing_under(store: Store, prefix: str, *, readable: str) -> None:
    """Ask to write a key under ``prefix`` on a condition that never holds. Changes nothing; raises what `commit` does.

    etcd checks permissions before it compares. ``readable``: a prefix for the condition, which must be readable.
    """
    store.commit((Compare(f"{readable}doctor", _NO_REVISION),), [Put(f"{prefix}doctor", b"{}")])


def try_reading_under(store: Store, prefix: str) -> None:
    """Raises what `Store.list` does."""
    store.list(f"{prefix}doctor/")
