"""Histograms that a real Prometheus keeps in native form: the same readings as from classic buckets at their edges."""

from __future__ import annotations

import math
import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from killswitch.deadline import Deadline
from killswitch.model import (
    Buckets,
    Cohort,
    Matcher,
    Measurement,
    QuantileSignal,
    Range,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources.prometheus.source import Prometheus
from tests.servers.prometheus import PROMETHEUS, PrometheusServer
from tests.servers.remote_write import REMOTE_WRITE, Labels, Native, push

RELEASE = tuple(map(int, subprocess.run([PROMETHEUS, "--version"], capture_output=True, text=True, check=True).stdout
                    .split("version ")[1].split("+")[0].split(" ")[0].split(".")[:2]))  # fmt: skip
reads_native = pytest.mark.skipif(RELEASE < (2, 50), reason="this Prometheus computes too little with them")

START = (time.time() // 300 - 10) * 300
INTERVAL, STEP, SCRAPES = 15, 30.0, 120
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
CUSTOM = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
RESTARTS, DIPS = 80, 81  # scrapes; the second is the last of its step

Rows = Sequence[tuple[float, Mapping[int, int]]]
Sides = Mapping[Cohort, Measurement]


def observed(seed: int, buckets: range, *, restart: int = SCRAPES, slow: int = 0) -> Rows:
    """Lifetime counts by bucket; all begin again at scrape ``restart``; ``slow`` more of the last bucket a scrape."""
    luck, counts, rows = random.Random(seed), dict.fromkeys(buckets, 500), []
    for at in range(SCRAPES):
        if at == restart:
            counts = dict.fromkeys(buckets, 0)
        for _ in range(luck.randint(20, 60)):
            counts[min(buckets[-1], buckets[0] + int(abs(luck.gauss(0, len(buckets) / 3))))] += 1
        counts[buckets[-1]] += slow
        rows.append((START + at * INTERVAL + 7.0, dict(counts)))
    return rows


def series(
    case: str, rows: Rows, cohort: str, instance: str, **form: object
) -> dict[Labels, list[tuple[float, float | Native]]]:
    """Native under ``lat``; classic at the same edges under ``classic_lat_bucket``."""
    labels = (("case", case), ("cohort", cohort), ("instance", instance), ("job", "llm"))
    custom = form.get("custom", ())
    found: dict[Labels, list[tuple[float, float | Native]]] = {
        (("__name__", "lat"), *labels): [(stamp, Native(counts, **form)) for stamp, counts in rows]  # type: ignore[arg-type]
    }
    for place in [*rows[0][1], None]:
        if place is None:
            le = math.inf
        elif custom:
            if place == len(CUSTOM):
                continue
            le = CUSTOM[place]
        else:
            le = 2.0 ** (place / 2 ** int(str(form.get("schema", 3))))
        name = (("__name__", "classic_lat_bucket"), *labels, ("le", "+Inf" if place is None else repr(le)))
        found[name] = [
            (stamp, float(sum(n for at, n in counts.items() if place is None or at <= place))) for stamp, counts in rows
        ]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with PrometheusServer(tmp_path_factory.mktemp("native"), flags=REMOTE_WRITE) as server:
        for case, restart in (("steady", SCRAPES), ("restart", RESTARTS)):
            for cohort in Cohort:
                for pod in range(3):
                    seed = pod + 10 * (cohort is Cohort.CANARY)
                    again = restart if pod == 0 and cohort is Cohort.CANARY else SCRAPES
                    rows = observed(seed, range(-24, 33), restart=again, slow=3 * (cohort is Cohort.CANARY))
                    push(server.url, series(case, rows, cohort.value, f"{pod}:1"))
        for cohort in Cohort:
            rows = observed(7, range(-24, 33))
            dipped = [(stamp, {at: n - (at == -24) * (100 if scrape == DIPS else 0) for at, n in counts.items()})
                      for scrape, (stamp, counts) in enumerate(rows)]  # fmt: skip
            push(server.url, series("dip", dipped, cohort.value, "0:1"))
            gauge = [
                (stamp, {at: n + 40 * scrape for at, n in counts.items()})
                for scrape, (stamp, counts) in enumerate(rows)
            ]
            push(server.url, series("gauge", gauge, cohort.value, "0:1", gauge=True))
            # a canary whose client has fewer buckets
            coarse = cohort is Cohort.CANARY
            of = observed(8, range(-6, 9)) if coarse else observed(9, range(-24, 33))
            push(server.url, series("coarse", of, cohort.value, "0:1", schema=1 if coarse else 3))
            if RELEASE >= (3, 0):
                of = observed(11 + coarse, range(len(CUSTOM) + 1))
                push(server.url, series("custom", of, cohort.value, "0:1", custom=CUSTOM))
        yield server


def read(
    server: PrometheusServer, metric: str, case: str, kind: Range, seconds: float
) -> list[dict[Cohort, Measurement]]:
    signal = QuantileSignal(Selector(metric, (Matcher("case", "=", case),)), 0.95, 1.0)
    want = Want("r", "p95", kind.value, signal, COHORTS, seconds, kind)
    source = Prometheus(server.url, scrape_interval=INTERVAL)
    ticks = [START + at * STEP for at in range(12, SCRAPES // 2 - 1)]
    found = source.read_back([want], ticks, Deadline(30))
    single = source.read([want], ticks[30], Deadline(10))[want.key]
    both = found[ticks[30]][want.key]
    assert (single.canary, single.control) == (both.canary, both.control)
    source.close()
    return [
        {Cohort.CANARY: found[tick][want.key].canary, Cohort.CONTROL: found[tick][want.key].control} for tick in ticks
    ]


def same(native: Measurement, classic: Measurement) -> None:
    if isinstance(classic, Unreadable):
        assert isinstance(native, Unreadable), native
        assert native.reason is classic.reason
        return
    assert isinstance(native, Buckets), native
    assert isinstance(classic, Buckets)
    by_native = dict(zip(native.bounds, native.counts, strict=True))
    compared = 0
    for edge, count in zip(classic.bounds, classic.counts, strict=True):
        if edge in by_native:
            compared += 1
            assert by_native[edge] == pytest.approx(count, abs=1e-6)
    assert compared > 5


@reads_native
@pytest.mark.parametrize("case", ["steady", "restart", "dip", "custom"])
@pytest.mark.parametrize(("kind", "seconds"), [(Range.STEP, STEP), (Range.WINDOW, 300.0)])
def test_native_histograms_count_as_classic_ones(
    server: PrometheusServer, case: str, kind: Range, seconds: float
) -> None:
    """The same counts at every edge that both have, through restarts and falls that are none."""
    if case == "custom" and RELEASE < (3, 0):
        pytest.skip("custom buckets came with Prometheus 3")
    natives, classics = (
        read(server, "lat_bucket", case, kind, seconds),
        read(server, "classic_lat_bucket", case, kind, seconds),
    )
    for native, classic in zip(natives, classics, strict=True):
        for cohort in Cohort:
            same(native[cohort], classic[cohort])
    gaps = sum(isinstance(side, Unreadable) for each in natives for side in each.values())
    assert (gaps > 0) == (case == "dip")


@reads_native
def test_edges_stay_from_tick_to_tick_and_are_those_of_both(server: PrometheusServer) -> None:
    """Both cohorts have the coarser one's edges, at every tick the same ones."""
    found = read(server, "lat_bucket", "coarse", Range.STEP, STEP)
    edges = {side.bounds for each in found for side in each.values() if isinstance(side, Buckets)}
    (bounds,) = edges
    assert 2.0**0.5 in bounds
    assert 2.0**0.125 not in bounds


@reads_native
@pytest.mark.parametrize(("kind", "seconds"), [(Range.STEP, STEP), (Range.WINDOW, 300.0)])
def test_a_native_histogram_of_gauge_type_is_refused(server: PrometheusServer, kind: Range, seconds: float) -> None:
    for each in read(server, "lat_bucket", "gauge", kind, seconds):
        for side in each.values():
            assert isinstance(side, Unreadable), side
            assert side.reason is Reason.GARBAGE
            assert "gauge type" in side.detail


def test_a_release_that_cannot_compute_is_said(server: PrometheusServer) -> None:
    """A number that an older release makes of native histograms is not taken for a count."""
    if RELEASE >= (2, 50):
        pytest.skip("this Prometheus can")
    for each in read(server, "lat_bucket", "steady", Range.STEP, STEP):
        side = each[Cohort.CANARY]
        assert isinstance(side, Unreadable)
        assert side.reason is Reason.GARBAGE
        assert "2.50" in side.detail
