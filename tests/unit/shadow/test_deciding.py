"""The shadow is looked at again and again, turned down at a verdict, and left alone where anything is in doubt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from killswitch.cli.shadow.decide import look_at
from killswitch.cli.trip import request_by_hand
from killswitch.errors import BadSettings, Unavailable
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare
from killswitch.model import PageSettings
from killswitch.shadow.deciding import Deciding
from killswitch.shadow.decision import GoNoGo, ShadowDecision
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, page

FIFTH = ShadowShare(20.0)


def decided(verdict: GoNoGo, pairs: int = 12_000) -> ShadowDecision:
    share = 1.0 if verdict is GoNoGo.NOT_YET else 0.1
    return ShadowDecision(verdict, f"{verdict}: proven", (), (), pairs, pairs // 10, {}, {}, 0.0, 500, share)


@dataclass
class Desk:
    """A shadowed rollout, whose records say what ``verdict`` is."""

    world: World = field(default_factory=World)
    verdict: GoNoGo = GoNoGo.GO
    pairs: int = 12_000
    assessed: list[int] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.world.arm(percent=0.0, stage=SHADOW, shadow=FIFTH)

    def assess(self, flag: Flag) -> ShadowDecision:
        self.assessed.append(flag.generation)
        self.meanwhile()
        return decided(self.verdict, self.pairs)

    def deciding(self, *, keep: bool = False, fault: Callable[[Call], Fault | None] = lambda _: None) -> Deciding:
        switch = self.world.switch("shadow-decide", fault)
        return Deciding("copilot", partial(look_at, switch, "copilot"), self.assess, keep=keep)

    @property
    def share(self) -> ShadowShare:
        flag = self.world.person.stored("copilot").flag
        assert flag is not None
        return flag.shadow_share

    def turn(self, share: ShadowShare) -> None:
        self.world.person.set_stage("copilot", percent=0.0, stage=SHADOW, shadow=share)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(
    ("verdict", "keep", "left"),
    [
        (GoNoGo.GO, False, ShadowShare(2.0)),
        (GoNoGo.NO_GO, False, NO_SHADOW),
        (GoNoGo.NO_GO, True, ShadowShare(2.0)),
        (GoNoGo.NOT_YET, False, FIFTH),
    ],
)
def test_a_verdict_turns_the_shadow_down(desk: Desk, verdict: GoNoGo, keep: bool, left: ShadowShare) -> None:
    desk.verdict = verdict
    desk.deciding(keep=keep).once()
    assert desk.share == left


def test_it_looks_at_once_and_every_ten_minutes(desk: Desk) -> None:
    """Undecided for an hour, then GO: the seventh look turns it down, at an hour of virtual time."""
    began, turned = desk.world.clock.wall(), []
    desk.verdict = GoNoGo.NOT_YET

    def stopped(seconds: float) -> bool:
        desk.world.clock.advance(seconds)
        passed = desk.world.clock.wall() - began
        desk.verdict = GoNoGo.GO if passed >= 3600.0 else GoNoGo.NOT_YET
        if desk.share != FIFTH:
            turned.append(passed - seconds)
        return bool(turned)

    desk.deciding().run(stopped, 600.0)
    assert turned == [3600.0]
    assert len(desk.assessed) == 7


def test_a_person_who_raises_it_again_is_not_overruled(desk: Desk) -> None:
    """Also after a restart, whose process knows nothing of the first time."""
    desk.deciding().once()
    desk.turn(ShadowShare(100.0))
    looked = desk.deciding().once()
    assert desk.share == ShadowShare(100.0)
    assert "turned down for it once already" in looked.sentence
    desk.verdict = GoNoGo.NO_GO
    desk.deciding().once()
    assert desk.share == NO_SHADOW


def test_a_persons_change_during_the_comparison_wins(desk: Desk) -> None:
    desk.meanwhile = lambda: desk.turn(ShadowShare(50.0))
    looked = desk.deciding().once()
    assert looked.trouble
    assert "changed by someone else just now" in looked.sentence
    assert desk.share == ShadowShare(50.0)


@pytest.mark.parametrize("call", ["get", "commit"])
def test_a_store_that_is_down_changes_nothing_and_is_said_once(
    desk: Desk, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next look works."""
    down = [True]
    deciding = desk.deciding(fault=lambda one: Fault.FAIL_BEFORE if down[0] and one.name == call else None)
    with caplog.at_level(logging.INFO):
        assert deciding.once().trouble
        assert deciding.once().trouble
    assert len(caplog.records) == 1
    assert "not decided, nothing is changed" in caplog.text
    assert desk.share == FIFTH
    down[0] = False
    deciding.once()
    assert desk.share == ShadowShare(2.0)


def trip(world: World) -> None:
    world.person.trip(request_by_hand("copilot", "odd", PageSettings()))


def leave(world: World) -> None:
    world.person.set_stage("copilot", percent=1.0, stage="ramp_1")


def end(world: World) -> None:
    world.person.end("copilot")


def turn_off(world: World) -> None:
    world.person.set_stage("copilot", percent=0.0, stage=SHADOW, shadow=NO_SHADOW)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (trip, "the flag is tripped"),
        (leave, "the stage is ramp_1"),
        (end, "there is no flag"),
        (turn_off, "nothing is shadowed"),
    ],
)
def test_where_nothing_is_shadowed_nothing_is_compared(
    desk: Desk, change: Callable[[World], None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(desk.world)
    revision = desk.world.server.revision
    with caplog.at_level(logging.INFO):
        looked = desk.deciding().once()
    assert looked.sentence.startswith(said)
    assert caplog.messages == [f"copilot: {looked.sentence}"]
    assert (desk.assessed, desk.world.server.revision) == ([], revision)


def test_records_of_another_generation_decide_nothing(desk: Desk) -> None:
    """Re-armed: its records have no pair of the new generation yet."""
    trip(desk.world)
    desk.world.person.rearm("copilot", reason="fixed", percent=0.0, stage=SHADOW, page=page, shadow=FIFTH)
    desk.pairs, desk.verdict = 0, GoNoGo.NO_GO
    assert "no pair of generation 2 is recorded yet" in desk.deciding().once().sentence
    assert (desk.share, desk.assessed) == (FIFTH, [2])


@pytest.mark.parametrize(
    "error", [BadSettings(["no recorded pairs"]), Unavailable("bucket: 503"), RuntimeError("a bug"), MemoryError()]
)
def test_records_that_cannot_be_read_change_nothing(desk: Desk, error: Exception) -> None:
    def fail() -> None:
        raise error

    desk.meanwhile = fail
    looked = desk.deciding().once()
    assert looked.trouble
    assert "nothing is changed" in looked.sentence
    assert desk.share == FIFTH


def test_pairs_of_mostly_one_user_are_said_to_be_waited_for(desk: Desk) -> None:
    reason = "one user made 65% of the pairs"
    desk.verdict = GoNoGo.NOT_YET
    switch = desk.world.switch("shadow-decide", lambda _: None)
    held_up = replace(decided(GoNoGo.NOT_YET), one_user=reason, more_pairs=None)
    looked = Deciding("copilot", partial(look_at, switch, "copilot"), lambda _: held_up).once()
    assert f"NOT_YET after 13,200 pairs ({reason}); 20" in looked.sentence
