"""Tells an event counter that is absent because there was no event from one that lacks the canary's labels.

Clients create a counter at its first event, so an absent counter means zero at first. The longer it is absent while
control has events, the less likely this is luck. Then the canary's events are probably counted without its labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.model import Counts, Measurement, Reading, Reason, Rule, Unreadable
from killswitch.wording import count_in_words

# Expected events after which an absent counter is reported. A canary that fails as often as control has none of 30
# expected events once in 1e13 (exp(-30)); a canary ten times better has none once in twenty.
MOST_DUE = 30.0
# After arming, wait this many feedback delays: the feedback on the first requests has not arrived yet.
_DELAYS = 3.0
# An incident in control alone says nothing about the canary: a step counts with at most this many times control's
# usual share.
_MOST_AT_ONCE = 3.0
_FADING = 0.95  # factor on the old usual share, per step
# the share assumed as limit for rules that only compare with control
_UNKNOWN_LIMIT = 0.01


@dataclass(slots=True)
class MissingEvents:
    """One rule's count of missing events.

    ``due``: how many events the canary would have had at control's share while its counter was absent.
    ``usual``: control's share so far, negative before the first step.
    """

    due: float = 0.0
    usual: float = -1.0

    def after(self, rule: Rule, reading: Reading, age: float) -> Unreadable | None:
        """Add the reading made ``age`` seconds after arming; the problem once more than `MOST_DUE` events are due.

        The zero still counts as evidence: a tick is never left out because of its outcome.
        """
        canary, control = reading.canary, reading.control
        share = self._share_of(control)
        if isinstance(canary, Counts) and not canary.absent:
            self.due = 0.0
        elif rule.absent_is_zero or age <= _DELAYS * rule.delay:
            return None
        elif isinstance(canary, Counts):
            self.due += share * canary.trials
        if self.due <= MOST_DUE:
            return None
        return Unreadable(
            Reason.NEVER_SEEN,
            f"canary: no such counter though control has one; at control's share {self.due:.0f} events were due: "
            "does it carry the canary's labels? If it is rightly absent, say absent_is_zero: true",
        )

    def _share_of(self, control: Measurement) -> float:
        """Control's share in this step, limited to 3 times the usual share; 0 without requests."""
        if not isinstance(control, Counts) or not control.trials > 0:
            return 0.0
        share = min(control.events / control.trials, 1.0)
        if self.usual >= 0:
            share = min(share, _MOST_AT_ONCE * self.usual)
        # Half an event is added so that the share is never 0: 3 times a usual share of 0 would stay 0 forever.
        seen = (share * control.trials + 0.5) / (control.trials + 1.0)
        self.usual = seen if self.usual < 0 else _FADING * self.usual + (1.0 - _FADING) * seen
        return share


def never_counted(rule: Rule, events: float, trials: float) -> str | None:
    """Why a rule that never had an event may not count its events at all; None if it had one, or had few requests.

    ``events`` and ``trials`` are the sums of both cohorts. Instrumentation that records only successes looks like a
    service without failures, and its rule protects no one. Zero events are suspicious if a tenth of the limit would
    have given an event with a probability of 95 % (the rule of three: trials x share >= 3).
    """
    limits = rule.limits
    share = min(
        (bound for bound in (limits.maximum, limits.max_increase, limits.floor) if bound), default=_UNKNOWN_LIMIT
    )
    if events > 0 or trials * share / 10.0 < 3.0:
        return None
    return (
        f"never an event in {count_in_words(trials)} requests of both cohorts: does the service count what"
        f" {rule.name} looks for, or are such requests left out of its metrics?"
    )
