"""The flag: the one document per rollout that routers obey, and the changes that may be made of it.

Every change looks up its row in `killswitch.flags.transitions` first; an illegal one raises `IllegalTransition` and
changes nothing. No I/O and no clock: ``now`` is Unix seconds, given by the caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from killswitch.errors import BadDocument, IllegalTransition
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare
from killswitch.flags.transitions import Action, Actor, State, check_reason, required

MAX_GENERATION = 2**53  # what every reader of JSON can hold exactly
HOLD_BACK_PERCENT = 1.0
SHADOW = "shadow"  # the stage in which users never see a canary's answer, whatever the percent says
STAGES: Mapping[str, float] = {
    SHADOW: 0.0,
    "ramp_1": 1.0,
    "ramp_5": 5.0,
    "ramp_25": 25.0,
    # not 100: at 100 % there is no control cohort left to compare with
    "full": 100.0 - HOLD_BACK_PERCENT,
}
AA = "aa"
# A tripped flag must be readable by every reader, however long its story: the incident holds the whole of it.
MAX_REASON = 2000
MAX_NAME = 200
_MAX_RULES = 100
_MAX_STAGES = 200
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_GENERATION_OF_SALT = re.compile(r"\.g[0-9]{1,16}\Z")
_STAGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")


@dataclass(frozen=True, slots=True)
class StageEntry:
    """One step of a generation's ramp: from ``at`` on, ``percent`` of users were in the canary."""

    stage: str
    percent: float
    at: float


@dataclass(frozen=True, slots=True)
class Trip:
    """Why and when a flag was tripped, and where the ramp stood. ``drill``: the number of the live drill that did it.

    A drill's trip is undone by the drill. Any other trip of the flag takes its place, and is not undone.
    """

    at: float
    by: str
    reason: str
    incident: str
    rules: tuple[str, ...]
    percent_before: float
    stage_before: str
    drill: int | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """Why, when and by whom a flag was pinned at 0 %."""

    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Completion:
    """When, by whom and why a rollout was completed, the model that everyone else had until then, and the ramp."""

    at: float
    by: str
    reason: str
    control_before: str
    percent_before: float
    stage_before: str


@dataclass(frozen=True, slots=True)
class Flag:
    """The document. ``canary_percent`` is 0 to 100; times are Unix seconds.

    In stage ``aa`` the canary cohort is served by the control model: then ``canary`` *is* the control
    model, so that a reader that knows nothing of stages does the right thing, and ``canary_after_aa``
    keeps the name of the model the rollout is about.

    A pinned flag has its ``pin``, and the ``trip`` that ended its traffic: an earlier one, or the pin's own.
    ``unpinned_at``: when a person last lifted a pin; what was known before then pins it no more.
    ``shadow_percent`` (0 to 100) of requests are also sent to the canary, unseen; ``shadow_classes`` has other percents
    by prompt class, sorted by name. Only an armed flag in stage ``shadow`` at 0 % canary has either.
    A complete flag has its ``completion``; its ``control`` is the new model, which everyone gets.
    """

    rollout: str
    generation: int
    state: State
    stage: str
    canary_percent: float
    control: str
    canary: str
    salt: str
    armed_at: float
    stages: tuple[StageEntry, ...]
    updated_at: float
    updated_by: str
    trip: Trip | None = None
    pin: Pin | None = None
    completion: Completion | None = None
    unpinned_at: float | None = None
    canary_after_aa: str | None = None
    shadow_percent: float = 0.0
    shadow_classes: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def armed(self) -> bool:
        return self.state is State.ARMED

    @property
    def shadow_share(self) -> ShadowShare:
        """How much of the traffic is shadowed; nothing unless armed in stage ``shadow``."""
        return ShadowShare(self.shadow_percent, self.shadow_classes)

    @property
    def rollout_canary(self) -> str:
        """The model the rollout is about, in every stage."""
        return self.canary_after_aa or self.canary


def drilled(flag: Flag | None) -> bool:
    """Whether a live drill has tripped it, and no one else has tripped or pinned it since."""
    return flag is not None and flag.state is State.TRIPPED and flag.trip is not None and flag.trip.drill is not None


def as_served(flag: Flag) -> Flag:
    """Of a complete flag, the same traffic in the words of an armed one: 100 % of users have the canary.

    Of a flag that a live drill has tripped, the armed flag before the drill.
    """
    if drilled(flag):
        assert flag.trip is not None
        return replace(flag, state=State.ARMED, canary_percent=flag.trip.percent_before, trip=None)
    if flag.completion is None:
        return flag
    return replace(
        flag, state=State.ARMED, canary_percent=100.0, control=flag.completion.control_before, completion=None
    )  # fmt: skip


def state_of(flag: Flag | None) -> State:
    return State.ABSENT if flag is None else flag.state


def check_rollout_name(name: str) -> str:
    """The name itself. Raises BadDocument for what no key, label or file name can hold."""
    if not _NAME.match(name):
        raise BadDocument(
            f"rollout name {name!r}: use 1 to 63 of a-z 0-9 . _ - and begin and end with a letter or digit"
        )
    return name


