"""One contract for every source: the same series give the same readings. A real Prometheus is the reference."""

from __future__ import annotations

import random
import time
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
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
)
from killswitch.sources import Range, Source, Want
from killswitch.sources.exposition import series_of
from killswitch.sources.plan import evidence_step
from killswitch.sources.sample_history import SampleHistory
from killswitch.sources.url import open_source
from tests.servers.prometheus import PrometheusServer, openmetrics

# on the grid of every step used here, and recent enough for `scrape`, which forgets after 25 hours
START = (time.time() // 3600 - 1) * 3600
MINUTES = 20
INTERVALS = (10, 15, 20, 30, 60)
SOURCES = ("prometheus", "scrape", "recording")
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}

Points = list[tuple[float, float]]


def counter(interval: float, phase: float, seed: int, *, mean: float = 20, already: float = 1_000_000) -> Points:
    """A counter that has been counting for long, scraped exactly every ``interval`` seconds."""
    luck, value, points = random.Random(seed), already, []
    for at in range(int(MINUTES * 60 / interval)):
        value += luck.randint(0, int(2 * mean))
        points.append((START + at * interval + phase, value))
    return points


def cases(interval: int) -> dict[str, Points]:
    def of(phase: float, seed: int = 1) -> Points:
        return counter(interval, phase, seed)

    half = interval / 2
    burst = [(stamp, value + (100 if at > 20 else 0)) for at, (stamp, value) in enumerate(of(0.0))]
    reset = [(stamp, value - (1_000_000 if at >= 17 else 0)) for at, (stamp, value) in enumerate(of(half))]
    late = [(stamp + (0.4 * interval if at == 14 else 0.0), value) for at, (stamp, value) in enumerate(of(0.1))]
    luck = random.Random(2)
    jitter = [(round(stamp + luck.uniform(-0.2, 0.2), 3), value) for stamp, value in of(half)]
    return {
        "aligned": of(0.0),
        "just-after": of(0.001),
        "just-before": of(interval - 0.001),
        "half-way": of(half),
        "burst": burst,
        "reset": reset,
        "late": late,
        "missing": [point for at, point in enumerate(of(half)) if at not in {11, 12}],
        "appears": of(half)[9:],
        "ends": of(half)[: -int(420 / interval)],
        "jitter": jitter,
        "from-zero": counter(interval, half, 3, already=0),
    }


