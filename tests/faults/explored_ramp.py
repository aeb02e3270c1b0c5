"""Replicas that watch a stage and take steps of a plan, what may arrive meanwhile, and what every history must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast

from killswitch.controller import plan_store
from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.plan_steps import Proof, commit_step
from killswitch.controller.ramping import Ramping
from killswitch.controller.tick_clock import TickClock
from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.flags.transitions import Actor
from killswitch.fleet.session import Session
from killswitch.model import Counts, Decide, Finding, Rollout, Unit, Verdict
from killswitch.pages import events
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate import Gate
from killswitch.ramps.gate_check import passed
from killswitch.ramps.gate_inputs import Hold, Missing
from killswitch.ramps.next_step import Move, next_step
from killswitch.ramps.progress import RuleWatch, StageProgress, to_document
from killswitch.ramps.records import hold_document
from killswitch.ramps.watch_checks import OLDEST_VERDICTS
from killswitch.stores import Compare, Delete, Put, Snapshot, keys
from killswitch.trips.request import TripRequest
from killswitch.trips.switch import Switch
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import Evaluator
from tests.doubles.pages import AT, SETTINGS, incident_draft
from tests.doubles.scripted_source import ERRORS, rollout
from tests.faults.explored_programs import TTL, Program, Surroundings, judged_breach
from tests.faults.explored_world import ROLLOUT, Violation, World, carry_out, transact
from tests.faults.explorer import SLEEP, TICK, Explorer, first_world
from tests.faults.wrong_steps import steps, wrong_steps

INTERVAL: Final = 1.0
OLDEST: Final = OLDEST_VERDICTS * INTERVAL
NAP: Final = 1.1 * INTERVAL  # while a store is slow: after two of them verdicts are too old, and the session lives
FOR: Final = TICK - AT  # the tick ends the stage's `for`, and not before it
PLAN: Final = Plan(
    Advance.AUTOMATIC,
    (PlanStage("ramp_1", 1.0, FOR), PlanStage("ramp_5", 5.0, FOR), PlanStage("ramp_25", 25.0, FOR)),
)
RULES: Final = rollout(
    ROLLOUT, rules=(ERRORS,), plan=PLAN, decide=Decide.THRESHOLD, min_requests=1, page=SETTINGS, window=5.0
)  # fmt: skip
NEXT: Final = TICK + INTERVAL
# what each tick says, to every replica alike
BLIND_NEXT: Final = {TICK: Verdict.HEALTHY, NEXT: Verdict.UNKNOWN}
BREACH_NEXT: Final = {TICK: Verdict.HEALTHY, NEXT: Verdict.BREACH}
HEALTHY_NEXT: Final = {TICK: Verdict.HEALTHY, NEXT: Verdict.HEALTHY}


class _Silent:
    """Announcements and the store's health: what a replica says is no concern of these histories."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_arguments, **_keywords: None


@dataclass(frozen=True)
class Jump:
    """One replica's wall clock is wrong by ``seconds`` once so many questions have been ``answered``."""

    seconds: float = 0.0
    answered: int = 0


STEADY: Final = Jump()


class _Relevant:
    """A store without what is empty in all these worlds, so that reading it makes no world more."""

    _EMPTY = (keys.APPROVALS, keys.SLOW_STANDINGS, keys.SHADOW_DECISIONS)

    def __init__(self, seen: Surroundings) -> None:
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seen, name)

    def list(self, prefix: str) -> Any:
        return Snapshot((), 0) if prefix in self._EMPTY else self._seen.list(prefix)


def look(
    name: str,
    seen: Surroundings,
    ticks: Mapping[float, Verdict],
    *,
    jump: Jump = STEADY,
    owner: str = "",
    ttl: float = TTL,
    interval: float = INTERVAL,
    rules: Rollout = RULES,
) -> None:
    """A replica's cycles at these ticks: the real `Ramping`, session, clock and known flags over real documents."""

    def wall() -> float:
        return seen.wall() + (jump.seconds if seen.answered >= jump.answered else 0.0)

    session = Session(cast("Any", seen), name, monotonic=seen.monotonic, ttl=ttl, owner=owner or name)
    known = KnownFlags(Switch(cast("Any", seen), wall=wall, by=name, origin="test"), wall=wall)
    clock = TickClock(interval=interval, lag=0.0, monotonic=seen.monotonic, wall=wall)
    silent: Any = _Silent()
    ramping = Ramping(
        cast("Any", _Relevant(seen)), session, Evaluator(interval=interval, step=interval), controller_id=name,
        clock=clock, known=known, announcements=silent, health=silent, interval=interval, wall=wall,
    )  # fmt: skip
    source: Any = SimpleNamespace(now=lambda _deadline: seen.wall())
    for tick, verdict in ticks.items():
        try:
            known.take(known.fetch())
        except KillswitchError:
            continue
        clock.read(source, Deadline(5.0, seen.monotonic))
        flag = known.flag(rules.name)
        if flag is None or not flag.armed:
            continue
        ramping.look([ArmedRollout(rules, flag, flag.armed_at)], {rules.name: (_finding(verdict),)}, tick)


def _finding(verdict: Verdict) -> Finding:
    return Finding(
        ERRORS.name, verdict, None, "", Unit.FRACTION, canary=0.01, control=0.01, samples_canary=75.0,
        samples_control=1425.0,
    )  # fmt: skip


# --- what people do -----------------------------------------------------------------------------


def _person(seen: Surroundings) -> Switch:
    return Switch(cast("Any", seen), wall=seen.wall, by="ann", origin="test")


