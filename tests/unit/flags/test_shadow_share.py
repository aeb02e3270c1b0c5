"""What a flag shadows: checked, sorted, raised only by those who may, and nothing once tripped."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, IllegalTransition
from killswitch.flags.document import MAX_DOCUMENT_BYTES, from_document, to_document
from killswitch.flags.flag import SHADOW, Flag, StageEntry, arm, rearm, set_stage
from killswitch.flags.shadow_share import MAX_CLASSES, NO_SHADOW, ShadowShare, shadow_share
from killswitch.flags.transitions import TRANSITIONS, Action, Actor, State
from tests.unit.flags.changed_flags import NOW, armed, completed, pinned, tripped

NAMES = st.sampled_from(["billing", "legal", "search", "small talk"])
PERCENTS = st.sampled_from([0.0, 1.0, 20.0, 100.0])
SHARES = st.builds(shadow_share, PERCENTS, st.dictionaries(NAMES, PERCENTS, max_size=3))


def shadowed(percent: float = 20.0, classes: Mapping[str, float] | None = None) -> Flag:
    return arm(
        None, rollout="copilot", control="old", canary="new", percent=0.0, stage=SHADOW, now=NOW, by="ann", salt="s",
        shadow=shadow_share(percent, classes or {}),
    )  # fmt: skip


def turned(flag: Flag, share: ShadowShare | None, actor: Actor = Actor.PERSON) -> Flag:
    return set_stage(
        flag, rollout="copilot", percent=0.0, stage=SHADOW, now=NOW + 9, by="ben", actor=actor, shadow=share
    )


# --- the share ----------------------------------------------------------------------------------


def test_a_class_has_its_own_percent_and_the_rest_the_usual_one() -> None:
    share = shadow_share(20.0, {"legal": 0, "billing": 100})
    assert [share.of(name) for name in ("billing", "legal", "search")] == [100.0, 0.0, 20.0]
    assert list(share.classes) == ["billing", "legal"]
    assert str(share) == "20% (billing 100%, legal 0%)"


def test_percents_of_nothing_are_no_share() -> None:
    assert shadow_share(0, {"billing": 0.0}) == NO_SHADOW
    assert not shadow_share(0, {"billing": 1.0}).nothing


@given(SHARES, SHARES, NAMES)
def test_a_share_exceeds_another_where_any_class_gets_more(one: ShadowShare, other: ShadowShare, name: str) -> None:
    """A class that is named in neither gets the usual percent."""
    everywhere = [*one.classes, *other.classes, name, "named in neither"]
    assert one.exceeds(other) is any(one.of(each) > other.of(each) for each in everywhere)


@pytest.mark.parametrize(
    ("percent", "classes", "says"),
    [
        (math.nan, {}, "shadow_percent must be from 0 to 100, got nan"),
        (-1, {}, "shadow_percent must be from 0 to 100, got -1"),
        (100.1, {}, "shadow_percent must be from 0 to 100, got 100.1"),
        (True, {}, "shadow_percent must be a number, got True"),
        ("5", {}, "shadow_percent must be a number, got '5'"),
        (None, {}, "shadow_percent must be a number, got None"),
        (5, [], "shadow_classes must map prompt classes to percents, got []"),
        (5, {"billing": math.inf}, "shadow_classes: billing must be from 0 to 100, got inf"),
        (5, {"billing": "5"}, "shadow_classes: billing must be a number, got '5'"),
        (5, {"": 5}, "shadow_classes: '' is no class name; use 1 to 64 printable characters"),
        (5, {"x" * 65: 5}, f"shadow_classes: '{'x' * 65}' is no class name; use 1 to 64 printable characters"),
        (5, {"a\nb": 5}, "shadow_classes: 'a\\nb' is no class name; use 1 to 64 printable characters"),
        (5, {"\ud800": 5}, "shadow_classes: '\\ud800' is no class name; use 1 to 64 printable characters"),
        (5, {7: 5}, "shadow_classes: 7 is no class name; use 1 to 64 printable characters"),
        (5, {f"c{n}": 5 for n in range(51)}, "shadow_classes has 51 classes; use at most 50"),
    ],
)
def test_a_senseless_share_is_refused_by_its_field(percent: object, classes: object, says: str) -> None:
    with pytest.raises(ValueError, match="shadow_") as refused:
        shadow_share(percent, classes)
    assert str(refused.value) == says


# --- what may become of it ----------------------------------------------------------------------


TURNS = {Action.RAISE: ShadowShare(50.0), Action.LOWER: ShadowShare(1.0)}


@pytest.mark.parametrize(("state", "action", "actor"), list(itertools.product(State, TURNS, Actor)))
def test_the_state_table_rules_the_shadow_too(state: State, action: Action, actor: Actor) -> None:
    """What is not in the table raises and changes nothing, in every state and for everybody."""
    stopped = {
        State.TRIPPED: tripped(shadowed()), State.PINNED: pinned(shadowed()), State.COMPLETE: completed(shadowed()),
    }  # fmt: skip
    flag = {State.ABSENT: None, State.ARMED: shadowed(), **stopped}[state]
    before = None if flag is None else to_document(flag)
    row = TRANSITIONS.get((state, action))
    share = TURNS[action]
    change = {"rollout": "copilot", "percent": 0.0, "stage": SHADOW, "now": NOW, "by": "b", "actor": actor}
    if row is None or actor not in row[1]:
        with pytest.raises(IllegalTransition, match="copilot"):
            set_stage(flag, shadow=share, **change)  # type: ignore[arg-type]  # the same for both
    else:
        after = set_stage(flag, shadow=share, **change)  # type: ignore[arg-type]  # the same for both
        assert (after.state, after.shadow_share) == (row[0], share)
    assert (None if flag is None else to_document(flag)) == before


@given(SHARES, SHARES, st.sampled_from(Actor))
def test_only_a_person_or_a_plan_shadows_more(before: ShadowShare, after: ShadowShare, actor: Actor) -> None:
    """Anyone may shadow less. A change that raises one class and lowers another is a raise."""
    flag = shadowed(before.percent, before.classes)
    if after.exceeds(before) and actor is Actor.CONTROLLER:
        with pytest.raises(IllegalTransition, match="a controller may not; only person or stage plan"):
            turned(flag, after, actor)
    else:
        assert turned(flag, after, actor).shadow_share == after


def test_a_controller_may_not_go_back_from_users_to_a_shadow() -> None:
    """It may go back to stage shadow where nothing is shadowed."""
    with pytest.raises(IllegalTransition, match="a controller may not"):
        turned(armed(), shadow_share(5.0, {}), Actor.CONTROLLER)
    assert turned(armed(), None, Actor.CONTROLLER).shadow_share == NO_SHADOW


def test_turning_the_shadow_changes_these_fields_and_no_other() -> None:
    """The generation stays, and no stage begins."""
    flag = shadowed(5.0)
    assert turned(flag, shadow_share(25.0, {"billing": 100.0})) == replace(
        flag, shadow_percent=25.0, shadow_classes={"billing": 100.0}, updated_at=NOW + 9, updated_by="ben"
    )


def test_entering_and_leaving_the_stage_is_in_its_history() -> None:
    flag = turned(armed(), shadow_share(20.0, {}))
    assert flag.stages[1:] == (StageEntry(SHADOW, 0.0, NOW + 9),)
    left = set_stage(
        flag, rollout="copilot", percent=1.0, stage="ramp_1", now=NOW + 20, by="ann", actor=Actor.STAGE_PLAN
    )
    assert left.stages[2:] == (StageEntry("ramp_1", 1.0, NOW + 20),)
    assert left.shadow_share == NO_SHADOW


def test_a_stage_that_stays_keeps_what_it_shadows_unless_told() -> None:
    flag = shadowed(20.0, {"billing": 100.0})
    assert turned(flag, None).shadow_share == flag.shadow_share
    assert turned(flag, NO_SHADOW).shadow_share == NO_SHADOW


@given(SHARES)
def test_a_trip_ends_every_shadow_and_a_re_arm_brings_none_back(share: ShadowShare) -> None:
    flag = tripped(shadowed(share.percent, share.classes))
    assert flag.shadow_share == NO_SHADOW
    assert from_document(to_document(flag), rollout="copilot") == flag
    again = rearm(flag, rollout="copilot", reason="fixed", now=NOW + 99, by="ann", percent=0.0, stage=SHADOW)
    assert again.shadow_share == NO_SHADOW
    asked = rearm(
        flag, rollout="copilot", reason="fixed", now=NOW + 99, by="ann", percent=0.0, stage=SHADOW, shadow=share
    )
    assert (asked.shadow_share, asked.generation) == (share, 2)


@pytest.mark.parametrize(
    ("stage", "percent", "says"),
    [
        ("ramp_5", 5.0, "shadow_percent is 20%, but only stage shadow shadows requests, and the stage is ramp_5"),
        (SHADOW, 5.0, "shadow_percent is 20%, but canary_percent is 5; it must be 0 in stage shadow"),
    ],
)
def test_only_stage_shadow_at_no_percent_shadows(stage: str, percent: float, says: str) -> None:
    share = shadow_share(20.0, {})
    about: dict[str, Any] = {
        "rollout": "copilot", "percent": percent, "stage": stage, "now": NOW, "by": "ann", "shadow": share,
    }  # fmt: skip
    changes: tuple[Callable[[], Flag], ...] = (
        lambda: arm(None, control="old", canary="new", **about),
        lambda: rearm(tripped(), reason="fixed", **about),
        lambda: set_stage(shadowed(), actor=Actor.PERSON, **about),
    )
    for change in changes:
        with pytest.raises(IllegalTransition) as refused:
            change()
        assert str(refused.value) == f"cannot shadow copilot: {says}"


# --- the document -------------------------------------------------------------------------------


def document(flag: Flag, **changes: object) -> bytes:
    return json.dumps({**json.loads(to_document(flag)), **changes}).encode()


@given(SHARES)
def test_a_share_comes_back_from_its_document_as_it_was(share: ShadowShare) -> None:
    flag = shadowed(share.percent, share.classes)
    again = from_document(to_document(flag), rollout="copilot")
    assert again == flag
    assert list(again.shadow_classes) == sorted(again.shadow_classes)
    assert hash(again) == hash(flag)


def test_a_document_without_the_fields_shadows_nothing() -> None:
    written = json.loads(to_document(armed(0.0, SHADOW)))
    assert not {"shadow_percent", "shadow_classes"} & set(written)
    assert from_document(to_document(armed(0.0, SHADOW)), rollout="copilot").shadow_share == NO_SHADOW


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (document(shadowed(), shadow_percent=101), "shadow_percent must be from 0 to 100, got 101"),
        (document(shadowed(), shadow_percent=None), "shadow_percent must be a number, got None"),
        (document(shadowed(), shadow_classes={"a": -1}), "shadow_classes: a must be from 0 to 100, got -1"),
        (document(armed(), shadow_percent=5), "shadow_percent is 5%, but only stage shadow shadows requests"),
        (document(shadowed(), canary_percent=5), "shadow_percent is 20%, but canary_percent is 5"),
        (document(tripped(shadowed()), shadow_percent=5), "tripped, but shadow_percent is 5%"),
        (document(tripped(shadowed()), shadow_classes={"a": 5}), "tripped, but shadow_percent is 0% (a 5%)"),
    ],
)
def test_a_bad_share_in_a_document_is_named(value: bytes, says: str) -> None:
    with pytest.raises(BadDocument) as refused:
        from_document(value, rollout="copilot")
    assert str(refused.value).startswith(f"flag of copilot: {says}")


def test_the_largest_share_and_ramp_fit_into_a_document() -> None:
    """A flag that no reader can read would be control for everyone, and no controller could trip it."""
    flag = shadowed(1.0, {"😀" * 62 + f"{n:02}": 33.3333 for n in range(MAX_CLASSES)})
    for step in range(300):
        flag = set_stage(flag, rollout="copilot", percent=0.0, stage=SHADOW, now=NOW + step, by="a", actor=Actor.PERSON)
    assert len(flag.stages) == 200
    value = to_document(flag)
    assert len(value) <= MAX_DOCUMENT_BYTES
    assert from_document(value, rollout="copilot").shadow_share == flag.shadow_share
