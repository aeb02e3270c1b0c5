"""What a rule file says about alerts of other systems: which are about the rollout, and what one of them does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LABEL = "killswitch_rollout"  # the label that names a rollout, where a rule file says nothing else


class AlertAction(StrEnum):
    """What an alert does: no step up until a person resumes, or all traffic to control."""

    HOLD = "hold"
    TRIP = "trip"


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """``match``: by label, the values that an alert about the rollout may have.

    ``looks_back``: how many seconds of requests the alert's expression looks at. An alert that begins sooner than this
    after the arming may be about requests before it, so it holds and does not trip.
    """

    action: AlertAction
    match: Mapping[str, tuple[str, ...]]
    looks_back: float = 0.0

    def about(self, rollout: str, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels is about ``rollout``; never if its label names another one."""
        if labels.get(LABEL, rollout) != rollout:
            return False
        return all(labels.get(label) in values for label, values in self.match.items())
