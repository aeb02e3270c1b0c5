"""Runs of a gate, waivers and roles, as tests need them."""

from __future__ import annotations

from killswitch.roles.gate_record import GateNumber, GateRecord, GateVerdict
from killswitch.roles.role import Role, RoleChange
from killswitch.roles.waiver import Waiver

AT = 1_790_000_000.0  # 2026-09-21T14:13:20Z
OLD, NEW = "gpt-4.1-2025-04-14", "gpt-5-2025-08-07"


def gate_run(
    run: str = "20260921T120000Z-a1",
    *,
    verdict: GateVerdict = GateVerdict.PASS,
    prod: str = OLD,
    candidate: str = NEW,
    ended_at: float = AT - 3600.0,
    golden: str = "g" * 64,
    setup: str = "s" * 64,
    asking: str = "p" * 64,
    bar: float = 0.95,
    point_estimates: bool = False,
    asked_rows: int = 200,
    why: str = "agreement 0.93, bar 0.95",
) -> GateRecord:
    """A run of role ``triage`` with one number."""
    number = GateNumber("agreement", 0.96, 0.93, 0.98, bar, verdict, 200, None, "agreement 0.96")
    return GateRecord(
        run=run, role="triage", prod=prod, candidate=candidate, golden=golden, golden_rows=200, asked_rows=asked_rows,
        setup=setup, asking=asking, point_estimates=point_estimates, verdict=verdict, why=why, numbers=(number,),
        started_at=ended_at - 60.0, ended_at=ended_at, by="ann@laptop", cost=1000,
    )  # fmt: skip


def role(prod: str | None = OLD, candidate: str | None = NEW, previous: str | None = None, *, number: int = 2) -> Role:
    return Role("triage", prod, candidate, previous, number, RoleChange.CANDIDATE_SET, AT - 86_400.0, "ann@laptop")


def waiver(
    prod: str | None = OLD, candidate: str = NEW, *, at: float = AT - 60.0, expires_at: float = AT + 3600.0
) -> Waiver:
    return Waiver("triage", prod, candidate, "ann", "the gate's provider is down", "ann@laptop", at, expires_at)