def hold(seen: Surroundings) -> None:
    key = keys.hold(ROLLOUT)
    seen.commit((Compare(key, 0),), (Put(key, hold_document(Hold("wait", "ann"), rollout=ROLLOUT, at=TICK)),))


def resume(seen: Surroundings) -> None:
    item = seen.get(keys.hold(ROLLOUT))
    if item is not None:
        seen.commit((Compare(item.key, item.mod_revision),), (Delete(item.key),))


def go_back(seen: Surroundings) -> None:
    _person(seen).set_stage(ROLLOUT, percent=1.0, stage="ramp_1")


def type_a_percent(seen: Surroundings) -> None:
    _person(seen).set_stage(ROLLOUT, percent=7.0, stage="ramp_5")


def end(seen: Surroundings) -> None:
    _person(seen).end(ROLLOUT)


def end_and_arm(seen: Surroundings) -> None:
    person = _person(seen)
    person.end(ROLLOUT)
    person.arm(ROLLOUT, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="")


def _by_hand() -> TripRequest:
    draft = incident_draft(ROLLOUT, automatic=False, by="ann", reason="by hand", rules=())
    return TripRequest(draft, generation=None, actor=Actor.PERSON, at=TICK, page=SETTINGS)


def pin(seen: Surroundings) -> None:
    _person(seen).pin(_by_hand())


def trip_and_rearm(seen: Surroundings) -> None:
    person = _person(seen)
    person.trip(_by_hand())
    person.rearm(
        ROLLOUT, reason="fixed", percent=5.0, stage="ramp_5",
        page=lambda armed: events.re_armed(armed, reason="fixed", by="ann", settings=SETTINGS),
    )  # fmt: skip


def advance(seen: Surroundings, *, despite: str | None = None, compares_progress: bool = True) -> None:
    """What `killswitch advance` does once its question is answered; all but ``despite`` needs a gate that passes."""
    stored = _person(seen).required(ROLLOUT)
    flag = stored.flag
    assert flag is not None
    progress, revision = plan_store.progress_as_stored(seen.get, ROLLOUT)
    held = plan_store.hold_or_why(seen.get, ROLLOUT)
    if isinstance(progress, Missing) or not flag.armed:
        return
    found = Gate(flag.generation, flag.stage, flag.stages[-1].at, (passed("healthy", ""),))
    step = next_step(PLAN, flag, progress, found, now=seen.wall(), tick=progress.tick)
    if despite is None and (step.move is not Move.ADVANCE or held is not None or progress.tick != TICK):
        return
    if step.to is None:
        return
    compares = [Compare(keys.hold(ROLLOUT), 0), Compare(keys.plan_progress(ROLLOUT), revision)]
    commit_step(
        cast("Any", seen), stored, PLAN, step.to, found, why=step.sentence, by="ann", origin="test", actor=Actor.PERSON,
        now=seen.wall(), settings=SETTINGS, despite=despite,
        proof=None if despite is not None else Proof(lambda: seen.monotonic() - TICK, OLDEST),
        compares=() if despite is not None else compares[: 2 if compares_progress else 1],
    )  # fmt: skip


MEANWHILE: Final[Mapping[str, Program]] = {
    "advance": advance,
    "advance despite": partial(advance, despite="the old model is retired today"),
    "arm": end_and_arm,
    "blind": partial(look, "other", ticks={NEXT: Verdict.UNKNOWN}),
    "breach": partial(look, "other", ticks={NEXT: Verdict.BREACH}),
    "end": end,
    "hold": hold,
    "percent": type_a_percent,
    "pin": pin,
    "rearm": trip_and_rearm,
    "resume": resume,
    "stage": go_back,
    "trip": partial(judged_breach, "trip", attempts=1),
}


# --- the world, and what must be true of it -----------------------------------------------------


def planned_world(names: Sequence[str], *, held: bool = False, part: float = 1.0) -> World:
    """Stage ramp_5, watched for this part of its `for`, but for its last tick."""
    seconds, before = part * FOR - INTERVAL, TICK - INTERVAL
    counts = {ERRORS.name: RuleWatch(seconds, seconds, Counts(1.0, 100.0), Counts(20.0, 2000.0))}
    watched = StageProgress(ROLLOUT, 1, "ramp_5", 5.0, AT, before, seconds, counts, (before, before))
    writes = [Put(keys.plan_progress(ROLLOUT), to_document(watched))]
    if held:
        writes.append(Put(keys.hold(ROLLOUT), hold_document(Hold("wait", "ann"), rollout=ROLLOUT, at=AT)))
    return transact(first_world(names), (), writes)[0]


class RampExplorer(Explorer):
    """Judges the steps up of each history. ``raised``: how many ends had one by a plan.

    ``ticks``: what each tick says; one that is not named was not healthy.
    """

    def __init__(
        self,
        programs: Mapping[str, Program],
        *,
        faults: int = 0,
        sleeps: int = 0,
        sleep: float = SLEEP,
        ticks: Mapping[float, Verdict] = BLIND_NEXT,
    ) -> None:
        super().__init__(programs, faults=faults, sleeps=sleeps, heir=hold, sleep=sleep)
        self._ticks = ticks
        self.raised = 0

    def _let_the_heir_finish(self, world: World) -> None:
        for late in world.late:
            world, _ = carry_out(world, late)
        broken = wrong_steps(world.history, ROLLOUT, interval=INTERVAL, oldest=OLDEST, healthy=self._healthy)
        if broken:
            raise Violation(broken)
        self.raised += any(record["automatic"] for record in steps(world.history, ROLLOUT))

    def _healthy(self, tick: float) -> bool:
        return self._ticks.get(tick) is Verdict.HEALTHY
