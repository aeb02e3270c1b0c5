"""Metrics pages of servers as a source reads them: what a rule counts between a page and the next."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.controller.live_tokens import Billed, read_steps
from killswitch.deadline import Deadline
from killswitch.model import Cohort, Counts, Range, Reading, Rollout, Want
from killswitch.sources.recording import SampledHistory
from killswitch.sources.scrape.exposition import samples_of, series_of
from killswitch.sources.scrape.sample_history import SampleHistory

INTERVAL = 15.0  # seconds
STEP = 30.0
START = 1_700_000_010.0  # on the grid of both
Pages = Mapping[str, str]  # of each instance
BilledTokens = Mapping[Cohort, Mapping[str, float] | None]


def source_of(before: Pages, after: Pages, *, job: str = "server") -> SampledHistory:
    """What a source knows at ``START + STEP``, a step after the pages ``before``."""
    history = SampleHistory()
    metrics = set()
    for at, pages in enumerate((before, before, before, after, after)):
        stamp = round((START + (at - 2.5) * INTERVAL) * 1000)
        for instance, page in pages.items():
            samples = [(*series_of(series), value) for series, value in samples_of(page)]
            metrics |= {metric for metric, _, _ in samples}
            target = {"job": job, "instance": instance}
            history.add(stamp, [(metric, {**target, **labels}, value) for metric, labels, value in samples])
    by_metric = {metric: list(history.load(metric, 0, round((START + STEP) * 1000))) for metric in metrics}
    history.close()
    return SampledHistory(by_metric, scrape_interval=INTERVAL)


def read_between(before: Pages, after: Pages, rollout: Rollout, rule: str) -> Reading:
    """What ``rule`` reads in the step in which the pages ``before`` became those ``after``."""
    (found,) = (each for each in rollout.rules if each.name == rule)
    want = Want(
        rollout.name, rule, "step", found.signal, rollout.cohorts_of(found), STEP, Range.STEP, absent_is_zero=True
    )
    return source_of(before, after).read([want], START + STEP, Deadline(5))[want.key]


def billed_between(before: Pages, after: Pages, rollout: Rollout, *, job: str = "server") -> BilledTokens:
    """The tokens of each cohort in that step, without the kinds of which there were none; None: not known."""
    source = source_of(before, after, job=job)
    asked = Billed(rollout, {Cohort.CONTROL: rollout.control, Cohort.CANARY: rollout.canary})
    found = read_steps(source, [asked], [START + STEP], STEP, Deadline(5))[rollout.name]
    return {
        cohort: None if one.tokens is None else {str(kind): count for kind, count in one.tokens.items() if count}
        for cohort, (one,) in found.items()
    }


def counted(before: Pages, after: Pages, rollout: Rollout, rule: str = "error_rate") -> dict[str, tuple[float, float]]:
    """Events and trials of each cohort; fails where one cannot be read."""
    reading = read_between(before, after, rollout, rule)
    counts = {}
    for cohort, side in (("control", reading.control), ("canary", reading.canary)):
        assert isinstance(side, Counts), side
        counts[cohort] = (side.events, side.trials)
    return counts
