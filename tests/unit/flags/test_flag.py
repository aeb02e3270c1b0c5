"""The flag's state table, exhaustively, and every field of every change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, IllegalTransition
from killswitch.flags.completion import complete
from killswitch.flags.document import from_document, to_document
from killswitch.flags.flag import (
    AA,
    STAGES,
    Flag,
    StageEntry,
    Trip,
    arm,
    check_rollout_name,
    end,
    rearm,
    resolve_stage,
    set_stage,
    trip,
)
from killswitch.flags.pinning import pin, unpin
from killswitch.flags.transitions import TRANSITIONS, Action, Actor, State
from tests.unit.flags.changed_flags import NOW, armed, completed, pinned, tripped

# each action as somebody would do it to a flag
ACTIONS: dict[Action, Callable[[Flag | None, Actor], object]] = {
    Action.ARM: lambda flag, actor: arm(
        flag, rollout="copilot", control="old", canary="new", percent=5.0, stage="ramp_5", now=NOW, by="b", actor=actor
    ),
    Action.TRIP: lambda flag, actor: trip(
        flag, rollout="copilot", reason="r", rules=(), incident="i", now=NOW, by="b", actor=actor
    ),
    Action.REARM: lambda flag, actor: rearm(flag, rollout="copilot", reason="r", now=NOW + 90, by="b", actor=actor),
    Action.RAISE: lambda flag, actor: set_stage(
        flag, rollout="copilot", percent=25.0, stage="ramp_25", now=NOW, by="b", actor=actor
    ),
    Action.LOWER: lambda flag, actor: set_stage(
        flag, rollout="copilot", percent=0.0, stage="shadow", now=NOW, by="b", actor=actor
    ),
    Action.PIN: lambda flag, actor: pin(
        flag, rollout="copilot", reason="r", rules=(), incident="i", now=NOW, by="b", actor=actor
    ),
    Action.UNPIN: lambda flag, actor: unpin(flag, rollout="copilot", reason="r", now=NOW, by="b", actor=actor),
    Action.COMPLETE: lambda flag, actor: complete(flag, rollout="copilot", reason="", now=NOW, by="b", actor=actor),
    Action.END: lambda flag, actor: end(flag, rollout="copilot", actor=actor),
}
FLAGS = {
    State.ABSENT: None, State.ARMED: armed(), State.TRIPPED: tripped(), State.PINNED: pinned(),
    State.COMPLETE: completed(),
}  # fmt: skip


@pytest.mark.parametrize(("state", "action", "actor"), list(itertools.product(State, Action, Actor)))
def test_only_transitions_of_the_table_happen(state: State, action: Action, actor: Actor) -> None:
    """Only the transitions in the table happen. Every other one raises and changes nothing."""
    flag = FLAGS[state]
    before = None if flag is None else to_document(flag)
    row = TRANSITIONS.get((state, action))
    if row is None or actor not in row[1]:
        # raising and lowering are told apart by the flag itself; without one, or tripped, both are refused
        with pytest.raises(IllegalTransition, match="copilot"):
            ACTIONS[action](flag, actor)
    else:
        after = ACTIONS[action](flag, actor)
        if action is not Action.END:
            assert isinstance(after, Flag)
            assert after.state is row[0]
    assert (None if flag is None else to_document(flag)) == before


def test_nothing_automatic_moves_traffic_towards_the_canary() -> None:
    towards = {Action.ARM, Action.REARM, Action.RAISE, Action.COMPLETE}
    for (_, action), (_, actors) in TRANSITIONS.items():
        if action in towards:
            assert Actor.CONTROLLER not in actors
        if action is Action.REARM:
            assert actors == {Actor.PERSON}


def test_a_refusal_says_what_to_do_instead() -> None:
    with pytest.raises(IllegalTransition, match="killswitch rearm copilot --reason"):
        ACTIONS[Action.ARM](tripped(), Actor.PERSON)
    with pytest.raises(IllegalTransition, match="killswitch stage copilot"):
        ACTIONS[Action.ARM](armed(), Actor.PERSON)
    with pytest.raises(IllegalTransition, match="a controller may not; only person or stage plan"):
        ACTIONS[Action.RAISE](armed(), Actor.CONTROLLER)


def test_a_trip_takes_all_traffic_and_remembers_the_ramp() -> None:
    """A trip takes all traffic from the canary and remembers the step of the ramp."""
    flag = tripped(armed(25.0, "ramp_25"))
    assert flag.canary_percent == 0.0
    assert flag.trip is not None
    assert (flag.trip.percent_before, flag.trip.stage_before) == (25.0, "ramp_25")
    assert flag.generation == 1


def test_a_trip_by_hand_needs_a_reason() -> None:
    """A person's trip says why. A controller's is never refused for its text: a missed kill is worse."""
    with pytest.raises(IllegalTransition, match="cannot trip copilot: say why with --reason"):
        trip(armed(), rollout="copilot", reason="\u200b ", rules=(), incident="i", now=NOW, by="b", actor=Actor.PERSON)
    flag = trip(armed(), rollout="copilot", reason="", rules=(), incident="i", now=NOW, by="b", actor=Actor.CONTROLLER)
    assert flag.state is State.TRIPPED


def test_a_re_arm_raises_the_generation_and_restarts_the_ramp() -> None:
    """A re-arm raises the generation, starts at step 1 of the ramp, and needs a reason."""
    again = rearm(tripped(), rollout="copilot", reason="fixed", now=NOW + 600, by="ann")
    assert (again.generation, again.stage, again.canary_percent, again.trip) == (2, "ramp_1", 1.0, None)
    assert again.stages == (StageEntry("ramp_1", 1.0, NOW + 600),)
    with pytest.raises(IllegalTransition, match="--reason"):
        rearm(tripped(), rollout="copilot", reason="  ", now=NOW, by="ann")


@given(st.floats(min_value=0, max_value=4e9), st.floats(min_value=0, max_value=4e9))
def test_armed_at_is_never_before_the_trip(tripped_at: float, now: float) -> None:
    """`armed_at` is never before the trip, whatever the person's clock says."""
    flag = tripped(at=tripped_at)
    assert rearm(flag, rollout="copilot", reason="fixed", now=now, by="ann").armed_at >= tripped_at


