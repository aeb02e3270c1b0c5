"""Evidence: anytime-valid judgement of counts, for every bound of every rule.

Read in this order: `bounds` (every rule is a set of half planes), `evariables` (one tick's evidence),
`dispersion` (bursts), `detector` (evidence over time), `starts` (what the flag's history means for evidence),
`quantiles` (histograms as counts), `traffic_split` (does traffic follow the flag), `offset` (stage `aa`),
`stored` (evidence as JSON).

Nothing here reads a clock or keeps state between calls.
"""

from __future__ import annotations

from killswitch.verdicts.evidence.detector import (
    ALTERNATIVES,
    DetectorSpec,
    Evidence,
    Trace,
    advance,
    combine,
    select,
    start,
    warm_up,
)
from killswitch.verdicts.evidence.evariables import TickCounts, information
from killswitch.verdicts.evidence.offset import Offset, measure_offset
from killswitch.verdicts.evidence.quantiles import push, quantile_of, slow_counts, slower_than, tau_before, tau_next
from killswitch.verdicts.evidence.starts import (
    UNKNOWN_LATENCIES,
    HeadStart,
    Latencies,
    Unsettled,
    head_starts,
    head_starts_at,
    paused_at,
    renewed_at,
    renews,
    settled,
    shadow_turned_at,
    unsettled_at,
)
from killswitch.verdicts.evidence.stored import from_document, to_document
from killswitch.verdicts.evidence.tested_limits import Bound, Edge, HalfPlane, against_baseline, bounds_of
from killswitch.verdicts.evidence.traffic_split import split_counts, split_rules

__all__ = [
    "ALTERNATIVES",
    "UNKNOWN_LATENCIES",
    "Bound",
    "DetectorSpec",
    "Edge",
    "Evidence",
    "HalfPlane",
    "HeadStart",
    "Latencies",
    "Offset",
    "TickCounts",
    "Trace",
    "Unsettled",
    "advance",
    "against_baseline",
    "bounds_of",
    "combine",
    "from_document",
    "head_starts",
    "head_starts_at",
    "information",
    "measure_offset",
    "paused_at",
    "push",
    "quantile_of",
    "renewed_at",
    "renews",
    "select",
    "settled",
    "shadow_turned_at",
    "slow_counts",
    "slower_than",
    "split_counts",
    "split_rules",
    "start",
    "tau_before",
    "tau_next",
    "to_document",
    "unsettled_at",
    "warm_up",
]
