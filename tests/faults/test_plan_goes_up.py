"""A plan with stages of seconds, taken up by real replicas over real etcd and Prometheus."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.records import hold_document
from killswitch.stores import Delete, Put, keys
from tests.faults.fleet import INTERVAL, ROLLOUT, Fleet, rules_of, started
from tests.faults.replica import PATIENCE
from tests.faults.service import HEALTHY
from tests.faults.wrong_steps import wrong_steps
from tests.servers.etcd import wait_until

# the service gives both cohorts the same traffic, so no stage is far from half of it
PLAN = """\
plan:
  advance: automatic
  control_capacity: 10000/s
  stages:
    - {stage: half, percent: 50%, for: 12s}
    - {stage: again, percent: 51%, for: 12s}
    - {stage: last, percent: 52%, for: 12s}
"""

SHORT = """\
plan:
  advance: automatic
  control_capacity: 10000/s
  stages:
    - {stage: half, percent: 50%, for: 9s}
    - {stage: b, percent: 51%, for: 9s}
    - {stage: c, percent: 52%, for: 9s}
    - {stage: d, percent: 53%, for: 9s}
    - {stage: e, percent: 54%, for: 9s}
"""


def planned(rollout: str) -> str:
    return rules_of(rollout) + PLAN


def steps(fleet: Fleet) -> list[dict[str, Any]]:
    fleet.check()
    prefix = keys.advances(ROLLOUT, 1)
    return [change.document() for change in fleet.history.of(prefix) if change.value is not None]


def test_a_killed_replicas_step_is_taken_exactly_once(tmp_path: Path) -> None:
    """The replica that took a step is killed at its commit; the other one takes the next, and each happens once."""
    with started(tmp_path, rules=planned) as fleet:
        wait_until(lambda: fleet.flag().stage == "again", "the first step", PATIENCE)
        taken = steps(fleet)[0]["by"]
        next(replica for replica in fleet.replicas if f"({replica.name})" in taken).kill()
        wait_until(lambda: fleet.flag().stage == "last", "the second step", PATIENCE)
        made = steps(fleet)
        assert [(step["from_stage"], step["to_stage"]) for step in made] == [("half", "again"), ("again", "last")]
        assert made[1]["by"] != taken


def test_cut_off_stopped_held_and_tripped_each_step_happens_once(tmp_path: Path) -> None:
    """Of three replicas, who took a step is cut off, the next one stopped; then a person holds it, then it trips."""
    with started(tmp_path, replicas=3, rules=lambda rollout: rules_of(rollout) + SHORT) as fleet:
        taken: list[str] = []
        for stage, away in (("b", "cut off"), ("c", "stopped")):
            wait_until(lambda stage=stage: fleet.flag().stage == stage, f"the step to {stage}", PATIENCE)  # type: ignore[misc]
            taken.append(steps(fleet)[-1]["by"])
            taker = next(replica for replica in fleet.replicas if f"({replica.name})" in taken[-1])
            if away == "cut off":
                taker.cut_off()
            else:
                taker.pause()
        wait_until(lambda: fleet.flag().stage == "d", "the step to d", PATIENCE)
        held = hold_document(Hold("wait", "ann"), rollout=ROLLOUT, at=time.time())
        fleet.store.commit((), (Put(keys.hold(ROLLOUT), held),))
        for replica in fleet.replicas:
            replica.heal()
            replica.resume()
        fleet.for_cycles(5)
        fleet.fail()
        fleet.until_tripped()
        fleet.store.commit((), (Delete(keys.hold(ROLLOUT)),))
        fleet.for_cycles(3)
        assert not wrong_steps(fleet.history.read(), ROLLOUT, interval=INTERVAL, oldest=2 * INTERVAL)
        made = steps(fleet)
        assert [(step["from_stage"], step["to_stage"]) for step in made] == [("half", "b"), ("b", "c"), ("c", "d")]
        assert made[1]["by"] != made[0]["by"]
        assert made[2]["by"] != made[1]["by"]
        assert not fleet.armed()


def test_a_plan_without_traffic_does_not_go_up(tmp_path: Path) -> None:
    """The window is empty when its stage begins, and the stage lasts twice its `for`, which it has not been judged."""
    with started(tmp_path, rules=planned) as fleet:
        fleet.person.set_stage(ROLLOUT, percent=40.0, stage="off_the_plan")
        for cohort in ("canary", "control"):
            fleet.service.set(replace(HEALTHY, rate=0.0), cohort=cohort)
        fleet.for_cycles(5)  # 15 s, and the window is 9 s
        before = steps(fleet)
        fleet.person.set_stage(ROLLOUT, percent=50.0, stage="half")
        fleet.for_cycles(8)
        assert fleet.flag().stage == "half"
        assert steps(fleet) == before