def _check_percent(percent: float, *, has_baseline: bool, name: str) -> float:
    if not math.isfinite(percent) or not 0.0 <= percent <= 100.0:
        raise IllegalTransition(f"percent {percent!r} for {name}: give a number from 0 to 100")
    if percent > STAGES["full"] and not has_baseline:
        raise IllegalTransition(
            f"percent {percent:g} for {name}: above {STAGES['full']:g} % no control cohort is left to compare "
            f"with, so a regression could not be seen; use --stage full ({STAGES['full']:g} %), or store a "
            "baseline of control's last healthy day first"
        )
    return percent


def _check_stage(stage: str) -> str:
    if not _STAGE.match(stage):
        raise IllegalTransition(f"stage {stage!r}: use 1 to 32 of a-z 0-9 _ -")
    return stage


def shadow_problem(share: ShadowShare, *, stage: str, canary_percent: float) -> str | None:
    """Why an armed flag in ``stage`` may not shadow ``share``; None where it may."""
    if share.nothing:
        return None
    if stage != SHADOW:
        return f"shadow_percent is {share}, but only stage {SHADOW} shadows requests, and the stage is {stage}"
    if canary_percent != 0.0:
        return f"shadow_percent is {share}, but canary_percent is {canary_percent:g}; it must be 0 in stage {SHADOW}"
    return None


def _check_shadow(share: ShadowShare, stage: str, percent: float, name: str) -> ShadowShare:
    problem = shadow_problem(share, stage=stage, canary_percent=percent)
    if problem is not None:
        raise IllegalTransition(f"cannot shadow {name}: {problem}")
    return share


def resolve_stage(stage: str | None, percent: float | None) -> tuple[str, float]:
    """Fill in whichever of the two was left out: a known stage has a percent; a bare percent is ``custom``.

    Raises IllegalTransition when neither is given or a stage of the user's own comes without percent.
    """
    if stage is None:
        if percent is None:
            raise IllegalTransition("say how far to go: --stage ramp_5 or --percent 5")
        for known, usual in STAGES.items():
            if usual == percent:
                return known, percent
        return "custom", percent
    if percent is None:
        if stage.rstrip("%").replace(".", "", 1).isdecimal():
            raise IllegalTransition(f"{stage!r} is no stage; for a percent write --percent {stage.rstrip('%')}")
        if stage not in STAGES:
            known_stages = ", ".join(STAGES)
            raise IllegalTransition(f"stage {stage!r} has no percent of its own (known: {known_stages}); add --percent")
        percent = STAGES[stage]
    return stage, percent


def bounded(stages: tuple[StageEntry, ...]) -> tuple[StageEntry, ...]:
    """Where the generation began, and its newest steps."""
    return (stages[0], *stages[1:][-_MAX_STAGES + 1 :])


def _salt_of(salt: str, generation: int) -> str:
    """The rollout's salt for this generation's users: another one than ``salt``, whatever that is."""
    own = _GENERATION_OF_SALT.sub("", salt)[: MAX_NAME - 20]
    drawn = f"{own}.g{generation}"
    return drawn if drawn != salt else f"{drawn}.g{generation}"


def _models(flag_control: str, canary: str, stage: str) -> tuple[str, str | None]:
    return (flag_control, canary) if stage == AA else (canary, None)


def arm(
    flag: Flag | None,
    *,
    rollout: str,
    control: str,
    canary: str,
    percent: float,
    stage: str,
    now: float,
    by: str,
    generation: int = 1,
    salt: str = "",
    actor: Actor = Actor.PERSON,
    has_baseline: bool = False,
    shadow: ShadowShare = NO_SHADOW,
) -> Flag:
    """Absent -> armed. ``generation`` is 1, or one more than the newest of all earlier lives."""
    required(state_of(flag), Action.ARM, actor, rollout)
    check_rollout_name(rollout)
    _check_stage(stage)
    _check_percent(percent, has_baseline=has_baseline, name=rollout)
    _check_shadow(shadow, stage, percent, rollout)
    if not control or not canary or control == canary:
        raise IllegalTransition(
            f"cannot arm {rollout}: control and canary must be two different models, got {control!r} and {canary!r}"
        )
    for what, text in (("control", control), ("canary", canary), ("salt", salt)):
        if len(text) > MAX_NAME:
            raise IllegalTransition(f"cannot arm {rollout}: {what} has {len(text)} characters; use at most {MAX_NAME}")
    served, after_aa = _models(control, canary, stage)
    return Flag(
        rollout=rollout,
        generation=generation,
        state=State.ARMED,
        stage=stage,
        canary_percent=percent,
        control=control,
        canary=served,
        canary_after_aa=after_aa,
        salt=salt,
        armed_at=now,
        stages=(StageEntry(stage, percent, now),),
        updated_at=now,
        updated_by=by,
        shadow_percent=shadow.percent,
        shadow_classes=shadow.classes,
    )


