"""Checks of the metric source: its clock, the scrape interval, and counters that fall or begin late."""

from __future__ import annotations

from collections.abc import Iterator

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.model import Decide, RatioSignal, Reason, Rollout, Unreadable
from killswitch.preflight.checks import PATIENCE, Check, Setup, Status
from killswitch.sources.scrape_interval import consequence, rounded, trial_selectors
from killswitch.wording import duration_in_words

_SKEW, _BAD_SKEW = 5.0, 60.0
_BORN_LATE = 0.05


def no_source(error: KillswitchError) -> Check:
    return Check(
        "metric source",
        Status.WRONG,
        str(error),
        "start it, or correct --source (KILLSWITCH_SOURCE) and its credentials",
    )


def examine_clock(wall: float | None, now: float) -> Iterator[Check]:
    if wall is None:
        yield Check("metric source", Status.OK, "a recording")
        return
    skew = now - wall
    if abs(skew) <= _SKEW:
        yield Check("metric source", Status.OK, f"answers; its clock and this machine's differ by {abs(skew):.1f} s")
        return
    status = Status.WRONG if abs(skew) > _BAD_SKEW else Status.WARNING
    side = "ahead of" if skew > 0 else "behind"
    fix = "run NTP on both"
    if skew < 0:
        fix += "; on VictoriaMetrics, set -search.latencyOffset=1s (by default it answers as of 30 s ago)"
    yield Check("metric source", status, f"its clock is {duration_in_words(abs(skew))} {side} this machine's", fix)


def examine_scrape_interval(setup: Setup, rollout: Rollout) -> Iterator[Check]:
    if setup.measure is None:
        return
    for selector in dict.fromkeys(trial_selectors(rollout)):
        found = setup.measure(selector, setup.terms.until, Deadline(PATIENCE))
        if isinstance(found, Unreadable) and found.reason is not Reason.NO_DATA and setup.labels is not None:
            # so many series that their samples are no answer: one series says it too
            found = setup.labels.typical_interval(selector, setup.terms.until, Deadline(PATIENCE))
        if isinstance(found, Unreadable):
            continue
        words = f"{selector.metric} is scraped every {found:.3g} s"
        if abs(found - setup.scrape_interval) <= 0.05 * setup.scrape_interval:
            yield Check(rollout.name, Status.OK, words)
        else:
            yield Check(
                rollout.name,
                Status.WRONG if found > setup.scrape_interval else Status.WARNING,
                f"{words}, but scrape_interval is {setup.scrape_interval:g} s: "
                f"{consequence(found, setup.scrape_interval)}",
                f"set scrape_interval: {duration_in_words(rounded(found)).replace(' ', '')}",
            )
        return


def examine_counters(setup: Setup, rollout: Rollout) -> Iterator[Check]:
    """Do counters fall without a restart? Are events lost in series that begin with their first event?"""
    pairs = dict.fromkeys(
        (rule.signal.events[0], rule.signal.trials[0]) for rule in rollout.rules if isinstance(rule.signal, RatioSignal)
    )
    told: set[str] = set()
    for events, trials in pairs if setup.counters is not None else ():
        assert setup.counters is not None
        found = setup.counters(events, trials, setup.terms.until, Deadline(PATIENCE))
        if isinstance(found, Unreadable):
            continue
        for process, times in found.falls:
            words = f"{trials.metric} fell {times} times within an hour without a restart: {process}"
            if words not in told:
                told.add(words)
                fix = (
                    "if several workers answer /metrics in turn, set PROMETHEUS_MULTIPROC_DIR or scrape each one; if "
                    "two jobs or servers send the same series, give each its own labels"
                )
                yield Check(rollout.name, Status.WRONG, words, fix)
        share = found.born / (found.events + found.born) if found.events + found.born > 0 else 0.0
        if share > _BORN_LATE:
            where = "`decide: threshold` loses" if rollout.decide is Decide.THRESHOLD else "a plain increase() loses"
            yield Check(
                rollout.name,
                Status.WARNING,
                f"{share:.0%} of {events.metric} are in first samples of series that began after their process: {where}"
                " them; evidence counts them if the process was scraped before",
                "create each series when the process starts, such as counter.labels(outcome='error')",
            )
