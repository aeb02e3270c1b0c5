"""Steps of a plan in all their interleavings: whatever arrives meanwhile wins, and one gate is one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from killswitch.stores import Committed, Compare, Delete, Lost, Put, keys
from tests.faults.explored_programs import Program, Surroundings, judged_breach
from tests.faults.explored_ramp import RampExplorer, go_back, go_blind, hold, planned_world, raise_one
from tests.faults.explored_world import ROLLOUT, Violation
from tests.faults.figures import figure

MEANWHILE: dict[str, Program] = {
    "trip": partial(judged_breach, "trip", attempts=1),
    "hold": hold,
    "stage": go_back,
    "blind": go_blind,
}


def explorer(programs: Mapping[str, Program], *, faults: int, sleeps: int) -> RampExplorer:
    return RampExplorer(programs, faults=faults, sleeps=sleeps, heir=hold)


@pytest.mark.parametrize("meanwhile", sorted(MEANWHILE))
@pytest.mark.parametrize(("faults", "sleeps"), [(1, 0), (0, 1)])
def test_a_step_loses_to_what_arrives_meanwhile(meanwhile: str, faults: int, sleeps: int) -> None:
    """A trip, a hold, a stage by hand and a blind tick win over a step, whatever times out, dies or sleeps."""
    programs: dict[str, Program] = {"one": partial(raise_one, "one"), meanwhile: MEANWHILE[meanwhile]}
    explored = explorer(programs, faults=faults, sleeps=sleeps)
    figure(f"step, {meanwhile}, {faults} faults, {sleeps} sleeps:", explored.explore(planned_world(list(programs))))
    assert explored.raised > 0


@pytest.mark.parametrize(("faults", "sleeps"), [(1, 0), (0, 1)])
def test_two_replicas_take_one_step_for_one_gate(faults: int, sleeps: int) -> None:
    programs = {name: partial(raise_one, name) for name in ("one", "two")}
    explored = explorer(programs, faults=faults, sleeps=sleeps)
    figure(f"step, two replicas, {faults} faults, {sleeps} sleeps:", explored.explore(planned_world(list(programs))))
    assert explored.raised > 0


def test_five_hundred_histories_of_steps_with_five_faults() -> None:
    """Two replicas that look twice, and one thing that arrives meanwhile, deeper than can be searched through."""
    raised = 0
    for seed in range(500):
        other = sorted(MEANWHILE)[seed % len(MEANWHILE)]
        programs: dict[str, Program] = {name: partial(raise_one, name, looks=2) for name in ("one", "two")}
        programs[other] = MEANWHILE[other]
        explored = explorer(programs, faults=5, sleeps=2)
        explored.walk(planned_world(list(programs)), seed=seed)
        raised += explored.raised
    figure("steps, 500 walks: raised in", raised)
    assert raised > 20


class Without(Surroundings):
    """A store that drops one compare of a step up. ``prefix``: of its key."""

    def __init__(self, seen: Surroundings, prefix: str) -> None:
        self._seen = seen
        self._prefix = prefix

    def ask(self, name: str, *arguments: Any) -> Any:
        return self._seen.ask(name, *arguments)

    def monotonic(self) -> float:
        return self._seen.monotonic()

    def wall(self) -> float:
        return self._seen.wall()

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        if any(write.key == keys.flag(ROLLOUT) for write in writes):
            compares = [one for one in compares if not one.key.startswith(self._prefix)]
        return self._seen.commit(compares, writes)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("prefix", "meanwhile", "sleeps", "found"),
    [
        (keys.hold(ROLLOUT), "hold", 0, "held"),
        (keys.plan_progress(ROLLOUT), "blind", 0, "not the newest"),
        (keys.flag(ROLLOUT), "trip", 0, "trip"),
        (keys.flag(ROLLOUT), "stage", 0, "from ramp_1"),
        (keys.claim("sessions/"), "hold", 1, "old verdicts"),
    ],
)
def test_a_step_without_one_compare_is_found_out(prefix: str, meanwhile: str, sleeps: int, found: str) -> None:
    def careless(seen: Surroundings) -> None:
        raise_one("one", Without(seen, prefix))

    programs: dict[str, Program] = {"one": careless, meanwhile: MEANWHILE[meanwhile]}
    with pytest.raises(Violation, match=found):
        explorer(programs, faults=0, sleeps=sleeps).explore(planned_world(list(programs)))
