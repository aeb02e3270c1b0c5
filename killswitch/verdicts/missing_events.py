"""An absent counter of events: none so far, or counted where nobody looks?

Clients write a counter at its first event, so an absent one is zero at first. The longer it stays away while
control has events, the less can that be luck: then the canary's events are counted without its labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.model import Counts, Measurement, Reading, Reason, Rule, Unreadable
from killswitch.wording import count_in_words

# A canary that fails as often as control has none of so many once in 1e13, a ten times better one once in twenty.
MOST_DUE = 30.0
# feedback of the first requests is still to come
_DELAYS = 3.0
# An incident of control's own is none of the canary's: a step counts at so many times control's usual share at most.
_MOST_AT_ONCE = 3.0
_FADING = 0.95  # of what is usual, a step
# a share taken for the limit of rules that compare with control alone
_UNKNOWN_LIMIT = 0.01


@dataclass(slots=True)
class MissingEvents:
    """One rule's. ``due``: events that the canary would have had at control's share while its counter was absent.

    ``usual``: control's share so far, negative before the first step.
    """

    due: float = 0.0
    usual: float = -1.0

    def after(self, rule: Rule, reading: Reading, age: float) -> Unreadable | None:
        """Take in what was read ``age`` seconds after arming; why nothing can be said, once too much was due.

        The zero is evidence all the same: no tick is ever left out for its outcome.
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
        """Control's share in this step, without most of a sudden rise; 0 without requests."""
        if not isinstance(control, Counts) or not control.trials > 0:
            return 0.0
        share = min(control.events / control.trials, 1.0)
        if self.usual >= 0:
            share = min(share, _MOST_AT_ONCE * self.usual)
        # never nothing: half an event more, or what was not seen at first could not become usual
        seen = (share * control.trials + 0.5) / (control.trials + 1.0)
        self.usual = seen if self.usual < 0 else _FADING * self.usual + (1.0 - _FADING) * seen
        return share


def never_counted(rule: Rule, events: float, trials: float) -> str | None:
    """Why a rule that never had an event may be counting none; None where it had one, or had few requests.

    ``events`` of ``trials`` are both cohorts' together. An instrumentation that times successes alone looks like a
    service without failures, and its rule protects nobody. Zero is remarkable where a tenth of the limit would have
    given an event with a probability of 95 % (the rule of three: trials x share >= 3).
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
