"""Drills of a real fleet with a real router: users get the same answers, and a dead replica is succeeded.

The router's process is stopped (SIGSTOP) to keep a drill under way for as long as a test needs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.drill.keeping import kept_drills, open_drill
from killswitch.drill.record import DrillOutcome, DrillRecord
from killswitch.errors import KillswitchError
from killswitch.flags.flag import drilled
from killswitch.pages.page import PageKind
from killswitch.stores import keys
from tests.faults.fleet import Fleet, rules_of
from tests.faults.replica import PATIENCE, ROOT, Replica
from tests.faults.service import FAILING, HEALTHY
from tests.servers import routed_service
from tests.servers.etcd import wait_until

NAME = routed_service.ROLLOUT
USERS = [f"user-{number}" for number in range(400)]
EXIT_REFUSED = 2
LONG = 200.0  # seconds; a drill that waits for its patience, on a busy machine


class DrilledFleet(Fleet):
    """Two replicas, one rollout at 50 %, and a service with one router."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, rollouts=[NAME], rules=lambda name: f'{rules_of(name)}drill: {{quiet: "* * * * *"}}\n')
        self.listener = socket.create_server(("127.0.0.1", 0))

    def begin(self, folder: Path) -> None:
        self.start()
        self.router = routed_service.start(
            "threads", self.listener, folder / "router.log",
            store=self.etcd.url, grace=60.0, jitter=0.0, control_after=300.0,
        )  # fmt: skip
        self._open.callback(self.router.wait, 10)
        self._open.callback(self.router.kill)
        wait_until(lambda: bool(self.store.list(keys.routers(NAME)).items), "the router reports", PATIENCE)
        self.until_followed()

    def until_followed(self) -> None:
        """Until the router reports the flag's newest revision."""

        def look() -> bool:
            (item,) = self.store.list(keys.routers(NAME)).items
            flag = self.store.get(keys.flag(NAME))
            return flag is not None and json.loads(item.value)["revision"] >= flag.mod_revision

        wait_until(look, "the router follows", PATIENCE)

    def answers(self) -> list[str]:
        """The cohort of each user, as the service answers now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.listener.getsockname()[1], timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/", "\n".join(USERS))
            return [decision[4] for decision in json.loads(connection.getresponse().read())]

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """``killswitch drill …`` as a person types it."""
        environment = {**self.replicas[0].environment, "KILLSWITCH_STORE": self.etcd.url}
        return subprocess.Popen(
            [sys.executable, "-m", "killswitch", "drill", NAME, *arguments],
            env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def begun(self, *arguments: str) -> tuple[subprocess.Popen[str], DrillRecord, Replica]:
        """A drill that has begun: the command, its record, and the replica that makes it.

        On a busy machine the weather may be bad for a moment (a late cycle); then it is asked for again.
        """
        found: list[subprocess.Popen[str]] = []

        def look() -> bool:
            if open_drill(self.store, NAME) is not None:
                return True
            if not found or found[-1].poll() == EXIT_REFUSED:
                found.append(self.command(*arguments))
            return False

        wait_until(look, "a drill has begun", LONG)
        record = kept_drills(self.store, NAME)[0]
        return found[-1], record, next(one for one in self.replicas if one.name == record.controller)

    def over(self, number: int) -> DrillRecord:
        def look() -> bool:
            try:
                return open_drill(self.store, NAME) is None
            except KillswitchError:
                return False

        wait_until(look, "the drill is over", LONG)
        record = next(one for one in kept_drills(self.store, NAME) if one.number == number)
        assert record.finished_at is not None
        return record


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrilledFleet]:
    folder = tmp_path_factory.mktemp("drills")
    with DrilledFleet(folder / "fleet") as fleet:
        fleet.begin(folder)
        yield fleet


@pytest.fixture(autouse=True)
def _as_before(fleet: DrilledFleet) -> Iterator[None]:
    """Each test begins with two healthy replicas, and a router that follows."""
    yield
    fleet.router.send_signal(signal.SIGCONT)
    for replica in fleet.replicas:
        if not replica.running:
            replica.start()
    wait_until(lambda: open_drill(fleet.store, NAME) is None, "no drill is under way", LONG)
    if fleet.armed(NAME):
        fleet.until_followed()
        fleet.until_healthy()


def stopped_router(fleet: DrilledFleet) -> None:
    os.kill(fleet.router.pid, signal.SIGSTOP)


def test_a_drill_passes_and_users_get_the_same_answers(fleet: DrilledFleet) -> None:
    """The chain is real from end to end, and each user's answer is what it was."""
    before, value = fleet.answers(), fleet.store.get(keys.flag(NAME))
    assert set(before) == {"canary", "control"}
    stopped_router(fleet)  # so that the drill is under way for as long as it takes to see it
    command, record, _ = fleet.begun("--json")
    fleet.router.send_signal(signal.SIGCONT)
    during = fleet.answers()
    printed, problems = command.communicate(timeout=LONG)
    assert command.returncode == 0, problems
    answer = json.loads(printed)
    assert answer["outcome"] == "passed", answer
    assert {"detection", "commit", "first_router", "routers_99", "page:slack", "rollback"} <= answer["legs"].keys()
    assert before == during == fleet.answers()
    after = fleet.store.get(keys.flag(NAME))
    assert value is not None
    assert after is not None
    assert after.value == value.value
    assert after.mod_revision == answer["revision"] > value.mod_revision
    assert any("DRILL of" in json.dumps(sent.body) for sent in fleet.slack.messages)
    assert not fleet.store.list(keys.INCIDENTS).items
    fleet.check()
    assert record.number == answer["number"]


