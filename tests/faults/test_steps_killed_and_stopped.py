"""Replicas killed or stopped at every call of a cycle that takes a step: real processes over a real etcd."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final, cast

import pytest

from killswitch.model import Counts, Verdict
from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.progress import RuleWatch, StageProgress, to_document
from killswitch.ramps.records import hold_document
from killswitch.stores import Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.doubles.scripted_source import ERRORS
from tests.faults.etcd_history import EtcdHistory
from tests.faults.explored_ramp import FOR, RULES, look
from tests.faults.figures import figure
from tests.faults.striking import Strike, Victim, _Striking, stopped
from tests.faults.wrong_steps import steps, wrong_steps
from tests.servers.etcd import EtcdCluster, wait_until

INTERVAL: Final = 4.0  # two of them leave room for etcd's shortest lease
OLDEST: Final = 2 * INTERVAL
CALLS: Final = 9  # of a cycle that nothing disturbs: flags, progress, a hold, session, step; empty lists are not read


class _Seen:
    """A store with the clocks of this process, as `look` asks for them."""

    answered = 0

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def cycle(name: str, store: Any, rollout: str, tick: float) -> None:
    rules = replace(RULES, name=rollout)
    look(name, cast("Any", _Seen(store)), {tick: Verdict.HEALTHY}, ttl=4.0, interval=INTERVAL, rules=rules)


def live(victim: Victim) -> None:
    """One cycle of a replica that strikes itself at one of its calls."""
    pager: Any = type("NoPager", (), {"name": "slack"})
    cycle(victim.name, _Striking(victim, open_store(victim.store), pager), victim.rollout, victim.tick)


def started(victim: Victim) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.test_steps_killed_and_stopped"])
    process = context.Process(target=live, args=(victim,), daemon=True)
    process.start()
    return process


class Scene:
    """One etcd, and rollouts whose stage is watched but for its last tick."""

    def __init__(self, etcd: EtcdCluster) -> None:
        self.etcd = etcd
        self.store: Store = open_store(etcd.url)
        self.history = EtcdHistory(lambda: etcd.members[0])

    def victim(self, number: int, strike: Strike, at: int) -> Victim:
        rollout, tick = f"rollout-{number:04d}", round(time.time(), 3)
        person = Switch(self.store, wall=lambda: tick - FOR, by="ann", origin="test")
        flag = person.arm(rollout, control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
        began, before, seconds = flag.stages[-1].at, tick - INTERVAL, FOR - INTERVAL
        counts = {ERRORS.name: RuleWatch(seconds, seconds, Counts(1.0, 100.0), Counts(20.0, 2000.0))}
        progress = StageProgress(rollout, 1, "ramp_5", 5.0, began, before, seconds, counts, (before, before))
        self.store.commit((), (Put(keys.plan_progress(rollout), to_document(progress)),))
        nowhere = Path("/nonexistent")
        return Victim(f"victim-{number}", rollout, 1, tick, strike, at, self.etcd.url, "http://nowhere", nowhere)

    def made(self, victim: Victim) -> list[dict[str, Any]]:
        """The steps of its rollout, after the properties of its whole history."""
        changes = self.history.read()
        broken = wrong_steps(changes, victim.rollout, interval=INTERVAL, oldest=OLDEST)
        assert not broken, "\n".join(broken)
        return steps(changes, victim.rollout)

    def heir(self, victim: Victim) -> None:
        """Another replica, at the tick after the victim's."""
        cycle("heir", self.store, victim.rollout, victim.tick + INTERVAL)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with EtcdCluster(tmp_path / "etcd") as etcd:
        made = Scene(etcd)
        yield made
        made.store.close()


@pytest.mark.parametrize("strike", [Strike.KILL_BEFORE, Strike.KILL_AFTER, Strike.LOSE_ANSWER])
def test_a_step_struck_at_any_call_is_taken_exactly_once(scene: Scene, strike: Strike) -> None:
    """The victim dies, or loses an answer, before, during or after its step; another replica looks one tick later."""
    by_victim = 0
    for at in range(CALLS):
        # one after the other: on a busy machine the verdicts of those that wait would be too old for their heirs
        victim = scene.victim(at, strike, at)
        process = started(victim)
        process.join(60)
        assert process.exitcode is not None, "a victim neither died nor finished"
        scene.heir(victim)
        (step,) = scene.made(victim)
        assert (step["from_stage"], step["to_stage"], step["number"]) == ("ramp_5", "ramp_25", 1)
        by_victim += victim.name in step["by"]
    figure(f"steps, {strike}: {by_victim} of {CALLS} by the victim, each taken once")


@pytest.mark.parametrize("meanwhile", ["another replica", "hold"])
def test_a_replica_stopped_at_any_call_adds_no_stale_step(scene: Scene, meanwhile: str) -> None:
    """Stopped until its verdicts are too old; meanwhile another replica steps, or a person holds the plan."""
    victims = [scene.victim(at, Strike.STOP_BEFORE, at) for at in range(CALLS)]
    processes = [started(victim) for victim in victims]
    for process in processes:
        wait_until(lambda process=process: stopped(process), "the victim stops itself")  # type: ignore[misc]
    for victim in victims:
        if meanwhile == "hold":
            held = hold_document(Hold("wait", "ann"), rollout=victim.rollout, at=victim.tick)
            scene.store.commit((), (Put(keys.hold(victim.rollout), held),))
        else:
            scene.heir(victim)
    newest = max(victim.tick for victim in victims)
    wait_until(lambda: time.time() - newest > OLDEST, "all verdicts are too old")
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGCONT)
    for process in processes:
        process.join(60)
    for victim in victims:
        made = scene.made(victim)
        assert not any(victim.name in step["by"] for step in made)
        assert len(made) == (0 if meanwhile == "hold" else 1)
