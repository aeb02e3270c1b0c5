"""Histories: whatever ticks, clocks, people and generations do, no step goes past a gate, twice, or early.

The stages are short, so that a history of some dozens of events passes several of them. What really happened is counted
next to the code: seconds of true time, and the ticks that were judged since the stage began.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.flags.flag import Flag, rearm, trip
from killswitch.flags.transitions import Actor
from killswitch.model import Counts, Verdict
from killswitch.ramps.gate import gate
from killswitch.ramps.gate_inputs import GateInputs, Hold, Judged, Missing, RuleNow, WayBack
from killswitch.ramps.next_step import Move, next_step
from killswitch.ramps.progress import RuleTick, StageProgress, from_document, observed, to_document
from tests.unit.ramps.ramped import NOW, flag_in, plan_of, rollout_of, stepped

INTERVAL = 30.0
ROLLOUT = rollout_of(
    "rules: {error_rate: {max: 2%}}\n"
    "plan:\n  advance: automatic\n  control_capacity: 80/s\n  stages:\n"
    "    - {stage: ramp_1, for: 90s}\n    - {stage: ramp_5, for: 60s}\n    - {stage: full, for: 60s}\n"
)
PLAN = plan_of(ROLLOUT)
ORDER = [stage.stage for stage in PLAN.stages]
FOR = {stage.stage: stage.seconds for stage in PLAN.stages}


@dataclass
class World:
    """The truth (`true`, `judged_ticks`), two clocks that may be wrong, and the store's documents."""

    flag: Flag = field(default_factory=lambda: flag_in("ramp_1"))
    older: Flag | None = None
    progress: StageProgress | None = None
    true: float = NOW
    newest: float = NOW  # the tick that was judged last; another replica may judge it again
    wall_error: float = 0.0
    tick_error: float = 0.0
    verdict: Verdict = Verdict.UNKNOWN
    held: bool = False
    readable: bool = True
    entered: float = NOW
    judged_ticks: int = 0

    def enter(self, flag: Flag) -> None:
        self.older, self.flag = self.flag, flag
        self.entered, self.judged_ticks = self.true, 0

    def tick(self, verdict: Verdict, *, stale_flag: bool, again: bool) -> None:
        """One replica's cycle: it observes, and moves the flag if the next step says so."""
        if not again:
            self.true += INTERVAL
            self.newest = self.true + self.tick_error
        tick = self.newest
        seen = self.older if stale_flag and self.older is not None else self.flag
        self.verdict = verdict
        rule = RuleTick(verdict, Counts(1.0, 200.0), Counts(2.0, 400.0))
        self.progress = observed(self.progress, seen, tick, INTERVAL, {"error_rate": rule})
        self.progress = from_document(to_document(self.progress), rollout="copilot")
        if verdict is not Verdict.UNKNOWN and not again:
            self.judged_ticks += 1
        if seen is self.flag:
            self.move(tick)

    def move(self, tick: float) -> None:
        now = self.true + self.wall_error
        judged = Judged({"error_rate": RuleNow(self.verdict)}, age=5.0)
        inputs = GateInputs(
            ROLLOUT, self.flag, now, INTERVAL, self.progress or Missing("none"),
            judged if self.readable else Missing("the source is down"), approvals=(),
            way_back=WayBack(True, "it serves", 80.0, 50.0), hold=Hold("wait", "ann") if self.held else None,
        )  # fmt: skip
        found = gate(PLAN, inputs)
        step = next_step(PLAN, self.flag, self.progress, found, now=now, tick=tick)
        if step.move is not Move.ADVANCE:
            return
        assert step.to is not None
        assert found.ready
        assert self.flag.armed
        assert self.verdict is Verdict.HEALTHY
        assert self.readable
        assert not self.held
        assert ORDER.index(step.to.stage) == ORDER.index(self.flag.stage) + 1
        # a whole `for` of true time, all of it judged, since the stage began
        assert self.judged_ticks * INTERVAL >= FOR[self.flag.stage]
        assert self.true - self.entered >= FOR[self.flag.stage]
        self.enter(stepped(self.flag, step.to.stage, step.to.percent, now))
        assert next_step(PLAN, self.flag, self.progress, found, now=now, tick=tick).move is Move.HOLD

    def person(self, what: str) -> None:
        now = self.true + self.wall_error
        if what == "trip" and self.flag.armed:
            self.enter(
                trip(self.flag, rollout="copilot", reason="r", rules=(), incident="i", now=now, by="c",
                     actor=Actor.CONTROLLER)
            )  # fmt: skip
        elif what == "rearm" and not self.flag.armed:
            self.enter(rearm(self.flag, rollout="copilot", reason="fixed", now=now, by="ann"))
        elif what == "lower" and self.flag.armed:
            self.enter(stepped(self.flag, "ramp_1", 1.0, now))
        elif what == "custom" and self.flag.armed:
            self.enter(stepped(self.flag, "custom", 3.0, now))


TICKS = st.tuples(
    st.just("tick"),
    st.sampled_from([Verdict.HEALTHY] * 6 + list(Verdict)),
    st.sampled_from([False] * 6 + [True]),
    st.sampled_from([False] * 6 + [True]),
)
OTHERS = st.one_of(
    st.tuples(st.sampled_from(["wall", "metrics"]), st.sampled_from([-86400.0, -3600.0, -45.0, 0.0, 45.0, 86400.0])),
    st.tuples(st.just("person"), st.sampled_from(["trip", "rearm", "lower", "custom"])),
    st.tuples(st.sampled_from(["hold", "readable"]), st.booleans()),
    st.tuples(st.just("outage"), st.sampled_from([45.0, 300.0])),
)
HISTORIES = st.lists(st.one_of(TICKS, TICKS, TICKS, TICKS, OTHERS), max_size=50)


@settings(max_examples=300, deadline=None)
@given(HISTORIES)
def test_no_history_moves_up_past_a_gate_twice_or_early(history: list[tuple[object, ...]]) -> None:
    world = World()
    for event in history:
        match event:
            case ("tick", Verdict() as verdict, bool() as stale, bool() as again):
                world.tick(verdict, stale_flag=stale, again=again)
            case ("wall", float() as error):
                world.wall_error = error
            case ("metrics", float() as error):
                world.tick_error = error
            case ("person", str() as what):
                world.person(what)
            case ("outage", float() as seconds):
                world.true += seconds
            case ("hold", bool() as held):
                world.held = held
            case ("readable", bool() as readable):
                world.readable = readable


def test_a_healthy_rollout_goes_all_the_way() -> None:
    """Three ticks at ramp_1 and two at ramp_5, as their `for` says."""
    world = World()
    stages = []
    for _ in range(8):
        world.tick(Verdict.HEALTHY, stale_flag=False, again=False)
        stages.append(world.flag.stage)
    assert stages == ["ramp_1"] * 2 + ["ramp_5"] * 2 + ["full"] * 4