@pytest.mark.parametrize("percent", [99.1, 100.0])
def test_beyond_the_hold_back_is_refused_without_a_baseline(percent: float) -> None:
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        armed(percent, "full")
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        set_stage(armed(), rollout="copilot", percent=percent, stage="all", now=NOW, by="a", actor=Actor.PERSON)
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        rearm(tripped(), rollout="copilot", reason="r", now=NOW, by="a", percent=percent, stage="all")
    whole = set_stage(
        armed(), rollout="copilot", percent=percent, stage="all", now=NOW, by="a", actor=Actor.PERSON, has_baseline=True
    )
    assert whole.canary_percent == percent


@pytest.mark.parametrize("percent", [float("nan"), float("inf"), -1.0, 101.0])
def test_a_percent_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(IllegalTransition, match="from 0 to 100"):
        armed(percent, "x")


def test_full_means_a_hold_back_of_one_percent() -> None:
    assert STAGES["full"] == 99.0
    assert resolve_stage("full", None) == ("full", 99.0)


def test_a_stage_has_a_percent_and_a_percent_a_stage() -> None:
    assert resolve_stage(None, 5.0) == ("ramp_5", 5.0)
    assert resolve_stage(None, 7.0) == ("custom", 7.0)
    assert resolve_stage("mine", 7.0) == ("mine", 7.0)
    with pytest.raises(IllegalTransition, match="--stage ramp_5 or --percent 5"):
        resolve_stage(None, None)
    with pytest.raises(IllegalTransition, match="add --percent"):
        resolve_stage("mine", None)


