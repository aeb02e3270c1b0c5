"""The mirror keeps a route as the flag says, tries again where others write it too, and reports what the route does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from killswitch.errors import AccessDenied, KillswitchError, Unavailable
from killswitch.flags.document import to_document
from killswitch.gateway.mirroring import ATTEMPTS, LEAVING, Mirroring
from killswitch.gateway.routes import Changed
from killswitch.gateway.weights import Backend, Pair
from killswitch.router import failsafe
from killswitch.router.failsafe import LinearizableRead, Memory, StalePolicy
from killswitch.router.snapshot import ObeyedFlag, build
from killswitch.stores import Item, keys
from tests.doubles.pages import armed
from tests.unit.gateway.test_weights import patched, route, share

PAIR = Pair(Backend("old"), Backend("new"))
FLAG = replace(armed(), rollout="copilot", canary_percent=5.0)


class WrittenInMemory:
    """A route in memory. ``before_patch`` is called before each patch, and may raise or change the route."""

    def __init__(self) -> None:
        self.object = route(1, 0)
        self.reads = 0
        self.writes = 0
        self.before_patch: Callable[[], None] = lambda: None

    def read(self) -> Mapping[str, Any]:
        self.reads += 1
        return copy.deepcopy(self.object)

    def patch(self, changes: Sequence[Mapping[str, Any]]) -> None:
        self.before_patch()
        version = self.object["metadata"]["resourceVersion"]
        if changes[0] != {"op": "test", "path": "/metadata/resourceVersion", "value": version}:
            raise Changed("409")
        self.writes += 1
        self.object = patched(self.object, type("Done", (), {"patch": changes})())
        self.object["metadata"]["resourceVersion"] = str(int(version) + 1)

    def touched_by_others(self) -> None:
        self.object["metadata"]["resourceVersion"] = str(int(self.object["metadata"]["resourceVersion"]) + 1)


class Case:
    """A mirror of ``copilot``, what it obeys, and what it has reported."""

    def __init__(self) -> None:
        self.route = WrittenInMemory()
        self.memory = Memory("copilot", "")
        self.now = 0.0
        self.told: list[ObeyedFlag] = []
        self.report: Callable[[ObeyedFlag], None] = self.told.append
        self.mirror = Mirroring("copilot", self.route, PAIR, current=self.current, report=self.reported)

    def reported(self, obeyed: ObeyedFlag) -> None:
        self.report(obeyed)

    def current(self) -> ObeyedFlag:
        return build(self.memory, StalePolicy(), self.now)

    def reads(self, value: bytes | None, revision: int) -> None:
        item = None if value is None else Item(keys.flag("copilot"), value, revision)
        read = LinearizableRead(self.now, self.memory.revision, item, revision, 1)
        self.memory = failsafe.after_read(self.memory, read)


def test_the_route_follows_the_flag_and_is_reported() -> None:
    case = Case()
    case.reads(to_document(FLAG), 70)
    state = case.mirror.once()
    assert (share(case.route.object), state.percent, state.reached) == (5.0, 5.0, True)
    assert [(told.revision, told.canary_percent) for told in case.told] == [(70, 5.0)]


def test_a_flag_that_cannot_be_read_any_more_ends_the_canary_once() -> None:
    case = Case()
    case.reads(to_document(FLAG), 70)
    case.mirror.once()
    case.now = 3600.0
    case.mirror.once()
    assert share(case.route.object) == 0.0
    # another replica, which still reads the store, has raised it again: this one does not fight it
    case.route.object["spec"]["rules"][0]["backendRefs"][1]["weight"] = 500
    reads = case.route.reads
    assert case.mirror.once().reached is False
    assert (share(case.route.object) > 0.0, case.route.reads) == (True, reads)
    case.reads(to_document(FLAG), 70)
    case.mirror.once()
    assert round(share(case.route.object), 2) == 5.0


def test_an_unsure_mirror_tries_until_the_route_is_lowered() -> None:
    case = Case()
    case.reads(to_document(FLAG), 70)
    case.mirror.once()
    case.now = 3600.0
    failures: list[KillswitchError] = [Unavailable("down"), AccessDenied("no"), Unavailable("down")]

    def fail() -> None:
        if failures:
            raise failures.pop()

    case.route.before_patch = fail
    found = [case.mirror.once().percent for _ in range(4)]
    assert found == [None, None, None, 0.0]
    assert share(case.route.object) == 0.0


def test_a_mirror_that_leaves_tries_until_the_route_is_lowered() -> None:
    case = Case()
    case.reads(to_document(FLAG), 70)
    case.mirror.once()
    case.now = 3600.0
    failures: list[KillswitchError] = [Unavailable("down")] * 3

    def fail() -> None:
        if failures:
            raise failures.pop()

    case.route.before_patch = fail
    waits: list[float] = []
    assert case.mirror.leave(lambda: sum(waits), waits.append).percent == 0.0
    assert (share(case.route.object), len(waits)) == (0.0, 3)


def test_a_mirror_that_cannot_lower_still_leaves(caplog: pytest.LogCaptureFixture) -> None:
    case = Case()

    def fail() -> None:
        raise Unavailable("down")

    case.route.before_patch = fail
    case.route.object = route(1, 1)
    waits: list[float] = []
    assert case.mirror.leave(lambda: sum(waits), waits.append).percent is None
    assert 2 <= len(waits) <= LEAVING
    assert "set the canary's weight to 0 by hand" in caplog.text


def test_a_route_that_others_write_is_read_again() -> None:
    case = Case()
    case.reads(to_document(FLAG), 70)
    touches = [1, 1]

    def touch() -> None:
        if touches:
            touches.pop()
            case.route.touched_by_others()

    case.route.before_patch = touch
    assert case.mirror.once().reached
    assert (case.route.reads, case.route.writes) == (3, 1)


def test_a_route_that_never_rests_is_tried_with_the_next_pass() -> None:
    case = Case()
    case.reads(to_document(FLAG), 70)
    case.route.before_patch = case.route.touched_by_others
    assert case.mirror.once().percent is None
    assert case.route.reads == ATTEMPTS
    assert case.told == []


def test_what_is_not_done_is_not_reported() -> None:
    """A person sees 'routers following: 0 of 1', and not a trip that the route has not followed."""
    case = Case()

    def refuse() -> None:
        raise AccessDenied("403")

    case.route.before_patch = refuse
    case.reads(to_document(FLAG), 70)
    state = case.mirror.once()
    assert (state.percent, case.told, "403" in state.problem) == (None, [], True)


def test_a_report_that_fails_does_not_keep_the_route_back() -> None:
    case = Case()

    def fail(_: ObeyedFlag) -> None:
        raise Unavailable("the store is down")

    case.report = fail
    case.reads(to_document(FLAG), 70)
    assert case.mirror.once().reached
    assert share(case.route.object) == 5.0


def test_stage_aa_gives_the_canary_nothing() -> None:
    """There the canary's cohort is served by the control model, so the split cannot be done by a route."""
    case = Case()
    case.reads(to_document(replace(FLAG, stage="aa", canary=FLAG.control, canary_after_aa=FLAG.canary)), 70)
    assert case.mirror.once().percent == 0.0


def test_a_raise_by_a_slow_clock_is_followed() -> None:
    """The flag's times stay as they were, because the person's clock is behind the one that changed it before."""
    case = Case()
    case.reads(to_document(FLAG), 70)
    case.mirror.once()
    case.reads(to_document(replace(FLAG, canary_percent=25.0, stage="ramp_25")), 71)
    assert case.mirror.once().reached
    assert round(share(case.route.object), 2) == 25.0
