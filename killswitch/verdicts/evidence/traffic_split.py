"""Tests whether traffic follows the flag: the same sequential test, on the canary's share of requests.

Routers should send the flag's percent of requests to the canary. If the share is outside 0.3 to 3 times that (for
example no requests at all), a router ignores the flag or the labels are wrong. Uneven users alone move the share by
tens of percent, so smaller deviations are not tested.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from killswitch.verdicts.evidence.detector import DetectorSpec
from killswitch.verdicts.evidence.evariables import Array, TickCounts
from killswitch.verdicts.evidence.tested_limits import Bound, half_plane

LEAST, MOST = 0.3, 3.0


def split_rules(key: Hashable, canary_percent: float, alpha: float) -> tuple[DetectorSpec, DetectorSpec]:
    """Two rules, (key, "too_little") and (key, "too_much"), that share ``alpha``. Start them again with each stage.

    Their counts come from `split_counts`. At a third and above, "too much" can never breach.
    """
    share = canary_percent / 100.0
    too_little = Bound("too_little", half_plane(0.0, 1.0 - LEAST * share))
    too_much = Bound("too_much", half_plane(0.0, min(MOST * share, 1.0)))
    return (
        DetectorSpec((key, "too_little"), (too_little,), alpha / 2, stands=True),
        DetectorSpec((key, "too_much"), (too_much,), alpha / 2, stands=True),
    )


def split_counts(canary_trials: Array, control_trials: Array) -> TickCounts:
    """The trials (T,) of both cohorts as counts (T, 2) for the two rules.

    "Too little" counts control's requests as events, "too much" the canary's. The series is also its own past: its
    dispersion measures the effect of uneven users and jittering traffic.
    """
    total = canary_trials + control_trials
    events = np.stack([control_trials, canary_trials], axis=-1)
    trials = np.stack([total, total], axis=-1)
    return TickCounts(events, trials, events, trials)