def test_stage_aa_gives_the_canary_cohort_the_control_model() -> None:
    """Stage `aa` gives the canary cohort the control model, and keeps the name of the canary's model."""
    flag = armed(5.0, AA)
    assert (flag.canary, flag.rollout_canary) == ("old", "new")
    again = from_document(to_document(flag), rollout="copilot")
    assert again == flag
    beyond = set_stage(flag, rollout="copilot", percent=5.0, stage="ramp_5", now=NOW, by="a", actor=Actor.PERSON)
    assert (beyond.canary, beyond.canary_after_aa) == ("new", None)
    with pytest.raises(IllegalTransition):  # more users see the new model: a raise, though the percent stays
        set_stage(flag, rollout="copilot", percent=5.0, stage="ramp_5", now=NOW, by="a", actor=Actor.CONTROLLER)
    back = rearm(tripped(flag), rollout="copilot", reason="r", now=NOW + 99, by="a")
    assert back.canary == "new"


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a" * 64, "a b", "ä", "../x", "a\n", "_fleet"])
def test_a_name_that_could_not_stand_in_a_key_is_refused(name: str) -> None:
    with pytest.raises(BadDocument, match="1 to 63"):
        check_rollout_name(name)


@pytest.mark.parametrize(("control", "canary"), [("m", "m"), ("", "m"), ("m", "")])
def test_two_models_are_needed(control: str, canary: str) -> None:
    with pytest.raises(IllegalTransition, match="two different models"):
        arm(None, rollout="copilot", control=control, canary=canary, percent=1.0, stage="x", now=NOW, by="a")


# --- every field of every change ----------------------------------------------------------------


def test_arming_writes_every_field() -> None:
    flag = arm(None, rollout="copilot", control="old", canary="new", percent=5.0, stage="ramp_5", now=NOW, by="ann")
    assert flag == Flag(
        rollout="copilot", generation=1, state=State.ARMED, stage="ramp_5", canary_percent=5.0, control="old",
        canary="new", salt="", armed_at=NOW, stages=(StageEntry("ramp_5", 5.0, NOW),), updated_at=NOW,
        updated_by="ann",
    )  # fmt: skip


def test_a_trip_changes_these_fields_and_no_other() -> None:
    flag = armed()
    assert tripped(flag) == replace(
        flag, state=State.TRIPPED, canary_percent=0.0, updated_at=NOW + 60, updated_by="controller-a",
        trip=Trip(NOW + 60, "controller-a", "refusals", "copilot.1", ("refusal_rate",), 5.0, "ramp_5"),
    )  # fmt: skip


@pytest.mark.parametrize(("stage", "serves", "keeps"), [("ramp_1", "new", None), (AA, "old", "new")])
def test_a_re_arm_changes_these_fields_and_no_other(stage: str, serves: str, keeps: str | None) -> None:
    """Whether it tripped in stage `aa` or after it."""
    for before in (armed(), armed(stage=AA, canary="old", canary_after_aa="new")):
        flag, at = tripped(before), NOW + 120
        again = rearm(flag, rollout="copilot", reason="fixed", now=at, by="ben", percent=1.0, stage=stage)
        assert again == replace(
            flag, generation=2, state=State.ARMED, stage=stage, canary_percent=1.0, canary=serves,
            canary_after_aa=keeps, armed_at=at, stages=(StageEntry(stage, 1.0, at),), trip=None, updated_at=at,
            updated_by="ben",
        )  # fmt: skip


@pytest.mark.parametrize(("stage", "serves", "keeps"), [("ramp_25", "new", None), (AA, "old", "new")])
def test_a_change_of_stage_changes_these_fields_and_no_other(stage: str, serves: str, keeps: str | None) -> None:
    for flag in (armed(), armed(stage=AA, canary="old", canary_after_aa="new")):
        at = NOW + 120
        changed = set_stage(flag, rollout="copilot", percent=25.0, stage=stage, now=at, by="ben", actor=Actor.PERSON)
        assert changed == replace(
            flag, stage=stage, canary_percent=25.0, canary=serves, canary_after_aa=keeps, updated_at=at,
            stages=(*flag.stages, StageEntry(stage, 25.0, at)), updated_by="ben",
        )  # fmt: skip


def test_the_same_percent_again_is_no_raise() -> None:
    """So a controller may write it."""
    changed = set_stage(
        armed(), rollout="copilot", percent=5.0, stage="custom", now=NOW, by="a", actor=Actor.CONTROLLER
    )
    assert (changed.stage, changed.canary_percent) == ("custom", 5.0)


