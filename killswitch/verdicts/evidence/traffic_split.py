"""Is the traffic where the flag says? The same sequential test, on the canary's share of requests.

The flag's percent is what routers should send to the canary. When the share is outside 0.3x to 3x of
it (none at all, for one), a router ignores the flag or the labels are wrong. Uneven users alone move
the share by tens of percent, so smaller deviations are no more than a note.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from killswitch.verdicts.evidence.bounds import Bound, half_plane
from killswitch.verdicts.evidence.detector import DetectorSpec
from killswitch.verdicts.evidence.evariables import Array, TickCounts

LEAST, MOST = 0.3, 3.0


def split_rules(key: Hashable, canary_percent: float, alpha: float) -> tuple[DetectorSpec, DetectorSpec]:
    """Two rules, (key, "too_little") and (key, "too_much"), that share ``alpha``; start them anew with each stage.

    Their counts are `split_counts`. At a third and above, "too much" can never breach.
    """
    share = canary_percent / 100.0
    too_little = Bound("too_little", half_plane(0.0, 1.0 - LEAST * share))
    too_much = Bound("too_much", half_plane(0.0, min(MOST * share, 1.0)))
    return (
        DetectorSpec((key, "too_little"), (too_little,), alpha / 2, stands=True),
        DetectorSpec((key, "too_much"), (too_much,), alpha / 2, stands=True),
    )


def split_counts(canary_trials: Array, control_trials: Array) -> TickCounts:
    """(T,) trials of both cohorts as counts (T, 2) for the two rules.

    "Too little" counts control's requests as events, "too much" the canary's. The series is its own past:
    its dispersion is what uneven users and jittering traffic do to it.
    """
    total = canary_trials + control_trials
    events = np.stack([control_trials, canary_trials], axis=-1)
    trials = np.stack([total, total], axis=-1)
    return TickCounts(events, trials, events, trials)