def trip(
    flag: Flag | None,
    *,
    rollout: str,
    reason: str,
    rules: tuple[str, ...],
    incident: str,
    now: float,
    by: str,
    actor: Actor,
    drill: int | None = None,
) -> Flag:
    """Armed -> tripped: percent 0 and nothing shadowed from here on, until a person re-arms.

    A complete flag is tripped to the model that was control before. One that a live drill has tripped is tripped as if
    the drill had not been. ``drill``: the number of the live drill that trips it.

    A person gives a reason. A controller's trip is never refused for its text.
    """
    if flag is not None and drilled(flag):
        flag = as_served(flag)
    required(state_of(flag), Action.TRIP, actor, rollout)
    assert flag is not None
    if actor is Actor.PERSON:
        check_reason(reason, Action.TRIP, rollout)
    flag = as_served(flag)
    return replace(
        flag,
        state=State.TRIPPED,
        canary_percent=0.0,
        trip=Trip(
            now,
            by[:MAX_NAME],
            reason[:MAX_REASON],
            incident,
            tuple(rule[:MAX_NAME] for rule in rules[:_MAX_RULES]),
            flag.canary_percent,
            flag.stage,
            drill,
        ),
        updated_at=now,
        updated_by=by[:MAX_NAME],
        shadow_percent=0.0,
        shadow_classes={},
    )


def rearm(
    flag: Flag | None,
    *,
    rollout: str,
    reason: str,
    now: float,
    by: str,
    percent: float = STAGES["ramp_1"],
    stage: str = "ramp_1",
    actor: Actor = Actor.PERSON,
    has_baseline: bool = False,
    shadow: ShadowShare = NO_SHADOW,
    new_users: bool = False,
) -> Flag:
    """Tripped -> armed by a person, with a reason; generation + 1.

    ``new_users``: the users are hashed with another salt, so that others have the canary than those of this generation.

    ``armed_at`` is never earlier than the trip, however the person's clock runs: the data that
    tripped the last generation must not trip this one.
    """
    required(state_of(flag), Action.REARM, actor, rollout)
    assert flag is not None
    assert flag.trip is not None
    check_reason(reason, Action.REARM, rollout)
    _check_stage(stage)
    _check_percent(percent, has_baseline=has_baseline, name=rollout)
    _check_shadow(shadow, stage, percent, rollout)
    armed_at = max(now, flag.trip.at)
    served, after_aa = _models(flag.control, flag.rollout_canary, stage)
    return replace(
        flag,
        generation=flag.generation + 1,
        state=State.ARMED,
        stage=stage,
        canary_percent=percent,
        canary=served,
        canary_after_aa=after_aa,
        salt=_salt_of(flag.salt, flag.generation + 1) if new_users else flag.salt,
        armed_at=armed_at,
        stages=(StageEntry(stage, percent, armed_at),),
        trip=None,
        updated_at=armed_at,
        updated_by=by,
        shadow_percent=shadow.percent,
        shadow_classes=shadow.classes,
    )


def set_stage(
    flag: Flag | None,
    *,
    rollout: str,
    percent: float,
    stage: str,
    now: float,
    by: str,
    actor: Actor,
    has_baseline: bool = False,
    shadow: ShadowShare | None = None,
) -> Flag:
    """Change percent, stage and what is shadowed while armed; raising any of it is not for controllers.

    ``shadow`` None: as it is while the stage stays ``shadow``, else nothing. A change of what is shadowed alone begins
    no stage, so it adds nothing to ``stages``.
    """
    before = NO_SHADOW if flag is None else flag.shadow_share
    if shadow is None:
        shadow = before if flag is not None and flag.stage == SHADOW == stage else NO_SHADOW
    raises = flag is None or percent > flag.canary_percent or (flag.stage == AA != stage) or shadow.exceeds(before)
    required(state_of(flag), Action.RAISE if raises else Action.LOWER, actor, rollout)
    assert flag is not None
    _check_stage(stage)
    _check_percent(percent, has_baseline=has_baseline, name=rollout)
    _check_shadow(shadow, stage, percent, rollout)
    at = max(now, flag.updated_at)
    served, after_aa = _models(flag.control, flag.rollout_canary, stage)
    same_stage = shadow != before and (stage, percent) == (flag.stage, flag.canary_percent)
    return replace(
        flag,
        stage=stage,
        canary_percent=percent,
        canary=served,
        canary_after_aa=after_aa,
        stages=flag.stages if same_stage else bounded((*flag.stages, StageEntry(stage, percent, at))),
        updated_at=at,
        updated_by=by,
        shadow_percent=shadow.percent,
        shadow_classes=shadow.classes,
    )


def end(flag: Flag | None, *, rollout: str, actor: Actor) -> None:
    """Armed, tripped or complete -> absent, by a person; returns nothing because nothing is left."""
    required(state_of(flag), Action.END, actor, rollout)