def test_a_replica_killed_during_a_drill_is_succeeded(fleet: DrilledFleet) -> None:
    """Another replica ends the drill as failed, and pages; nothing of the flag has changed."""
    value = fleet.store.get(keys.flag(NAME))
    stopped_router(fleet)
    command, record, runner = fleet.begun()
    runner.kill()
    ended = fleet.over(record.number)
    assert ended.outcome is DrillOutcome.FAILED
    assert f"controller {runner.name} stopped during it" in ended.problems[0]
    assert command.wait(LONG) == 1
    after = fleet.store.get(keys.flag(NAME))
    assert value is not None
    assert after is not None
    assert after.value == value.value
    fleet.check()
    assert PageKind.DRILL_FAILED.value in fleet.kinds()


def test_a_command_killed_during_a_drill_leaves_it_to_the_controllers(fleet: DrilledFleet) -> None:
    stopped_router(fleet)
    command, record, _ = fleet.begun()
    command.kill()
    command.communicate()
    fleet.router.send_signal(signal.SIGCONT)
    assert fleet.over(record.number).finished_at is not None


def test_a_second_press_is_refused_in_words(fleet: DrilledFleet) -> None:
    stopped_router(fleet)
    first, record, _ = fleet.begun()
    second = fleet.command()
    _, said = second.communicate(timeout=LONG)
    assert second.returncode == 2
    assert f"drill {record.number} of it is under way since" in said
    fleet.router.send_signal(signal.SIGCONT)
    first.communicate(timeout=LONG)


def test_a_store_that_is_stopped_during_a_drill_ends_in_no_change(fleet: DrilledFleet) -> None:
    """etcd answers nothing for some seconds; the drill goes on when it does."""
    value = fleet.store.get(keys.flag(NAME))
    stopped_router(fleet)
    command, record, _ = fleet.begun("--json")
    (member,) = fleet.etcd.members
    member.pause()
    fleet.router.send_signal(signal.SIGCONT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(4.0)  # nothing can be awaited while etcd is stopped
    member.resume()
    command.communicate(timeout=LONG)
    assert fleet.over(record.number).outcome is not DrillOutcome.UNDER_WAY
    after = fleet.store.get(keys.flag(NAME))
    assert value is not None
    assert after is not None
    assert after.value == value.value


def test_a_replica_killed_during_a_live_drill_gives_users_back(fleet: DrilledFleet) -> None:
    """Everyone has control when it dies; another replica arms the same users again."""
    before = fleet.answers()
    stopped_router(fleet)
    command, record, runner = fleet.begun("--live", "--yes")
    assert drilled(fleet.flag(NAME))
    runner.kill()
    fleet.router.send_signal(signal.SIGCONT)
    wait_until(lambda: set(fleet.answers()) == {"control"}, "everyone has control", PATIENCE)
    assert fleet.over(record.number).outcome is DrillOutcome.FAILED
    command.communicate(timeout=LONG)
    flag = fleet.flag(NAME)
    assert (flag.armed, flag.canary_percent, flag.stage) == (True, 50.0, "half")
    fleet.until_followed()
    assert fleet.answers() == before
    assert not fleet.store.list(keys.INCIDENTS).items


def test_a_real_breach_during_a_drill_trips(fleet: DrilledFleet) -> None:
    """Last, because it leaves the rollout tripped: the trip is real, and the drill is cut short."""
    stopped_router(fleet)
    command, record, _ = fleet.begun("--json")
    fleet.service.set(FAILING, rollout=NAME)
    wait_until(lambda: not fleet.armed(NAME), "tripped", PATIENCE)
    flag = fleet.flag(NAME)
    assert not drilled(flag)
    assert fleet.store.get(keys.incident(NAME, flag.generation)) is not None
    command.communicate(timeout=LONG)
    assert fleet.over(record.number).outcome is DrillOutcome.CUT_SHORT
    fleet.service.set(HEALTHY, rollout=NAME)
