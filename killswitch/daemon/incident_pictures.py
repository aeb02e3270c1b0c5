"""Pictures for pages: both cohorts around a trip, drawn from what is kept next to the incident."""

from __future__ import annotations

import logging

from killswitch.charts.chart import Chart, description
from killswitch.charts.png import png
from killswitch.flags.incident import from_document as incident_from_document
from killswitch.pages.page import Page
from killswitch.pages.picture import Picture, Pictures
from killswitch.stores import Store, keys
from killswitch.trends.drawing import charts_of_trip
from killswitch.trends.stored import trend_around
from killswitch.wording import plain

_log = logging.getLogger(__name__)
_MAX_ALT = 1000  # characters, as Slack has it


def incident_pictures(store: Store) -> Pictures:
    """Makes the picture of an incident's page, once its trend is kept; None before that, or where no line has a value.

    What it returns raises BadDocument, and what reading the store raises.
    """

    def picture(page: Page) -> Picture | None:
        item = store.get(keys.incident(page.rollout, page.generation))
        trend = trend_around(store, page.rollout, page.generation) if item is not None else None
        if item is None or trend is None:
            return None
        charts = charts_of_trip(trend, incident_from_document(item.value, rollout=page.rollout))
        drawn = tuple(chart for chart in charts if not chart.empty)
        return _drawn(page, drawn) if drawn else None

    return picture


def _drawn(page: Page, charts: tuple[Chart, ...]) -> Picture | None:
    try:
        content = png(*charts)
    except ImportError:
        _log.info("page %s has no picture: Pillow is not installed (extra `daemon`)", page.id)
        return None
    rules = ", ".join(plain(chart.title, 60) for chart in charts)
    alt = " ".join(f"{plain(chart.title, 60)}: {description(chart)}" for chart in charts)
    return Picture(content, f"{page.rollout}: {rules} around the trip", plain(alt, _MAX_ALT))
