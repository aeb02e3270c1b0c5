"""Steps of a plan in all their interleavings: whatever arrives meanwhile wins, and one gate is one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest

from killswitch.model import Verdict
from killswitch.stores import Committed, Compare, Delete, Lease, Lost, Put, keys
from tests.faults.explored_programs import Program, Surroundings
from tests.faults.explored_ramp import (
    BLIND_NEXT,
    BREACH_NEXT,
    HEALTHY_NEXT,
    MEANWHILE,
    NAP,
    NEXT,
    Jump,
    RampExplorer,
    advance,
    look,
    planned_world,
)
from tests.faults.explored_world import ROLLOUT, Violation
from tests.faults.explorer import TICK
from tests.faults.figures import figure

NOW: Final = {TICK: Verdict.HEALTHY}
LATER: Final = {NEXT: Verdict.HEALTHY}
FAULT: Final[Mapping[str, Any]] = {"faults": 1}
ASLEEP: Final[Mapping[str, Any]] = {"sleeps": 1}
SLOW: Final[Mapping[str, Any]] = {"sleeps": 2, "sleep": NAP}


def explored(programs: Mapping[str, Program], *, held: bool = False, **how: Any) -> RampExplorer:
    explorer = RampExplorer(programs, **how)
    figure(f"step, {', '.join(programs)}, {how}:", explorer.explore(planned_world(list(programs), held=held)))
    return explorer


def ticks_of(meanwhile: str) -> Mapping[float, Verdict]:
    return BREACH_NEXT if meanwhile == "breach" else BLIND_NEXT


@pytest.mark.parametrize(
    ("meanwhile", "how"),
    [
        *((name, FAULT) for name in sorted(MEANWHILE.keys() - {"arm"})),
        *(
            (name, ASLEEP)
            for name in ("advance", "advance despite", "breach", "hold", "pin", "rearm", "resume", "stage")
        ),
    ],
)
def test_a_step_loses_to_what_arrives_meanwhile(meanwhile: str, how: Mapping[str, Any]) -> None:
    """One thing arrives at any moment of a replica that watches and steps, whatever times out, dies or sleeps."""
    programs: dict[str, Program] = {"one": partial(look, "one", ticks=NOW), meanwhile: MEANWHILE[meanwhile]}
    assert explored(programs, held=meanwhile == "resume", ticks=ticks_of(meanwhile), **how).raised > 0


@pytest.mark.parametrize("meanwhile", ["hold", "resume", "stage"])
def test_a_slow_store_delivers_no_step_on_old_verdicts(meanwhile: str) -> None:
    """Time passes at any call, too little for the session to end, and enough for the verdicts."""
    programs: dict[str, Program] = {"one": partial(look, "one", ticks=NOW), meanwhile: MEANWHILE[meanwhile]}
    assert explored(programs, held=meanwhile == "resume", **SLOW).raised > 0


@pytest.mark.parametrize("ticks", [NOW, LATER], ids=["one tick", "two ticks"])
def test_two_replicas_take_one_step_for_one_gate(ticks: Mapping[float, Verdict]) -> None:
    programs: dict[str, Program] = {
        "one": partial(look, "one", ticks=NOW), "two": partial(look, "two", ticks=ticks)
    }  # fmt: skip
    assert explored(programs, ticks=HEALTHY_NEXT).raised > 0


def test_two_processes_of_one_name_take_one_step() -> None:
    """The second one's session is refused while the first one's lives; each of them may be the first."""
    programs: dict[str, Program] = {
        "one": partial(look, "one", ticks=NOW), "its namesake": partial(look, "one", ticks=NOW, owner="another")
    }  # fmt: skip
    assert explored(programs).raised > 0


def test_six_hundred_histories_of_steps_with_five_faults() -> None:
    """Three replicas at two ticks, and one thing that arrives meanwhile, deeper than can be searched through."""
    raised = 0
    for seed in range(600):
        other = sorted(MEANWHILE)[seed % len(MEANWHILE)]
        ticks = ticks_of(other) if other in ("blind", "breach") else (BLIND_NEXT, BREACH_NEXT, HEALTHY_NEXT)[seed % 3]
        programs: dict[str, Program] = {name: partial(look, name, ticks=ticks) for name in ("one", "two", "three")}
        programs[other] = MEANWHILE[other]
        how = {"sleeps": 2} if seed % 2 else {"sleeps": 4, "sleep": NAP}
        explorer = RampExplorer(programs, faults=5, ticks=ticks, **how)
        explorer.walk(planned_world(list(programs), held=other == "resume"), seed=seed)
        raised += explorer.raised
    figure("steps, 600 walks: raised in", raised)
    assert raised > 20


@pytest.mark.parametrize("seconds", [-3600.0, -1.5, 1.5, 3600.0])
def test_a_clock_that_jumps_at_any_call_makes_no_step_early(seconds: float) -> None:
    """The jump comes after each of the cycle's calls; all of the stage is there, or half of it is still to come."""
    raised = 0
    for answered in range(0, 12, 2):
        programs: dict[str, Program] = {"one": partial(look, "one", ticks=NOW, jump=Jump(seconds, answered))}
        whole, half = RampExplorer(programs, **SLOW), RampExplorer(programs, **SLOW)
        whole.explore(planned_world(list(programs)))
        half.explore(planned_world(list(programs), part=0.5))
        assert half.raised == 0
        raised += whole.raised
    assert raised > 0


