"""What is said of one slow signal at one evaluation, with the sentence that the log, the page and the table share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from killswitch.model import Reason, Verdict
from killswitch.slow.counts import DayCounts

Decided = Literal["evidence", "threshold"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one way of judging says: evidence, or the literal rule."""

    verdict: Verdict
    reason: Reason | None
    sentence: str


@dataclass(frozen=True, slots=True)
class UserSplit:
    """Users of both cohorts in one stretch of days, and the canary's ``share`` that the flag's history says."""

    share: float
    canary: int
    control: int


@dataclass(frozen=True, slots=True)
class SlowFinding:
    """One signal at one evaluation; means, differences and limits are in the column's unit.

    ``verdict``, ``reason`` and ``sentence`` are those of the way that decides (``decide``). ``worse``: by how much the
    canary is worse, with the interval ``low`` to ``high``, which is wrong with probability 1 % ever. ``evidence`` is
    how far it has come (1 in ``evidence`` by luck), ``needed`` where it is a breach. ``days_to_see``: after how many
    days in all ``drop_to_see`` would be proven at this many users. ``literal_false_pins``: how often the literal rule
    pins a healthy canary within a week at this many users, ``literal_percent`` the least percent at which it works.
    """

    signal: str
    verdict: Verdict
    reason: Reason | None
    sentence: str
    decide: Decided
    by_evidence: Judgement
    literal: Judgement
    answers: Judgement | None
    evaluated_at: float
    limit: float
    lower_is_worse: bool
    as_share: bool
    canary: float | None = None
    control: float | None = None
    canary_users: int = 0
    control_users: int = 0
    worse: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: float | None = None
    needed: float | None = None
    drop_to_see: float | None = None
    days_to_see: int | None = None
    literal_false_pins: float | None = None
    literal_percent: float | None = None
    first_day: int = 0
    last_day: int = 0
    newest_day: int | None = None
    days: tuple[DayCounts, ...] = ()
    split: tuple[UserSplit, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def amount(value: float, *, as_share: bool, sign: bool = False) -> str:
    """``3.2`` of a score, ``1.4%`` of a share; with ``sign`` always one, and points for a share."""
    if as_share:
        return f"{100 * value:+.2f} pp" if sign else f"{100 * value:.2f}%"
    return f"{value:+.2f}" if sign else f"{value:.2f}"


def points(value: float, *, as_share: bool) -> str:
    """A difference without a sign: ``3``, ``1 pp``."""
    return f"{100 * value:.3g} pp" if as_share else f"{value:.3g}"
