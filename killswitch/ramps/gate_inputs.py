"""What a gate looks at: plain values, each of which may be missing with a reason. What is missing is never a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from killswitch.flags.flag import Flag
from killswitch.model import Rollout, Verdict
from killswitch.ramps.progress import StageProgress


@dataclass(frozen=True, slots=True)
class Missing:
    """An input that could not be had, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class RuleNow:
    """What one rule says now: its verdict, and the sentence of its finding."""

    verdict: Verdict
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts of the newest tick. ``age``: seconds since that tick, by the metric store's clock."""

    rules: Mapping[str, RuleNow]
    age: float


@dataclass(frozen=True, slots=True)
class SignalNow:
    """A slow signal. ``over``: whether it is over its limit; None if that is not known yet. ``said``: why."""

    over: bool | None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """``name`` of the plan's `approve`, given by a person for the stage that began at ``began_at`` (Unix seconds)."""

    name: str
    by: str
    generation: int
    stage: str
    began_at: float


@dataclass(frozen=True, slots=True)
class Hold:
    """A person has stopped the plan until someone resumes it."""

    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class CandidateNow:
    """The canary is the candidate of a role. ``allowed``: whether users may have it; ``said``: on what, or what to do.

    ``allowed`` None: something is missing. False: it must not go on.
    """

    allowed: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class WayBack:
    """Whether everyone can go back to control at once.

    ``answers``: whether its model answers now, None if nothing was asked of it; ``said``: by which proof. ``capacity``
    and ``rate``: requests a second that it can take, as far as anyone has said, and that both cohorts have now.
    ``retires``: Unix seconds from which it is gone, None if no one has said that it will be.
    """

    answers: bool | None
    said: str
    capacity: float | None
    rate: float | None
    retires: float | None = None


NOT_READ = Missing("it was not read")


@dataclass(frozen=True, slots=True)
class GateInputs:
    """All that decides whether the rollout may leave the stage that ``flag`` is in.

    ``now``: Unix seconds. ``interval``: seconds between ticks. ``shadow``: GO, NO_GO or NOT_YET, of the recorded pairs.
    ``slow``: what is known of slow signals, by name; one that the rule file has and this has not is unknown. ``hold``
    None: no one holds it. ``candidate`` None: its canary is no candidate of a role.
    """

    rollout: Rollout
    flag: Flag
    now: float
    interval: float
    progress: StageProgress | Missing = NOT_READ
    judged: Judged | Missing = NOT_READ
    shadow: str | Missing = NOT_READ
    slow: Mapping[str, SignalNow] | Missing = field(default_factory=dict)
    approvals: tuple[Approval, ...] | Missing = NOT_READ
    way_back: WayBack | Missing = NOT_READ
    hold: Hold | Missing | None = NOT_READ
    candidate: CandidateNow | Missing | None = None
