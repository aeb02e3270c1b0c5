"""The trend around a trip, as the flag store keeps it next to the incident."""

from __future__ import annotations

from killswitch.stores import Store, keys
from killswitch.trends.document import from_document
from killswitch.trends.trend import Trend


def trend_around(store: Store, rollout: str, generation: int) -> Trend | None:
    """Both cohorts from an hour before the trip of this generation to about ten minutes after; None if not kept.

    Raises BadDocument, and what reading the store raises.
    """
    item = store.get(keys.incident_trend(rollout, generation))
    return None if item is None else from_document(item.value, rollout=rollout)
