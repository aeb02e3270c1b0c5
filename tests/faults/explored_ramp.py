"""A replica that takes a step of a plan, what may arrive meanwhile, and what every history of them must be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

from killswitch.controller import plan_store
from killswitch.controller.ramping import Ramping
from killswitch.fleet.session import Session
from killswitch.model import Verdict
from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.gate import Gate
from killswitch.ramps.gate_check import passed
from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.next_step import Move, next_step
from killswitch.ramps.progress import RuleTick, StageProgress, from_document, observed, to_document
from killswitch.ramps.records import hold_document
from killswitch.ramps.watch_checks import OLDEST_VERDICTS
from killswitch.stores import Compare, Put, keys
from killswitch.trips.switch import Switch
from tests.doubles.memory_store import Change
from tests.doubles.pages import AT, SETTINGS, armed
from tests.faults.explored_programs import TTL, Surroundings
from tests.faults.explored_world import ROLLOUT, Violation, World, carry_out, transact
from tests.faults.explorer import TICK, Explorer, first_world

INTERVAL: Final = 1.0
# the age is asked once the guard is made; the guard holds for at most one lease longer
OLDEST: Final = OLDEST_VERDICTS * INTERVAL + TTL
PLAN: Final = Plan(
    Advance.AUTOMATIC,
    (PlanStage("ramp_1", 1.0, 5.0), PlanStage("ramp_5", 5.0, 5.0), PlanStage("ramp_25", 25.0, 5.0)),
)


def raise_one(name: str, seen: Surroundings, looks: int = 1) -> None:
    """A replica to which every check has passed at the tick; it reads, and takes the step by the real transaction."""
    session = Session(cast("Any", seen), name, monotonic=seen.monotonic, ttl=TTL, owner=name)
    for _ in range(looks):
        _look(name, seen, session)


def _look(name: str, seen: Surroundings, session: Session) -> None:
    stored = Switch(cast("Any", seen), wall=seen.wall, by=name).everything()[0]
    flag = stored[ROLLOUT].flag
    progress, revision = plan_store.stored_progress(cast("Any", seen), ROLLOUT)
    held = plan_store.hold_or_why(seen.get, ROLLOUT)
    if flag is None or progress is None or progress.tick != TICK or held is not None:
        return
    gate = Gate(flag.generation, flag.stage, flag.stages[-1].at, (passed("healthy", ""),))
    step = next_step(PLAN, flag, progress, gate, now=seen.wall(), tick=TICK)
    if step.move is not Move.ADVANCE or step.to is None:
        return
    none: Any = None
    ramping = Ramping(
        cast("Any", seen), session, none, controller_id=name, clock=cast("Any", SimpleNamespace(now=seen.wall)),
        known=cast("Any", SimpleNamespace(stored=stored)), announcements=none, health=none,
        interval=INTERVAL, wall=seen.wall,
    )  # fmt: skip
    judged: Any = SimpleNamespace(rollout=SimpleNamespace(name=ROLLOUT, page=SETTINGS, plan=PLAN), flag=flag)
    ramping._advance(judged, step.to, step.sentence, gate, revision, TICK)


def hold(seen: Surroundings) -> None:
    key = keys.hold(ROLLOUT)
    seen.commit((Compare(key, 0),), (Put(key, hold_document(Hold("wait", "ann"), rollout=ROLLOUT, at=TICK)),))


def go_back(seen: Surroundings) -> None:
    Switch(cast("Any", seen), wall=seen.wall, by="ann").set_stage(ROLLOUT, percent=1.0, stage="ramp_1")


def go_blind(seen: Surroundings) -> None:
    """Another replica records the next tick, at which no rule could be judged."""
    progress, revision = plan_store.stored_progress(cast("Any", seen), ROLLOUT)
    after = observed(progress, armed(ROLLOUT), TICK + INTERVAL, INTERVAL, {"refusal_rate": RuleTick(Verdict.UNKNOWN)})
    key = keys.plan_progress(ROLLOUT)
    seen.commit((Compare(key, revision),), (Put(key, to_document(after)),))


def planned_world(names: Sequence[str]) -> World:
    """Stage ramp_5, watched for its whole `for`."""
    watched = StageProgress(ROLLOUT, 1, "ramp_5", 5.0, AT, TICK, 10.0)
    return transact(first_world(names), (), (Put(keys.plan_progress(ROLLOUT), to_document(watched)),))[0]


class RampExplorer(Explorer):
    """Judges the steps up of each history. ``raised``: how many ends had one."""

    raised = 0

    def _let_the_heir_finish(self, world: World) -> None:
        for late in world.late:
            world, _ = carry_out(world, late)
        broken = wrong_steps(world.history)
        if broken:
            raise Violation(broken)
        self.raised += any(change.key.startswith(keys.advances(ROLLOUT, 1)) for change in world.history)


def wrong_steps(history: Sequence[Change]) -> list[str]:
    """What was wrong about the steps up, in words."""
    found = []
    flag: dict[str, Any] | None = None
    held = blind = False
    steps = 0
    for change in history:
        if change.key == keys.hold(ROLLOUT):
            held = change.value is not None
        elif change.key == keys.plan_progress(ROLLOUT) and change.value is not None:
            blind = from_document(change.value, rollout=ROLLOUT).tick != TICK
        if change.key != keys.flag(ROLLOUT) or change.value is None:
            continue
        before, flag = flag, json.loads(change.value)
        if before is None or flag["canary_percent"] <= before["canary_percent"]:
            continue
        steps += 1
        if before["state"] != "armed":
            found.append("a step up after a trip")
        if before["stage"] != "ramp_5":
            found.append(f"a step up from {before['stage']}, on proof of ramp_5")
        if held:
            found.append("a step up while the plan is held")
        if blind:
            found.append("a step up on a tick that is not the newest")
        if change.at is not None and change.at - TICK > OLDEST:
            found.append("a step up on old verdicts")
    if steps > 1:
        found.append(f"{steps} steps up for one gate")
    return found
