"""The metric source at the pace at which it really scrapes, measured once at start."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from killswitch.daemon.settings import Settings, load_settings
from killswitch.daemon.wiring import build_source
from killswitch.deadline import Deadline
from killswitch.errors import BadSettings
from killswitch.model import Rollout
from killswitch.sources import Source
from killswitch.sources.scrape_interval import consequence, measured_now

log = logging.getLogger(__name__)
MEASURE_WITHIN = 5.0  # seconds


def source_at_its_pace(settings: Settings, rollouts: Sequence[Rollout]) -> tuple[Source, Settings]:
    """The metric source, and the settings with the scrape interval it really has.

    A scrape interval that was set is kept, with a warning where it is wrong. Without an answer the default is used.
    """
    source = build_source(settings)
    measured = measured_now(source, rollouts, Deadline(MEASURE_WITHIN))
    if measured is None or abs(measured - settings.scrape_interval) < 0.05 * measured:
        return source, settings
    if "scrape_interval" in settings.model_fields_set:
        log.warning(
            "scrapes arrive every %g s, and scrape_interval is %g s: %s; fix `scrape_interval`",
            measured, settings.scrape_interval, consequence(measured, settings.scrape_interval),
        )  # fmt: skip
        return source, settings
    try:
        actual = load_settings(**{**settings.model_dump(), "scrape_interval": measured})
    except BadSettings as error:
        source.close()
        raise BadSettings([f"scrapes are {measured:g} s apart: {problem}" for problem in error.problems]) from error
    log.info("scrapes are %g s apart; evidence is gathered every %g s", measured, actual.step)
    source.close()
    return build_source(actual), actual
