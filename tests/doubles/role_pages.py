"""One page of each kind about roles."""

from __future__ import annotations

from dataclasses import replace

from killswitch.model import PageSettings
from killswitch.pages import model_events, role_events
from killswitch.pages.page import Page
from killswitch.roles.role import Role, RoleChange, RoleHistoryEntry, Slot

_NEW = "gpt-5-2025-08-07"


def role_pages(at: float, settings: PageSettings) -> list[Page]:
    before = Role("triage", "gpt-4.1-2025-04-14", _NEW, None, 6, RoleChange.CANDIDATE_SET, at - 60, "ann@laptop")
    after = replace(
        before, prod=_NEW, candidate=None, previous=before.prod, number=7, change=RoleChange.PROMOTED, updated_at=at
    )
    back = replace(
        after, prod=before.prod, previous=None, number=8, change=RoleChange.ROLLED_BACK, updated_by="controller a"
    )
    promoted = RoleHistoryEntry(after, "cheaper, and as good", gate_run="20260419T140211Z-3f9c2a")
    evidence = "gate run 20260419T140211Z-3f9c2a: PASS on 200 rows of golden set 4be1c0ffee12, 20m ago"
    rolled_back = RoleHistoryEntry(back, "refusal_rate 8.7% over 1.1% + 5.0 pp", incident="triage-watch.3")
    return [
        role_events.promoted(promoted, before=before, evidence=evidence, settings=settings),
        role_events.rolled_back(rolled_back, before=after, settings=settings),
        model_events.model_gone(after, _NEW, [Slot.PROD], f"{_NEW} does not exist", at=at, settings=settings),
        model_events.model_retiring(
            after, "gpt-4.1-2025-04-14", [Slot.PREVIOUS], "it is retired in 7 days", at=at, settings=settings
        ),
        model_events.model_unknown(after, _NEW, [Slot.PROD], "503 for 3 days", at=at, settings=settings),
        role_events.model_mismatch(
            after,
            Slot.PROD,
            "gpt-5-2026-06-01",
            number=1204,
            processes=3,
            identity="3f9c2a",
            at=at,
            settings=settings,
        ),
    ]
