"""Which column of a table of requests each counter of our SDK counts. Pure.

Rule files ask for counters by name. So the same file works with Prometheus and with a table of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from killswitch.model import Reason, Selector, Unreadable
from killswitch.sources.rows.request_table import RequestTable

LABELS: Final = ("rollout", "cohort", "model", "outcome")
"""The labels of the counters; each is a column."""


class CountedColumn(StrEnum):
    """What is counted of each row."""

    REQUESTS = "requests"
    REFUSED = "refused"
    THUMBS_DOWN = "thumbs_down"
    LATENCY = "latency_ms"


@dataclass(frozen=True, slots=True)
class VirtualCounter:
    """``judged``: only a user's first request in each five minutes counts."""

    counted: CountedColumn
    judged: bool


_PLAIN: Final = {
    "requests_total": CountedColumn.REQUESTS,
    "refusals_total": CountedColumn.REFUSED,
    "thumbs_down_total": CountedColumn.THUMBS_DOWN,
    "latency_ms_bucket": CountedColumn.LATENCY,
}
COUNTERS: Final[Mapping[str, VirtualCounter]] = {
    f"{prefix}{name}": VirtualCounter(counted, prefix == "llm_judged_")
    for prefix in ("llm_", "llm_judged_")
    for name, counted in _PLAIN.items()
}


def counter_of(selector: Selector, table: RequestTable) -> VirtualCounter | Unreadable:
    """What the selector counts; or why this table cannot say."""
    counter = COUNTERS.get(selector.metric)
    if counter is None:
        known = ", ".join(COUNTERS)
        return Unreadable(
            Reason.NO_DATA, f"{selector.metric} is not counted from rows; use `metrics: cohort-labels` ({known})"
        )
    unknown = next((each.label for each in selector.matchers if each.label not in (*LABELS, "le")), None)
    if unknown is not None:
        return Unreadable(
            Reason.NO_DATA, f"rows have no label {unknown}; match by {', '.join(LABELS)}, or put it into `rollout`"
        )
    if counter.counted is not CountedColumn.REQUESTS and not getattr(table, counter.counted.value):
        return Unreadable(
            Reason.NO_DATA, f"the table has no column for {counter.counted}; name it in the table's settings"
        )
    if counter.judged and (not table.user or table.requests):
        # as with services that have no judged counters: the rule is judged on the plain one
        return Unreadable(Reason.NO_DATA, "the table has no users; name the column `user` in the table's settings")
    return counter