# --- each comparison is needed ------------------------------------------------------------------


class Careless(Surroundings):
    """A store that spoils some transactions of one process."""

    def __init__(self, seen: Surroundings) -> None:
        self._seen = seen

    def ask(self, name: str, *arguments: Any) -> Any:
        return self._seen.ask(name, *arguments)

    @property
    def answered(self) -> int:
        return self._seen.answered

    def monotonic(self) -> float:
        return self._seen.monotonic()

    def wall(self) -> float:
        return self._seen.wall()


class Without(Careless):
    """It drops one comparison of a step up, or of a record of what was watched. ``prefix``: of its key."""

    def __init__(self, seen: Surroundings, prefix: str, *, of: str = keys.FLAGS) -> None:
        super().__init__(seen)
        self._prefix, self._of = prefix, of

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        if any(write.key.startswith(self._of) for write in writes):
            compares = [one for one in compares if not one.key.startswith(self._prefix)]
        return super().commit(compares, writes)  # type: ignore[no-any-return]


class WithoutLease(Careless):
    """It writes the key of a step for ever."""

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        steps = keys.claim("steps/")
        kept = [
            Put(one.key, one.value) if isinstance(one, Put) and one.key.startswith(steps) else one for one in writes
        ]
        return super().commit(compares, kept)  # type: ignore[no-any-return]


class LeasesThatSeemShort(Careless):
    """It says that a lease of a step is over at once, so the process never finds that it outlives the verdicts."""

    def grant(self, ttl: float) -> Lease:
        lease: Lease = super().grant(ttl)
        return replace(lease, ttl=-ttl * 100) if ttl < 2 * NAP else lease


HELD, WATCHED, FLAG = keys.hold(ROLLOUT), keys.plan_progress(ROLLOUT), keys.flag(ROLLOUT)


@pytest.mark.parametrize(
    ("prefix", "meanwhile", "found"),
    [
        (HELD, "hold", "held"),
        (WATCHED, "blind", "not the newest"),
        (WATCHED, "breach", "not the newest"),
        (FLAG, "trip", "safety 1|end of its traffic"),
        (FLAG, "pin", "safety 1|end of its traffic"),
        (FLAG, "rearm", "safety 1|another generation|end of its traffic"),
        (FLAG, "end", "end of its traffic"),
        (FLAG, "stage", "on proof of ramp_5"),
    ],
)
def test_a_step_without_one_compare_is_found_out(prefix: str, meanwhile: str, found: str) -> None:
    def careless(seen: Surroundings) -> None:
        look("one", Without(seen, prefix), NOW)

    programs: dict[str, Program] = {"one": careless, meanwhile: MEANWHILE[meanwhile]}
    with pytest.raises(Violation, match=found):
        explored(programs, ticks=ticks_of(meanwhile))


@pytest.mark.parametrize("careless", [True, False])
def test_a_step_of_an_ended_session_is_found_out(careless: bool) -> None:
    """A session that ends between two calls of a step, before the verdicts are old."""

    def short(seen: Surroundings) -> None:
        look("one", Without(seen, keys.claim("sessions/")) if careless else seen, NOW, ttl=0.7)

    if careless:
        with pytest.raises(Violation, match="session"):
            explored({"one": short}, sleeps=1, sleep=0.8)
    else:
        assert explored({"one": short}, sleeps=1, sleep=0.8).raised > 0


@pytest.mark.parametrize("careless", [WithoutLease, LeasesThatSeemShort])
def test_a_step_that_no_lease_bounds_is_found_out(careless: type[Careless]) -> None:
    programs: dict[str, Program] = {"one": lambda seen: look("one", careless(seen), NOW)}
    with pytest.raises(Violation, match="old verdicts"):
        explored(programs, sleeps=3, sleep=NAP)


def test_progress_that_is_not_compared_is_found_out() -> None:
    """Two replicas at one tick: the second one counts it on top of what the first one has written."""

    def careless(seen: Surroundings) -> None:
        look("two", Without(seen, WATCHED, of=keys.PLAN_PROGRESS), NOW)

    programs: dict[str, Program] = {"one": partial(look, "one", ticks=LATER), "two": careless}
    with pytest.raises(Violation, match=r"went back|counted twice"):
        explored(programs, ticks=HEALTHY_NEXT)


def test_a_persons_step_that_compares_no_progress_is_found_out() -> None:
    programs: dict[str, Program] = {
        "one": partial(look, "one", ticks=NOW),
        "advance": partial(advance, compares_progress=False),
        "blind": MEANWHILE["blind"],
    }
    with pytest.raises(Violation, match="not the newest"):
        explored(programs)