def test_a_long_ramp_keeps_its_beginning_and_its_newest_steps() -> None:
    flag = armed()
    for step in range(250):
        flag = set_stage(
            flag, rollout="copilot", percent=5.0, stage="custom", now=NOW + step, by="a", actor=Actor.PERSON
        )
    assert [entry.at - NOW for entry in flag.stages] == [0, *range(51, 250)]
    assert flag.stages[0].stage == "ramp_5"


@pytest.mark.parametrize("percent", [99.0, 99.5, 100.0])
def test_with_a_baseline_all_of_the_traffic_may_go_to_the_canary(percent: float) -> None:
    baseline = {"percent": percent, "stage": "custom", "by": "ann", "has_baseline": True}
    each = (
        arm(None, rollout="copilot", control="old", canary="new", now=NOW, **baseline),  # type: ignore[arg-type]
        rearm(tripped(), rollout="copilot", reason="fixed", now=NOW, **baseline),  # type: ignore[arg-type]
        set_stage(armed(), rollout="copilot", now=NOW, actor=Actor.PERSON, **baseline),  # type: ignore[arg-type]
    )
    assert [flag.canary_percent for flag in each] == [percent] * 3


def test_the_hold_back_needs_no_baseline() -> None:
    assert armed(percent=STAGES["full"]).canary_percent == 99.0


BEYOND = (
    "percent 100 for copilot: above 99 % no control cohort is left to compare with, so a regression could not be "
    "seen; use --stage full (99 %), or store a baseline of control's last healthy day first"
)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: armed(percent=100.0), BEYOND),
        (lambda: rearm(tripped(), rollout="copilot", reason="r", now=NOW, by="a", percent=100.0), BEYOND),
        (
            lambda: set_stage(
                armed(), rollout="copilot", percent=100.0, stage="custom", now=NOW, by="a", actor=Actor.PERSON
            ),
            BEYOND,
        ),
        (
            lambda: set_stage(
                None, rollout="copilot", percent=1.0, stage="custom", now=NOW, by="a", actor=Actor.PERSON
            ),
            "cannot raise copilot: the state table has no such change",
        ),
        (
            lambda: end(armed(), rollout="copilot", actor=Actor.STAGE_PLAN),
            "cannot end copilot: a stage plan may not; only person",
        ),
        (
            lambda: set_stage(
                armed(), rollout="copilot", percent=9.0, stage="custom", now=NOW, by="a", actor=Actor.CONTROLLER
            ),
            "cannot raise copilot: a controller may not; only person or stage plan",
        ),
        (lambda: armed(stage="Ramp 5"), "stage 'Ramp 5': use 1 to 32 of a-z 0-9 _ -"),
        (lambda: resolve_stage(None, None), "say how far to go: --stage ramp_5 or --percent 5"),
        (lambda: resolve_stage("5%", None), "'5%' is no stage; for a percent write --percent 5"),
        (lambda: resolve_stage("2.5", None), "'2.5' is no stage; for a percent write --percent 2.5"),
        (
            lambda: resolve_stage("1.2.3", None),
            "stage '1.2.3' has no percent of its own (known: shadow, ramp_1, ramp_5, ramp_25, full); add --percent",
        ),
        (
            lambda: resolve_stage("mine", None),
            "stage 'mine' has no percent of its own (known: shadow, ramp_1, ramp_5, ramp_25, full); add --percent",
        ),
    ],
)
def test_a_refused_change_says_exactly_this(change: Callable[[], object], says: str) -> None:
    with pytest.raises(IllegalTransition) as refused:
        change()
    assert str(refused.value) == says


@pytest.mark.parametrize("what", ["control", "canary", "salt"])
def test_names_are_at_most_two_hundred_characters(what: str) -> None:
    names = {"control": "old", "canary": "new", "salt": ""}
    about = {"rollout": "copilot", "percent": 5.0, "stage": "ramp_5", "now": NOW, "by": "ann"}
    longest = arm(None, **about, **{**names, what: "x" * 200})  # type: ignore[arg-type]
    assert getattr(longest, what) == "x" * 200
    with pytest.raises(IllegalTransition) as refused:
        arm(None, **about, **{**names, what: "x" * 201})  # type: ignore[arg-type]
    assert str(refused.value) == f"cannot arm copilot: {what} has 201 characters; use at most 200"
