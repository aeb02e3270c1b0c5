"""Replicas killed or stopped at every step between verdict and page: real processes, real etcd, real HTTP.

`make soak` runs this with the full counts (KILLSWITCH_TEST_THOROUGH); `make test` with a few dozen each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.net.credentials import Secret
from killswitch.pages import events
from killswitch.pages.receivers.slack import SlackPager
from killswitch.stores import Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.request import TripOutcome
from killswitch.trips.switch import Switch
from tests.doubles.pages import SETTINGS
from tests.doubles.slack import TOKEN, SlackDouble
from tests.faults import striking
from tests.faults.etcd_history import EtcdHistory
from tests.faults.figures import figure
from tests.faults.fleet import tripped_by_hand
from tests.faults.safety import flips, violations
from tests.faults.striking import MAX_AGE, Strike, Victim
from tests.servers.etcd import EtcdCluster, wait_until

THOROUGH = "KILLSWITCH_TEST_THOROUGH" in os.environ
STEPS = 14  # of a victim that nothing disturbs: session, trip, claim, attempt, send, mark


class Scene:
    """One etcd, one Slack, and a replica that lives through everything: the heir."""

    def __init__(self, folder: Path, etcd: EtcdCluster, slack: SlackDouble) -> None:
        self.etcd, self.slack = etcd, slack
        self.token = folder / "token"
        self.token.write_text(TOKEN)
        self.store: Store = open_store(etcd.url)
        self.history = EtcdHistory(lambda: etcd.members[0])
        self.person = Switch(self.store, wall=time.time, by="ann", origin="test")
        self.heir = Switch(self.store, wall=time.time, by="heir", origin="test")
        pager = SlackPager(Secret.from_file(self.token), base_url=slack.base_url)
        self.delivery = striking.delivery_of(self.store, pager, "heir")

    def victim(self, rollout: str, strike: Strike, at: int) -> Victim:
        self.person.arm(rollout, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="")
        return Victim(
            f"victim-{rollout}", rollout, 1, time.time(), strike, at, self.etcd.url, self.slack.base_url, self.token
        )

    def check(self) -> None:
        broken = violations(self.history.read(), max_age=MAX_AGE)
        assert not broken, "\n".join(broken)

    def copies(self) -> Counter[str]:
        """Copies in Slack, by rollout; every headline begins with its rollout's name."""
        return Counter(sent.body["text"].split(":")[0].split()[-1] for sent in self.slack.pages)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with EtcdCluster(tmp_path / "etcd") as etcd, SlackDouble(channels=["#llm-oncall"]) as slack:
        made = Scene(tmp_path, etcd, slack)
        yield made
        made.delivery.close()
        made.store.close()


def test_a_kill_at_any_step_from_verdict_to_page_loses_no_page(scene: Scene) -> None:
    """Row 11."""
    points = [(strike, at) for at in range(STEPS) for strike in (Strike.KILL_BEFORE, Strike.KILL_AFTER)]
    chosen = [points[index % len(points)] for index in range(500 if THOROUGH else len(points))]
    kills = 0
    for index, point in enumerate(chosen):
        rollout = f"rollout-{index:04d}"
        process = striking.start(scene.victim(rollout, *point))  # one by one: alone, a victim's steps have one order
        process.join(60)
        assert process.exitcode is not None, "a victim neither died nor finished"
        kills += process.exitcode == -signal.SIGKILL
        result = scene.heir.trip(striking.trip_request(rollout, 1, time.time(), "heir"))
        assert result.outcome in (TripOutcome.TRIPPED, TripOutcome.ALREADY_TRIPPED)
    wait_until(lambda: _all_settled(scene), "every page delivered")
    scene.check()
    for index, _ in enumerate(chosen):
        assert len(flips(scene.history.changes, f"rollout-{index:04d}")) == 1
    copies = scene.copies()
    lost = [index for index in range(len(chosen)) if not copies[f"rollout-{index:04d}"]]
    figure(f"row 11: {kills} kills, {len(lost)} pages lost, copies {sorted(Counter(copies.values()).items())}")
    assert kills >= 0.75 * len(chosen)
    assert not lost
    assert max(copies.values()) <= 3


def _all_settled(scene: Scene) -> bool:
    scene.delivery.run_once()
    time.sleep(0.02)
    return scene.delivery.status().unsettled == 0 and not scene.store.list(keys.claim("outbox/")).items


def test_a_replica_stopped_past_its_lease_commits_nothing_stale(scene: Scene) -> None:
    """Rows 12 and 13: stopped before each step of a trip; meanwhile nothing happens, or a person trips and re-arms."""
    runs = 200 if THOROUGH else 24
    stale = 0
    for start in range(0, runs, 25):
        numbers = range(start, min(start + 25, runs))
        victims = [scene.victim(f"rollout-{number:04d}", Strike.STOP_BEFORE, number % 4) for number in numbers]
        processes = [striking.start(victim) for victim in victims]
        for process in processes:
            wait_until(lambda process=process: striking.stopped(process), "the victim stops itself")  # type: ignore[misc]
        for number, victim in zip(numbers, victims, strict=True):
            if number % 8 >= 4:
                scene.person.trip(tripped_by_hand(victim.rollout, time.time()))
                _rearm(scene, victim.rollout)
        wait_until(lambda: not scene.store.list(keys.claim("sessions/")).items, "every session has ended")
        newest = max(victim.tick for victim in victims)
        wait_until(lambda: time.time() - newest > MAX_AGE, "all evidence is too old")  # noqa: B023
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGCONT)
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        scene.check()
        for number, victim in zip(numbers, victims, strict=True):
            by_victim = [f for f in flips(scene.history.changes, victim.rollout) if f["trip"]["by"] == victim.name]
            stale += len(by_victim)
            flag = scene.person.stored(victim.rollout).flag
            assert flag is not None
            assert (flag.generation, flag.armed) == ((2, True) if number % 8 >= 4 else (1, True))
    figure(f"row 12: {runs} stops, {stale} stale commits")
    assert stale == 0


def _rearm(scene: Scene, rollout: str) -> None:
    scene.person.rearm(
        rollout, reason="mended", percent=1.0, stage="ramp_1",
        page=lambda armed: events.re_armed(armed, reason="mended", by="ann", settings=SETTINGS),
    )  # fmt: skip


def test_a_trip_with_lost_answers_is_one_flip_and_one_incident(scene: Scene) -> None:
    """Row 9 with processes whose every answer may be lost; the thousand seeded runs are in the explorer's test."""
    victims = [scene.victim(f"rollout-{at:04d}", Strike.LOSE_ANSWER, at) for at in range(STEPS)]
    for process in [striking.start(victim) for victim in victims]:
        process.join(60)
    for victim in victims:
        scene.heir.trip(striking.trip_request(victim.rollout, 1, time.time(), "heir"))
    wait_until(lambda: _all_settled(scene), "every page delivered")
    scene.check()
    for victim in victims:
        assert len(flips(scene.history.changes, victim.rollout)) == 1
