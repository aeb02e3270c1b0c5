"""What the doctor says of drills: after 90 days without one it complains."""

from __future__ import annotations

import pytest

from killswitch.drill.record import DrillOutcome
from killswitch.drill.standing import DrillStanding, to_document
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.drill_checks import examine_drills
from killswitch.stores import Put, keys
from killswitch.timestamps import DAY
from tests.doubles.clock import VirtualClock
from tests.doubles.drills import NAME, rules
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import AT, armed

FLAG = armed(rollout=NAME)


def examined(standing: DrillStanding | None, *, days: float) -> Check:
    """``days`` after the flag was armed."""
    server = MemoryServer(VirtualClock())
    if standing is not None:
        server.commit("a", (), (Put(keys.drill_standing(NAME), to_document(standing)),))
    store = MemoryStore(server)
    (check,) = examine_drills(store, [rules()], {NAME: FLAG}, now=FLAG.armed_at + days * DAY)
    return check


def passed(days: float) -> DrillStanding:
    at = FLAG.armed_at + days * DAY
    legs = {"rollback": 6.2}
    return DrillStanding(NAME, newest=1, last_at=at, outcome=DrillOutcome.PASSED.value, legs=legs, passed_at=at)


@pytest.mark.parametrize(
    ("standing", "days", "status", "said"),
    [
        (None, 1, Status.NOTE, "no drill so far"),
        (None, 91, Status.WARNING, "armed, and no drill was ever made for 91 days"),
        (passed(10), 20, Status.OK, "one passed 10 days ago: a rollback takes 6.20 s (goal: 30 s)"),
        (passed(10), 101, Status.WARNING, "no drill has passed for 91 days"),
        (DrillStanding(NAME, outcome="failed"), 1, Status.WARNING, "the last drill failed"),
        (DrillStanding(NAME, outcome="slow"), 1, Status.WARNING, "the last drill was too slow"),
        (DrillStanding(NAME, missed=True), 1, Status.WARNING, "the last scheduled drill was missed"),
    ],
)
def test_it_says_how_old_the_last_drill_is(
    standing: DrillStanding | None, days: float, status: Status, said: str
) -> None:
    check = examined(standing, days=days)
    assert check.status is status
    assert said in check.found
    assert (check.fix == "") == (status is Status.OK)


def test_a_rollout_that_is_not_armed_needs_none() -> None:
    store = MemoryStore(MemoryServer(VirtualClock()))
    assert not list(examine_drills(store, [rules()], {}, now=AT))
