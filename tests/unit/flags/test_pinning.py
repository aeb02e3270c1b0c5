"""A pinned flag: at 0 %, and no one can arm it before a person has unpinned it with a reason."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, IllegalTransition
from killswitch.flags.bucketing import bucket, serves_canary
from killswitch.flags.document import from_document, to_document
from killswitch.flags.flag import Pin, Trip, end, rearm, set_stage, trip
from killswitch.flags.pinning import pin, stopped_in_words, unpin
from killswitch.flags.transitions import TRANSITIONS, Action, Actor, State
from tests.unit.flags.changed_flags import NOW, armed, pinned, tripped


def test_a_pin_of_an_armed_flag_trips_it_as_well() -> None:
    flag = armed()
    assert pinned(flag) == replace(
        flag, state=State.PINNED, canary_percent=0.0, updated_at=NOW + 60, updated_by="controller-a",
        trip=Trip(NOW + 60, "controller-a", "csat fell", "copilot.1", ("csat",), 5.0, "ramp_5"),
        pin=Pin(NOW + 60, "controller-a", "csat fell"),
    )  # fmt: skip


def test_a_pin_of_a_tripped_flag_keeps_its_trip() -> None:
    flag = tripped()
    after = pinned(flag, at=NOW + 90)
    assert (after.state, after.trip, after.pin) == (State.PINNED, flag.trip, Pin(NOW + 90, "controller-a", "csat fell"))


def test_unpinned_is_tripped_and_not_armed() -> None:
    flag = unpin(pinned(), rollout="copilot", reason="looked", now=NOW + 99, by="ann", actor=Actor.PERSON)
    assert (flag.state, flag.pin, flag.canary_percent) == (State.TRIPPED, None, 0.0)
    assert rearm(flag, rollout="copilot", reason="fixed", now=NOW + 120, by="ann").armed


def test_a_clock_that_was_ahead_decides_no_later_unpin() -> None:
    """Slow signals judge nothing from before an unpin: a month ahead would be a month without a pin."""
    ahead = replace(pinned(), updated_at=NOW + 30 * 86_400.0)
    flag = unpin(ahead, rollout="copilot", reason="looked", now=NOW + 99, by="ann", actor=Actor.PERSON)
    assert (flag.unpinned_at, flag.updated_at) == (NOW + 99, NOW + 30 * 86_400.0)


def test_everything_but_unpin_is_refused_while_pinned() -> None:
    assert [action for state, action in TRANSITIONS if state is State.PINNED] == [Action.UNPIN]
    assert TRANSITIONS[State.PINNED, Action.UNPIN] == (State.TRIPPED, frozenset({Actor.PERSON}))
    flag = pinned()
    with pytest.raises(IllegalTransition, match="killswitch unpin copilot"):
        rearm(flag, rollout="copilot", reason="r", now=NOW, by="a")
    with pytest.raises(IllegalTransition, match="killswitch unpin copilot"):
        set_stage(flag, rollout="copilot", percent=1.0, stage="ramp_1", now=NOW, by="a", actor=Actor.PERSON)
    with pytest.raises(IllegalTransition, match="killswitch unpin copilot"):
        end(flag, rollout="copilot", actor=Actor.PERSON)
    with pytest.raises(IllegalTransition, match="pinned already"):
        trip(flag, rollout="copilot", reason="r", rules=(), incident="i", now=NOW, by="a", actor=Actor.PERSON)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_pin_and_its_end_need_a_reason(reason: str) -> None:
    with pytest.raises(IllegalTransition, match="--reason"):
        pin(armed(), rollout="copilot", reason=reason, rules=(), incident="i", now=NOW, by="a", actor=Actor.PERSON)
    with pytest.raises(IllegalTransition, match="--reason"):
        unpin(pinned(), rollout="copilot", reason=reason, now=NOW, by="a", actor=Actor.PERSON)


@given(st.floats(min_value=0, max_value=4e9))
def test_no_user_has_a_pinned_canary_whatever_the_clock(now: float) -> None:
    flag = pinned(at=now)
    assert not serves_canary(flag)
    again = from_document(to_document(flag), rollout="copilot")
    assert (again.state, again.canary_percent) == (State.PINNED, 0.0)


def test_what_is_said_of_a_pin_comes_before_its_trip() -> None:
    assert stopped_in_words(pinned(tripped())) == "pinned by controller-a: csat fell"
    assert stopped_in_words(tripped()) == "tripped by controller-a: refusals"


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ("pinned", {"pin": None}),
        ("pinned", {"trip": None}),
        ("pinned", {"canary_percent": 1.0}),
        ("tripped", {"pin": {"at": "2026-04-19T14:22:11Z", "by": "a", "reason": "r"}}),
        ("armed", {"pin": {"at": "2026-04-19T14:22:11Z", "by": "a", "reason": "r"}}),
    ],
)
def test_a_pin_that_contradicts_its_state_is_no_flag(state: str, changes: dict[str, object]) -> None:
    flag = {"pinned": pinned(), "tripped": tripped(), "armed": armed()}[state]
    document = json.loads(to_document(flag)) | changes
    with pytest.raises(BadDocument, match=r"copilot: (pinned|tripped|armed), but"):
        from_document(json.dumps(document).encode(), rollout="copilot")


def test_other_users_get_the_canary_after_a_re_arm_that_asks_for_them() -> None:
    """Each generation's users are drawn again; without the option they stay."""
    flag, salts = tripped(), []
    for _ in range(3):
        flag = rearm(flag, rollout="copilot", reason="r", now=NOW + 99, by="a", new_users=True)
        salts.append(flag.salt)
        flag = tripped(flag)
    assert salts == ["s.g2", "s.g3", "s.g4"]
    assert rearm(flag, rollout="copilot", reason="r", now=NOW + 99, by="a").salt == "s.g4"
    old, new = ({user for user in range(4000) if bucket(salt, f"u{user}") < 5.0} for salt in ("s", "s.g2"))
    assert len(old & new) < len(new) / 4


def test_the_salt_of_a_re_arm_has_room_for_its_generation() -> None:
    flag = tripped(replace(armed(), salt="x" * 200))
    again = rearm(flag, rollout="copilot", reason="r", now=NOW + 99, by="a", new_users=True)
    assert (len(again.salt) <= 200, again.salt.endswith(".g2")) == (True, True)


def test_new_users_are_drawn_also_if_the_salt_looks_drawn() -> None:
    """A person may have armed generation 1 with the salt that generation 2 would get."""
    flag = tripped(replace(armed(), salt="team.g2"))
    again = rearm(flag, rollout="copilot", reason="r", now=NOW + 99, by="a", new_users=True)
    assert again.salt != "team.g2"
    before, after = ({user for user in range(4000) if bucket(one, f"u{user}") < 5.0} for one in ("team.g2", again.salt))
    assert len(before & after) < len(before) / 4
