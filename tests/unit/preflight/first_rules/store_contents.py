"""What a metric store holds, for the look before there are rules: recorded pages, or counters that grow evenly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from killswitch.sources.recording import SampledHistory
from killswitch.sources.samples import SampleSeries
from killswitch.sources.scrape.exposition import series_of
from tests.doubles.expositions import START, STEP, source_of

FOLDER = Path(__file__).parents[2] / "rules" / "expositions"
RECORDED_AT = START + STEP
NOW = 1_700_000_000.0


def recorded(preset: str) -> SampledHistory:
    """The pages of the real server, before and after known requests."""
    if preset == "vllm":
        before, after = (
            {cohort: (FOLDER / f"vllm.{cohort}.{when}.prom").read_text() for cohort in ("control", "canary")}
            for when in ("before", "after")
        )
    else:
        before, after = ({"server": (FOLDER / f"{preset}.{when}.prom").read_text()} for when in ("before", "after"))
    return source_of(before, after)


def growing(an_hour: Mapping[str, float], *, hours: float = 2.0, interval: float = 15.0) -> SampledHistory:
    """Counters, ``name{label="value"}``, that grow evenly by so much an hour until `NOW`."""
    stamps = np.arange(NOW - hours * 3600 + interval, NOW + 1, interval)
    by_metric: dict[str, list[SampleSeries]] = {}
    for text, growth in an_hour.items():
        metric, labels = series_of(text)
        values = np.floor((stamps - stamps[0]) / 3600 * growth)
        by_metric.setdefault(metric, []).append(SampleSeries(labels, np.rint(stamps * 1000).astype(np.int64), values))
    return SampledHistory(by_metric, scrape_interval=interval)
