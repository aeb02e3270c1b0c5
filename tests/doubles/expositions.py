"""Metrics pages of servers as a source reads them: what a rule counts between a page and the next."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.deadline import Deadline
from killswitch.model import Counts, Range, Reading, Rollout, Want
from killswitch.sources.recording import SampledHistory
from killswitch.sources.scrape.exposition import samples_of, series_of
from killswitch.sources.scrape.sample_history import SampleHistory

INTERVAL = 15.0  # seconds
STEP = 30.0
START = 1_700_000_010.0  # on the grid of both
Pages = Mapping[str, str]  # of each instance


def read_between(before: Pages, after: Pages, rollout: Rollout, rule: str) -> Reading:
    """What ``rule`` reads in the step in which the pages ``before`` became those ``after``."""
    history = SampleHistory()
    metrics = set()
    for at, pages in enumerate((before, before, before, after, after)):
        stamp = round((START + (at - 2.5) * INTERVAL) * 1000)
        for instance, page in pages.items():
            samples = [(*series_of(series), value) for series, value in samples_of(page)]
            metrics |= {metric for metric, _, _ in samples}
            history.add(stamp, [(metric, {**labels, "instance": instance}, value) for metric, labels, value in samples])
    by_metric = {metric: list(history.load(metric, 0, round((START + STEP) * 1000))) for metric in metrics}
    history.close()
    (found,) = (each for each in rollout.rules if each.name == rule)
    want = Want(
        rollout.name, rule, "step", found.signal, rollout.cohorts_of(found), STEP, Range.STEP, absent_is_zero=True
    )
    source = SampledHistory(by_metric, scrape_interval=INTERVAL)
    return source.read([want], START + STEP, Deadline(5))[want.key]


def counted(before: Pages, after: Pages, rollout: Rollout, rule: str = "error_rate") -> dict[str, tuple[float, float]]:
    """Events and trials of each cohort; fails where one cannot be read."""
    reading = read_between(before, after, rollout, rule)
    counts = {}
    for cohort, side in (("control", reading.control), ("canary", reading.canary)):
        assert isinstance(side, Counts), side
        counts[cohort] = (side.events, side.trials)
    return counts
