"""Our verdict over HTTP, as Argo Rollouts and Flagger ask for it; a store that is silent confirms nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from killswitch.flags.document import to_document
from killswitch.flags.flag import Flag
from killswitch.status.reports import CycleReport
from killswitch.stores import Put, keys
from killswitch.web.flag_endpoints import FlagView
from killswitch.web.verdict_endpoint import HOLDS_FRESH_FOR, HoldView, VerdictView, verdict_routes
from tests.doubles import flags
from tests.doubles.clock import VirtualClock
from tests.doubles.flags import ROLLOUT
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.served import Served, listening
from tests.unit.status.test_release_verdict import report


class Judged:
    """A daemon's newest cycle over a store that may fall silent."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.store = MemoryStore(self.server, "web")
        self.latest: CycleReport | None = report()
        self.age: float | None = 1.0
        self.put(flags.armed())
        self.server.commit("a", (), (Put(keys.controller("a"), b"{}"),))
        flag_view = FlagView(self.store, monotonic=self.clock.monotonic)
        holds = HoldView(self.store, monotonic=self.clock.monotonic)
        self.view = VerdictView(flag_view, holds, latest=lambda: self.latest, age=lambda: self.age, oldest=60.0)

    def put(self, flag: Flag) -> None:
        self.server.commit("ann", (), (Put(keys.flag(flag.rollout), to_document(flag)),))

    def later(self) -> None:
        """What was read a moment ago is read again."""
        self.clock.advance(2.0)


@pytest.fixture
def judged() -> Judged:
    return Judged()


@pytest.fixture
def base(judged: Judged) -> Iterator[str]:
    with listening(Served(), verdict_routes(judged.view)) as port:
        yield f"http://127.0.0.1:{port}"


def word(base: str) -> str:
    answer = requests.get(f"{base}/api/v1/verdict/{ROLLOUT}", timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    return str(answer.json()["verdict"])


def asked(base: str, what: str) -> int:
    return requests.post(f"{base}/flagger/{what}/{ROLLOUT}", json={"name": "x"}, timeout=10).status_code


def test_a_healthy_rollout_is_confirmed_and_not_rolled_back(base: str) -> None:
    assert (word(base), asked(base, "confirm"), asked(base, "rollback")) == ("healthy", 200, 409)


def test_a_trip_by_any_replica_is_seen_at_once(base: str, judged: Judged) -> None:
    """Though our own newest cycle still says healthy."""
    assert asked(base, "confirm") == 200
    judged.put(flags.tripped())
    judged.later()
    assert (word(base), asked(base, "confirm"), asked(base, "rollback")) == ("tripped", 409, 200)


def test_a_held_plan_confirms_nothing(base: str, judged: Judged) -> None:
    judged.server.commit("ann", (), (Put(keys.hold(ROLLOUT), b"{}"),))
    assert (word(base), asked(base, "confirm"), asked(base, "rollback")) == ("held", 409, 409)


def test_a_store_that_falls_silent_confirms_nothing(base: str, judged: Judged) -> None:
    assert asked(base, "confirm") == 200
    judged.store.fault = lambda _: Fault.FAIL_BEFORE
    judged.later()
    assert (word(base), asked(base, "confirm"), asked(base, "rollback")) == ("unknown", 409, 409)


def test_holds_that_cannot_be_read_confirm_nothing(base: str, judged: Judged) -> None:
    judged.store.fault = lambda call: Fault.FAIL_BEFORE if call.subject == keys.HOLDS else None
    assert (word(base), asked(base, "confirm")) == ("unknown", 409)


def test_holds_that_were_read_long_ago_confirm_nothing(base: str, judged: Judged) -> None:
    assert word(base) == "healthy"
    judged.store.fault = lambda call: Fault.FAIL_BEFORE if call.subject == keys.HOLDS else None
    judged.clock.advance(HOLDS_FRESH_FOR + 1)
    assert (word(base), asked(base, "confirm")) == ("unknown", 409)


@pytest.mark.parametrize("what", ["old", "none", "unjudged"])
def test_without_a_young_cycle_nothing_is_confirmed(base: str, judged: Judged, what: str) -> None:
    if what == "old":
        judged.age = 61.0
    elif what == "none":
        judged.latest = judged.age = None
    else:
        judged.put(replace(flags.armed(), generation=2))
    assert (word(base), asked(base, "confirm"), asked(base, "rollback")) == ("unknown", 409, 409)


def test_a_name_without_a_flag_is_not_found(base: str) -> None:
    assert requests.get(f"{base}/api/v1/verdict/typo", timeout=10).status_code == 404
    for what in ("confirm", "rollback"):
        assert requests.post(f"{base}/flagger/{what}/typo", timeout=10).status_code == 404


def test_the_reason_is_in_the_answer_that_says_no(base: str, judged: Judged) -> None:
    judged.age = 61.0
    answer = requests.post(f"{base}/flagger/confirm/{ROLLOUT}", timeout=10)
    assert answer.text == f"{ROLLOUT}: unknown: the newest cycle is 1m1s old\n"