def recording() -> str:
    series: dict[str, Points] = {}
    for interval in INTERVALS:
        for case, points in cases(interval).items():
            for cohort in Cohort:
                labels = f'case="{case}",cohort="{cohort}"'
                series[f'requests_{interval}_total{{{labels},instance="a"}}'] = points
                series[f'requests_{interval}_total{{{labels},instance="b"}}'] = counter(interval, 3.217, 9)
                for le, share in (("100", 0.25), ("250.0", 0.5), ("1000", 0.9), ("+Inf", 1.0)):
                    name = f'latency_{interval}_bucket{{{labels},instance="a",le="{le}"}}'
                    series[name] = [(stamp, share * value) for stamp, value in points]
            labels = f'case="{case}",cohort="canary",instance="a"'
            series[f"errors_{interval}_total{{{labels}}}"] = [(stamp, value // 10) for stamp, value in points]
            # of instance a alone, so that its own gaps show
            series[f"alone_{interval}_total{{{labels}}}"] = points
    return openmetrics(series)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    text = recording()
    (folder / "recording.om").write_text(text)
    history = SampleHistory(folder / "samples.sqlite")
    by_stamp: dict[int, list[tuple[str, dict[str, str], float]]] = {}
    for line in text.splitlines()[:-1]:
        series, value, stamp = line.rsplit(" ", 2)
        by_stamp.setdefault(round(float(stamp) * 1000), []).append((*series_of(series), float(value)))
    for milliseconds, samples in by_stamp.items():
        history.add(milliseconds, samples)
    history.close()
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


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("name", ["scrape", "recording"])
def test_every_source_reads_what_prometheus_reads(
    name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    # where Prometheus itself is not exact (a first step from zero; stamps that jitter) it is compared below
    exact = [case for case in cases(interval) if case not in {"from-zero", "jitter", "late", "appears"}]
    reference, other = (opened(each, interval, folder, server) for each in ("prometheus", name))
    ticks = steps(interval)
    for case in (*exact, "from-zero", "jitter", "late", "appears"):
        wanted = [want for want in wants(interval, case) if case in exact or want.range is Range.WINDOW]
        expected = reference.read_back(wanted, ticks, Deadline(60))
        found = other.read_back(wanted, ticks, Deadline(60))
        for tick in ticks:
            for want in wanted:
                for cohort in ("canary", "control"):
                    one = flat(getattr(expected[tick][want.key], cohort))
                    two = flat(getattr(found[tick][want.key], cohort))
                    where = f"{want.key} {cohort} at START + {tick - START:g}"
                    assert one[0] == two[0], (where, one, two)
                    assert one[1] == pytest.approx(two[1], rel=1e-9), where
    reference.close()
    other.close()


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("case", ["aligned", "just-after", "just-before", "half-way", "burst", "reset"])
def test_every_count_falls_into_exactly_one_step(
    case: str, name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    source = opened(name, interval, folder, server)
    points = cases(interval)[case]
    want = next(each for each in wants(interval, case) if each.rule == "alone" and each.range is Range.STEP)
    ticks = [tick for tick in steps(interval)[2:] if tick < points[-1][0]]
    found = source.read_back([want], ticks, Deadline(60))
    source.close()
    counted = [found[tick][want.key].canary for tick in ticks]
    by_hand = [grown(points, tick - want.seconds, tick) for tick in ticks]
    assert [each.trials for each in counted if isinstance(each, Counts)] == pytest.approx(by_hand, rel=1e-9)


def grown(points: Points, after: float, until: float) -> float:
    """Growth from the newest sample at or before ``after`` to the newest at or before ``until``."""
    inside = [value for stamp, value in points if stamp <= until]
    before = sum(1 for stamp, _ in points if stamp <= after)
    pairs = zip(inside[before - 1 :], inside[before:], strict=False)
    return sum(later - earlier if later >= earlier else later for earlier, later in pairs)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("interval", INTERVALS)
def test_a_missed_scrape_is_a_gap_and_never_a_doubled_count(
    name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    source = opened(name, interval, folder, server)
    want = next(each for each in wants(interval, "missing") if each.rule == "alone" and each.range is Range.STEP)
    ticks = steps(interval)[2:-2]
    found = source.read_back([want], ticks, Deadline(60))
    source.close()
    outcomes = [found[tick][want.key].canary for tick in ticks]
    gaps = [each.reason for each in outcomes if isinstance(each, Unreadable)]
    assert gaps
    assert set(gaps) <= {Reason.GAP, Reason.STALE}
    expected = [grown(cases(interval)["half-way"], tick - want.seconds, tick) for tick in ticks]
    for outcome, count in zip(outcomes, expected, strict=True):
        assert isinstance(outcome, Unreadable) or outcome.trials == pytest.approx(count)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("interval", INTERVALS)
def test_a_late_scrape_neither_loses_nor_doubles_a_count(
    name: str, interval: int, folder: Path, server: PrometheusServer
) -> None:
    source = opened(name, interval, folder, server)
    want = next(each for each in wants(interval, "late") if each.rule == "alone" and each.range is Range.STEP)
    points = cases(interval)["late"]
    ticks = [tick for tick in steps(interval)[2:] if tick < points[-1][0]]
    found = source.read_back([want], ticks, Deadline(60))
    source.close()
    for tick in ticks:
        outcome = found[tick][want.key].canary
        if isinstance(outcome, Counts):
            # Prometheus scales what it counts by the samples' own distance: up to 0.4 of one interval in a step here
            off = 0.4 * interval / (want.seconds - 0.4 * interval) if name == "prometheus" else 1e-9
            assert outcome.trials == pytest.approx(grown(points, tick - want.seconds, tick), rel=off)


@pytest.mark.parametrize("interval", INTERVALS)
def test_prometheus_counts_first_steps_from_zero_short_and_never_over(
    interval: int, folder: Path, server: PrometheusServer
) -> None:
    exact, source = (opened(each, interval, folder, server) for each in ("recording", "prometheus"))
    ticks = steps(interval)[:-1]
    for case, over in (("from-zero", 1.0), ("jitter", 1.05)):
        want = next(each for each in wants(interval, case) if each.rule == "alone" and each.range is Range.STEP)
        true, shown = (each.read_back([want], ticks, Deadline(60)) for each in (exact, source))
        pairs = [(true[tick][want.key].canary, shown[tick][want.key].canary) for tick in ticks]
        for one, two in pairs:
            assert isinstance(one, Unreadable) == isinstance(two, Unreadable)
            if isinstance(one, Counts) and isinstance(two, Counts):
                assert one.trials * 0.49 - 1e-6 <= two.trials <= one.trials * over + 1e-6
    exact.close()
    source.close()


@pytest.mark.parametrize("name", SOURCES)
def test_a_cohort_that_ends_is_stale_and_then_gone(name: str, folder: Path, server: PrometheusServer) -> None:
    source = opened(name, 15, folder, server)
    want = next(each for each in wants(15, "ends") if each.rule == "alone" and each.part == "window-300.0")
    last = cases(15)["ends"][-1][0]
    ticks = [last + after for after in (10, 29, 31, 200, 299, 301)]
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
def test_a_misspelled_counter_is_never_seen_and_a_silent_one_is_zero(
    name: str, folder: Path, server: PrometheusServer
) -> None:
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
