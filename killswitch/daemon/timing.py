"""How long a cycle and its parts may take, as the settings say."""

from __future__ import annotations

from killswitch.controller.controller import Timing
from killswitch.daemon.settings import Settings


def timing_of(settings: Settings) -> Timing:
    return Timing(
        interval=settings.interval,
        step=settings.step,
        lag=settings.lag,
        cycle_deadline=settings.cycle_deadline,
        max_evidence_age=settings.max_evidence_age,
        session_ttl=settings.session_ttl,
        store_patience=min(15.0, settings.interval),
    )
