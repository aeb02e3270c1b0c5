"""One entry of the evidence: a rule of an armed rollout, or one side of its traffic split."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from killswitch.model import Rule, Unreadable
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.control_past import ControlPast
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.missing_events import MissingEvents
from killswitch.verdicts.per_user_signal import PerUserSignal

STEP = "step"
STEP_PER_USER = "step_per_user"
PAST = "past"
SPLIT = "(traffic split)"
TOO_LITTLE, TOO_MUCH = (f"{SPLIT} {side}" for side in ("too_little", "too_much"))


@dataclass(slots=True)
class Entry:
    """What evidence is gathered on: a rule, or (``rule`` None) one side of a rollout's traffic split.

    ``percent``: the flag's percent when the split's evidence began. ``control_past``: control's histograms of the
    last hour. ``edges``: the bucket edges that both cohorts' histograms had at the last tick.
    """

    armed: ArmedRollout
    rule: Rule | None
    spec: ev.DetectorSpec
    percent: float = 0.0
    per_user: PerUserSignal = field(default_factory=PerUserSignal)
    missing_events: MissingEvents = field(default_factory=MissingEvents)
    edges: tuple[float, ...] = ()
    control_past: ControlPast | None = None
    problem: Unreadable | None = None
    # head starts up to this tick have been paid, or dropped for good
    paid_until: float = -math.inf
    # start again from zero at the next tick, whatever the flag's times say
    renew: bool = False
    # a breach that later ticks of the same block have ended
    passed: EvidenceView | None = None
    # Key: when a stage began. Value: the latencies of control in the hour before.
    latencies: dict[float, ev.Latencies] = field(default_factory=dict)
    rollout: str = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.rollout = self.armed.rollout.name
        self.name = self.rule.name if self.rule is not None else f"{SPLIT} {_side(self.spec.key)}"


def _side(key: object) -> object:
    return key[1] if isinstance(key, tuple) else key
