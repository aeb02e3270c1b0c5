"""The fail-safe over any history of reads, changes and silence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.router import failsafe
from killswitch.router.failsafe import LinearizableRead
from killswitch.stores import Item, keys
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.unit.router.read_states import NEW, POLICY, at, change, item

pytestmark = pytest.mark.simulation


@dataclass(frozen=True)
class Step:
    """One thing that may happen to a router."""

    kind: str
    generation: int
    document: str
    revision: int
    known: int
    seconds: float
    controllers: int | None


steps = st.builds(
    Step,
    kind=st.sampled_from(["read", "change", "garbage", "wait"]),
    generation=st.integers(1, 4),
    document=st.sampled_from(["armed", "armed", "tripped", "missing", "corrupt"]),
    revision=st.integers(1, 30),
    known=st.integers(0, 30),
    seconds=st.floats(0.0, 400.0),
    controllers=st.sampled_from([None, 0, 1]),
)


def document(step: Step) -> Item | None:
    if step.document == "missing":
        return None
    if step.document == "corrupt":
        return Item(keys.flag(ROLLOUT), b"{", step.revision)
    made = armed(step.generation) if step.document == "armed" else tripped(step.generation)
    return item(made, step.revision)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=25))
def test_after_a_trip_only_a_higher_generation_serves_the_canary(history: list[Step]) -> None:
    """However reads, changes, restored backups, deletions, garbage and time follow each other."""
    memory, now, seen_tripped = NEW, 0.0, 0
    for step in history:
        now += step.seconds
        found = document(step)
        if step.kind == "read":
            memory = failsafe.after_read(
                memory, LinearizableRead(now, step.known, found, step.revision, step.controllers)
            )
        elif step.kind == "change":
            memory = change(memory, found, step.revision)
        elif step.kind == "garbage":
            memory = failsafe.after_garbage(memory, "babble")
        if step.kind in ("read", "change") and step.document == "tripped":
            seen_tripped = max(seen_tripped, step.generation)
        for moment in (now, now + 30.0, now + 61.0, now + 1000.0):
            snapshot = at(memory, moment)
            assert (snapshot.canary_route is snapshot.control_route) or snapshot.generation > seen_tripped
            if snapshot.canary_route is snapshot.control_route:
                assert snapshot.canary_percent == 0.0
            else:
                assert memory.fresh_at is not None
                assert moment < memory.fresh_at + POLICY.stale_grace + POLICY.stale_jitter


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=15))
def test_time_alone_changes_the_state_only_when_announced(history: list[Step]) -> None:
    """The clock thread sleeps until `next_change`; nothing may become due in between."""
    memory, now = NEW, 0.0
    for step in history:
        now += step.seconds
        if step.kind == "read":
            memory = failsafe.after_read(
                memory, LinearizableRead(now, step.known, document(step), step.revision, step.controllers)
            )
        due = failsafe.next_change(memory, POLICY, now)
        until = now + 2000.0 if due is None else due
        before = failsafe.state_at(memory, POLICY, now)
        for share in (0.1, 0.5, 0.9, 0.999):
            assert failsafe.state_at(memory, POLICY, now + share * (until - now)) is before
