"""`killswitch drill` as a person types it: what it says before, while and after a controller makes the drill."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from killswitch.cli import drill as drill_command
from killswitch.drill.record import DrillOutcome, DrillRecord, to_document
from killswitch.drill.request import from_document as request_from_document
from killswitch.drill.standing import DrillStanding
from killswitch.drill.standing import to_document as standing_document
from killswitch.stores import Delete, Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.timestamps import to_iso
from tests.unit.cli.shell import Shell

NAME = "copilot"
GUIDE = Path(__file__).parents[3] / "docs" / "drill.md"
AT_OF_THE_GUIDE = 1_796_071_168.0  # 2026-11-30 20:39:28 UTC
LEGS = {
    "detection": 5.71, "commit": 0.051, "first_router": 0.162, "routers_99": 0.448, "page:slack": 0.348,
    "rollback": 6.209,
}  # fmt: skip
PASSED = DrillRecord(
    rollout=NAME, number=12, live=False, by="ann@laptop", origin="command line on laptop", controller="kill-0",
    began_at=1_776_608_531.0, generation=1, stage="ramp_5", percent=5.0, outcome=DrillOutcome.PASSED, rule="error_rate",
    sentence="error_rate 7.9% over 2.0%", proven_after=60.0, revision=7, routers=3, followed=3, receivers=("slack",),
    legs=LEGS, finished_at=1_776_608_534.0,
)  # fmt: skip


@pytest.fixture
def store(shell: Shell) -> Iterator[Store]:
    shell.armed()
    opened = open_store(shell.store)
    opened.commit((), (Put(keys.controller("kill-0"), b"{}"),))
    yield opened
    opened.close()


def kept(store: Store, *records: DrillRecord) -> None:
    puts = [Put(keys.drill(NAME, record.number), to_document(record)) for record in records]
    worst = DrillStanding(NAME, newest=12, worst=7.02)
    store.commit((), (*puts, Put(keys.drill_standing(NAME), standing_document(worst))))


class AnsweringController:
    """A controller that answers a request with this record. Use as a context manager."""

    def __init__(self, shell: Shell, record: DrillRecord) -> None:
        self._store = open_store(shell.store)
        self._record = record
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._store.close()

    def _serve(self) -> None:
        while not self._done.wait(0.05):
            item = self._store.get(keys.drill_request(NAME))
            if item is not None:
                asked = request_from_document(item.value, rollout=NAME)
                answer = replace(self._record, nonce=asked.nonce, live=asked.live, by=asked.by)
                put = Put(keys.drill(NAME, answer.number), to_document(answer))
                self._store.commit((), (put, Delete(item.key)))


def test_a_passed_drill_shows_each_leg_and_the_goal(shell: Shell, store: Store) -> None:
    with AnsweringController(shell, PASSED):
        done = shell("drill", NAME)
    assert done.exit_code == 0, done.output
    assert "drill 12 passed" in done.stdout
    assert "a rollback takes 6.21 s here (goal: 30 s)" in done.stdout
    for leg in ("tick to decision", "commit", "first router", "99% of routers", "page taken by slack", "rollback"):
        assert leg in done.stdout
    assert store.get(keys.drill_request(NAME)) is None


def test_the_guide_shows_what_is_printed(shell: Shell, store: Store) -> None:
    """Each line of the guide's example, up to where it is cut, is one that the command prints."""
    example = re.search(r"^```\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert example is not None
    kept(store, replace(PASSED, began_at=AT_OF_THE_GUIDE))
    printed = [line.rstrip() for line in shell("drill", NAME, "--last").stdout.splitlines()]
    shown = [line.partition(" …")[0].rstrip().replace("support-copilot", NAME) for line in example[1].splitlines()]
    for line in shown[1:]:  # the first is printed while the drill runs
        assert any(one.startswith(line) for one in printed), (line, printed)


def test_a_failed_drill_exits_with_1_and_names_the_leg(shell: Shell, store: Store) -> None:
    failed = replace(PASSED, outcome=DrillOutcome.FAILED, problems=("slack had not taken the page after 1m",))
    with AnsweringController(shell, failed):
        done = shell("drill", NAME)
    assert done.exit_code == 1
    assert "slack had not taken the page" in done.stdout


def test_a_refused_drill_says_every_reason(shell: Shell, store: Store) -> None:
    refused = replace(PASSED, outcome=DrillOutcome.REFUSED, problems=("it is blind", "an outage is open: x"))
    with AnsweringController(shell, refused):
        done = shell("drill", NAME)
    assert done.exit_code == 2
    assert "no drill now: it is blind" in done.output
    assert "no drill now: an outage is open" in done.output
    with AnsweringController(shell, replace(refused, number=13)):
        done = shell("drill", NAME, "--json")
    assert json.loads(done.stdout)["problems"] == ["it is blind", "an outage is open: x"]


def test_without_a_controller_nothing_is_asked_for(shell: Shell) -> None:
    shell.armed()
    done = shell("drill", NAME)
    assert done.exit_code == 3
    assert "no controller is alive" in done.output
    assert "killswitch run" in done.output


def test_a_request_that_is_not_taken_is_withdrawn(shell: Shell, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No drill is made of it hours later."""
    monkeypatch.setattr(drill_command, "TAKEN_WITHIN", 0.1)
    done = shell("drill", NAME)
    assert done.exit_code == 3
    assert "it is withdrawn" in done.output
    assert store.get(keys.drill_request(NAME)) is None


def test_a_second_press_says_who_was_first(shell: Shell, store: Store) -> None:
    kept(store, replace(PASSED, number=3, outcome=DrillOutcome.UNDER_WAY, finished_at=None))
    store.commit((), (Put(keys.drill_open(NAME), b'{"number": 3}'),))
    done = shell("drill", NAME)
    assert done.exit_code == 2
    assert "drill 3 of it is under way since 2026-04-19 14:22:11 UTC, by ann@laptop" in done.output


def test_a_rollout_without_a_flag_is_named(shell: Shell) -> None:
    done = shell("drill", "nope")
    assert done.exit_code == 2
    assert "nope has no flag" in done.output


def test_live_says_what_it_costs_and_asks(shell: Shell, store: Store) -> None:
    """Without a yes nothing is asked for."""
    done = shell("drill", NAME, "--live", answer="n\n")
    assert done.exit_code == 1
    assert "everyone gets model-old for about a minute, then the same 5% get model-new again" in done.output
    assert "its time, its evidence and its approvals begin again" in done.output
    assert store.get(keys.drill_request(NAME)) is None


def test_live_with_yes_asks_nothing(shell: Shell, store: Store) -> None:
    with AnsweringController(shell, PASSED):
        done = shell("drill", NAME, "--live", "--yes")
    assert done.exit_code == 0, done.output
    assert "live drill 12 passed" in done.stdout


def test_the_last_one_is_shown_again(shell: Shell, store: Store) -> None:
    kept(store, replace(PASSED, number=11), PASSED)
    done = shell("drill", NAME, "--last")
    assert done.exit_code == 0
    assert "drill 12 passed" in done.stdout
    assert "slowest rollback of the kept drills: 7.02 s (goal: 30 s)" in done.stdout
    document = shell.json("drill", NAME, "--last")
    assert (document["number"], document["outcome"], document["goal"]) == (12, "passed", 30.0)
    assert document["began_at"] == to_iso(PASSED.began_at)


def test_all_are_listed_the_newest_first(shell: Shell, store: Store) -> None:
    kept(store, replace(PASSED, number=11, outcome=DrillOutcome.REFUSED, problems=("it is [red]blind",)), PASSED)
    done = shell("drill", NAME, "--list")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].startswith("12")
    assert "it is [red]blind" in lines[2]
    assert [one["number"] for one in shell.json("drill", NAME, "--list")["drills"]] == [12, 11]


def test_where_none_was_made_the_list_is_empty_json(shell: Shell, store: Store) -> None:
    assert shell.json("drill", NAME, "--list") == {"drills": []}


def test_where_none_was_made_that_is_said(shell: Shell, store: Store) -> None:
    done = shell("drill", NAME, "--last")
    assert done.exit_code == 1
    assert "has had no drill; make one with `killswitch drill copilot`" in done.output


def test_one_thing_at_a_time(shell: Shell) -> None:
    done = shell("drill", NAME, "--last", "--list")
    assert done.exit_code == 2
    assert "use only one of" in done.output


def test_an_acknowledgement_names_the_person(shell: Shell, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(store, PASSED)
    monkeypatch.setattr("killswitch.cli.drill.time.time", lambda: PASSED.began_at + 42.0)
    done = shell("drill", NAME, "--ack")
    assert done.exit_code == 0, done.output
    item = store.get(keys.drill(NAME, 12))
    assert item is not None
    document = json.loads(item.value)
    assert document["legs"]["acknowledged"] == 42.0
    assert document["acknowledged"]["origin"].startswith("command line on ")
