"""One contract for every source: the same series give the same readings. A real Prometheus is the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Matcher,
    Measurement,
    QuantileSignal,
    Range,
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources import Source
from killswitch.sources.asks import evidence_step
from killswitch.sources.opening import open_source
from tests.integration.sources.contract_series import (
    CHANGES,
    INTERVALS,
    LAYOUTS,
    MINUTES,
    START,
    Points,
    cases,
    counter,
    recording,
    true_share,
)
from tests.servers.prometheus import PrometheusServer, keep_as_scraped

SOURCES = ("prometheus", "scrape", "recording")
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    text = recording()
    (folder / "recording.om").write_text(text)
    keep_as_scraped(text, folder / "samples.sqlite")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PrometheusServer]:
    with PrometheusServer(folder / "prometheus", history=(folder / "recording.om").read_text()) as server:
        yield server


def opened(name: str, interval: int, folder: Path, server: PrometheusServer) -> Source:
    match name:
        case "prometheus":
            return open_source(f"prometheus+{server.url}", scrape_interval=interval)
        case "recording":
            return open_source(f"recording://{folder / 'recording.om'}", scrape_interval=interval)
        case _:
            # nobody listens there: it lives on what was kept
            return open_source("scrape+http://127.0.0.1:9", scrape_interval=interval, samples=folder / "samples.sqlite")


def wants(interval: int, case: str) -> list[Want]:
    matchers = (Matcher("case", "=", case),)
    error_rate = RatioSignal(
        (Selector(f"errors_{interval}_total", matchers),), (Selector(f"requests_{interval}_total", matchers),)
    )
    alone = RatioSignal(
        (Selector(f"alone_{interval}_total", matchers),), (Selector(f"alone_{interval}_total", matchers),)
    )
    latency = QuantileSignal(Selector(f"latency_{interval}_bucket", matchers), 0.95, 0.001)
    ranges = [(Range.WINDOW, 300.0), (Range.WINDOW, 123.456), (Range.STEP, evidence_step(interval))]
    return [
        Want(case, rule, f"{kind}-{seconds}", signal, COHORTS, seconds, kind)
        for rule, signal in (("error_rate", error_rate), ("alone", alone), ("p95", latency))
        for kind, seconds in ranges
    ]


def steps(interval: int) -> list[float]:
    step = evidence_step(interval)
    return [START + step * at for at in range(1, int(MINUTES * 60 / step) + 2)]


def flat(measurement: Measurement) -> tuple[str, tuple[float, ...]]:
    match measurement:
        case Counts(events, trials):
            return "counts", (events, trials)
        case Buckets(bounds, counts):
            return "buckets", (*bounds, *counts)
        case Unreadable(reason):
            return reason.value, ()
        case _:
            raise AssertionError(measurement)


def apart_before_version_3(want: Want, tick: float, interval: float) -> float:
    """How far, relatively, Prometheus 2 may be from the other sources; 3 gives the same numbers.

    It extrapolates to a range that is a millisecond shorter (of a scrape at least), and before 2.51 it took a
    counter that began at zero in the window back by up to 1.1 scrapes where newer ones take half of one.
    """
    if want.range is Range.STEP:
        return 1e-9
    if want.rollout == "from-zero" and tick - want.seconds < START:
        return 0.6 * interval / max(interval, tick - START - 1.5 * interval)
    return 0.0011 / interval


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("name", ["scrape", "recording"])
def test_every_source_reads_what_prometheus_reads(
    name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    reference, other = (opened(each, interval, folder, server) for each in ("prometheus", name))
    ticks = steps(interval)
    for case in cases(interval):
        wanted = wants(interval, case)
        expected = reference.read_back(wanted, ticks, Deadline(60))
        found = other.read_back(wanted, ticks, Deadline(60))
        for tick in ticks:
            for want in wanted:
                for cohort in ("canary", "control"):
                    one = flat(getattr(expected[tick][want.key], cohort))
                    two = flat(getattr(found[tick][want.key], cohort))
                    where = f"{want.key} {cohort} at START + {tick - START:g}"
                    assert one[0] == two[0], (where, one, two)
                    rel = 1e-9 if server.left_open else apart_before_version_3(want, tick, interval)
                    assert one[1] == pytest.approx(two[1], rel=rel), where
    reference.close()
    other.close()


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(
    "case", ["aligned", "just-after", "just-before", "half-way", "burst", "late", "missing", "jitter", "from-zero"]
)
def test_each_count_is_in_one_step_whatever_scrapes_are_missed(
    case: str, name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    """Every count is in exactly one step, whichever scrapes are late or missed."""
    source = opened(name, interval, folder, server)
    points = cases(interval)[case]
    want = next(each for each in wants(interval, case) if each.rule == "alone" and each.range is Range.STEP)
    ticks = [tick for tick in steps(interval)[2:] if tick < points[-1][0]]
    found = source.read_back([want], ticks, Deadline(60))
    source.close()
    counted = [found[tick][want.key].canary for tick in ticks]
    for tick, one in zip(ticks, counted, strict=True):
        if isinstance(one, Counts):
            assert one.trials == pytest.approx(newest(points, tick) - newest(points, tick - want.seconds), rel=1e-9)
        else:  # nothing new was scraped: what was counted meanwhile is in the next step
            assert isinstance(one, Unreadable)
            assert (case, one.reason in {Reason.GAP, Reason.STALE}) == ("missing", True)
            assert newest(points, tick) == newest(points, tick - want.seconds)
    total = sum(one.trials for one in counted if isinstance(one, Counts))
    assert total == pytest.approx(newest(points, ticks[-1]) - newest(points, ticks[0] - want.seconds), rel=1e-9)


def newest(points: Points, until: float) -> float:
    """The newest value at or before ``until``."""
    return next(value for stamp, value in reversed(points) if stamp <= until)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("interval", INTERVALS)
def test_a_counter_that_begins_again_counts_from_zero(
    name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    source = opened(name, interval, folder, server)
    want = next(each for each in wants(interval, "reset") if each.rule == "alone" and each.range is Range.STEP)
    points = cases(interval)["reset"]
    ticks = [tick for tick in steps(interval)[2:] if tick < points[-1][0]]
    found = source.read_back([want], ticks, Deadline(60))
    source.close()
    falls = 0
    for tick in ticks:
        outcome, old, new = found[tick][want.key].canary, newest(points, tick - want.seconds), newest(points, tick)
        assert isinstance(outcome, Counts)
        assert outcome.trials == pytest.approx(new - old if new >= old else new, rel=1e-9)
        falls += new < old
    assert falls == 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_cohort_that_ends_is_stale_and_then_gone(name: str, folder: Path, server: PrometheusServer) -> None:
    source = opened(name, 15, folder, server)
    want = next(each for each in wants(15, "ends") if each.rule == "alone" and each.part == "window-300.0")
    last = cases(15)["ends"][-1][0]
    ticks = [last + after for after in (10, 29.999, 30, 200, 299.999, 300)]
    found = [source.read([want], tick, Deadline(60))[want.key].canary for tick in ticks]
    source.close()
    assert [each.reason if isinstance(each, Unreadable) else None for each in found] == [
        None,
        None,
        Reason.STALE,
        Reason.STALE,
        Reason.STALE,
        Reason.NO_DATA,
    ]


@pytest.mark.parametrize("name", SOURCES)
def test_one_read_and_the_same_read_back_agree(name: str, folder: Path, server: PrometheusServer) -> None:
    source = opened(name, 15, folder, server)
    wanted = wants(15, "reset")
    ticks: Sequence[float] = steps(15)[5:30]
    back = source.read_back(wanted, ticks, Deadline(60))
    for tick in ticks:
        assert source.read(wanted, tick, Deadline(60)) == back[tick]
    source.close()


@pytest.mark.parametrize("name", SOURCES)
def test_a_misspelled_counter_is_never_seen_a_silent_one_zero(
    name: str, folder: Path, server: PrometheusServer
) -> None:
    """A misspelled counter is NEVER_SEEN. A counter without events is zero."""
    source = opened(name, 15, folder, server)
    trials = (Selector("requests_15_total", (Matcher("case", "=", "half-way"),)),)

    def read(metric: str, *, absent_is_zero: bool = False) -> tuple[Measurement, Measurement]:
        signal = RatioSignal((Selector(metric, (Matcher("case", "=", "half-way"),)),), trials)
        want = Want("r", metric, "window", signal, COHORTS, 300.0, Range.WINDOW, absent_is_zero)
        reading = source.read([want], START + 900, Deadline(60))[want.key]
        return reading.canary, reading.control

    for each in read("misspelled_total"):
        assert isinstance(each, Unreadable)
        assert each.reason is Reason.NEVER_SEEN
    canary, control = read("errors_15_total")  # of the canary alone
    assert isinstance(canary, Counts)
    assert canary.events > 0
    assert isinstance(control, Counts)
    assert control.events == 0
    assert all(isinstance(each, Counts) and each.events == 0 for each in read("misspelled_total", absent_is_zero=True))
    source.close()


@pytest.mark.parametrize("name", SOURCES)
def test_pods_with_different_buckets_count_by_shared_edges_only(
    name: str, folder: Path, server: PrometheusServer
) -> None:
    """If pods have different buckets, only the edges that all pods share count."""
    source = opened(name, 15, folder, server)
    wanted = [
        Want(case, "p95", kind, QuantileSignal(selector, 0.95, 0.001), COHORTS, seconds, kind)
        for case in LAYOUTS
        for selector in [Selector("mixed_bucket", (Matcher("case", "=", case),))]
        for kind, seconds in ((Range.WINDOW, 300.0), (Range.STEP, 30.0))
    ]
    pods = [counter(15, 2.5, pod) for pod in (0, 1)]
    for tick in steps(15)[12:30]:
        found = source.read(wanted, tick, Deadline(60))
        assert source.read_back(wanted, [tick - 30, tick], Deadline(60))[tick] == found
        for want in wanted:
            canary, control = found[want.key].canary, found[want.key].control
            assert isinstance(control, Buckets)
            if want.rollout == "none":
                assert isinstance(canary, Unreadable)
                assert canary.reason is Reason.GARBAGE
                assert "different buckets" in canary.detail
                continue
            assert isinstance(canary, Buckets)
            assert canary.bounds == pytest.approx((0.1, 1.0, float("inf")))
            assert control.bounds == pytest.approx((0.1, 0.25, 1.0, float("inf")))
            # every request counts below every edge that is left
            shares = [count / canary.counts[-1] for count in canary.counts]
            assert shares == pytest.approx([0.05, 0.5, 1.0], rel=1e-6)
            if want.range is Range.STEP:
                grown = sum(newest(points, tick) - newest(points, tick - 30) for points in pods)
                assert canary.counts[-1] == pytest.approx(grown)
    source.close()


@pytest.mark.parametrize("case", ["appears", "ends", "missing", "reset", "nowhere"])
@pytest.mark.parametrize("name", SOURCES)
def test_what_is_read_tick_by_tick_is_what_is_read_back(
    name: str, case: str, folder: Path, server: PrometheusServer
) -> None:
    """Though a source that is asked at each tick leaves out what it knows from the ticks before."""
    source = opened(name, 15, folder, server)
    # that a counter is known is found out a tick sooner when it is asked tick by tick
    wanted = [want for want in wants(15, case) if case != "appears" or want.rule != "error_rate"]
    ticks = steps(15)
    found = source.read_back(wanted, ticks, Deadline(60))
    # a tick left out, as where a cycle was missed
    for tick in ticks[:10] + ticks[11:]:
        assert source.read(wanted, tick, Deadline(60)) == found[tick], tick - START
    source.close()


@pytest.mark.parametrize(("first", "missed"), CHANGES)
@pytest.mark.parametrize("case", ["respelt", "redeployed"])
@pytest.mark.parametrize("name", SOURCES)
def test_an_edge_that_was_not_there_all_the_time_is_not_used(
    name: str, case: str, first: int, missed: int, folder: Path, server: PrometheusServer
) -> None:
    """No request may look slow because the bucket it was counted in has come, gone, or got another spelling."""
    source = opened(name, 15, folder, server)
    selector = Selector("changed_bucket", (Matcher("case", "=", f"{case}-{first}-{missed}"),))
    signal = QuantileSignal(selector, 0.95, 0.001)
    wanted = [
        Want(case, "p95", kind, signal, COHORTS, seconds, kind)
        for kind, seconds in ((Range.WINDOW, 300.0), (Range.STEP, 30.0))
    ]
    ticks = steps(15)[5:35]
    found = source.read_back(wanted, ticks, Deadline(60))
    assert {tick: source.read(wanted, tick, Deadline(60)) for tick in ticks} == found
    source.close()
    for want in wanted:
        unread = 0
        for tick in ticks:
            canary = found[tick][want.key].canary
            if isinstance(canary, Unreadable):
                unread += 1
                continue
            assert isinstance(canary, Buckets)
            shares = [count / canary.counts[-1] for count in canary.counts]
            expected = [true_share(bound * 1000) for bound in canary.bounds]
            assert shares == pytest.approx(expected, rel=1e-6), (want.range, tick - START)
        assert unread <= missed // 2  # a step without a scrape
        last = found[ticks[-1]][want.key].canary
        assert isinstance(last, Buckets)
        assert len(last.bounds) == (4 if case == "respelt" else 3)


@pytest.mark.parametrize("kind", list(Range))
@pytest.mark.parametrize("name", SOURCES)
def test_events_without_the_canarys_label_are_not_zero_events(
    name: str, kind: Range, folder: Path, server: PrometheusServer
) -> None:
    """Events that are counted without the canary's label are told apart from no events."""
    source = opened(name, 15, folder, server)
    matchers = (Matcher("case", "=", "half-way"),)
    # errors_15_total has series of one cohort alone: here it is control's
    swapped = {Cohort.CONTROL: COHORTS[Cohort.CANARY], Cohort.CANARY: COHORTS[Cohort.CONTROL]}
    signal = RatioSignal((Selector("errors_15_total", matchers),), (Selector("requests_15_total", matchers),))
    want = Want("r", "e", "w", signal, swapped, 600.0, kind)
    reading = source.read([want], START + 900, Deadline(60))[want.key]
    assert isinstance(reading.canary, Counts)
    assert isinstance(reading.control, Counts)
    assert (reading.canary.events, reading.canary.absent) == (0.0, True)
    assert reading.control.events > 0
    assert not reading.control.absent
    source.close()
