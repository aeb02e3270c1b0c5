"""Counters that fall, begin, or come back: every source says the same, and none makes events of them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import (
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
from killswitch.sources.counter_health import CounterHealth
from killswitch.sources.opening import open_source
from killswitch.sources.prometheus.source import Prometheus
from killswitch.sources.recording import Recording
from tests.servers.prometheus import PrometheusServer, keep_as_scraped, openmetrics

# two hours before `START` lie nothing but samples of series that must not look new; `scrape` forgets after 25 hours
START = (time.time() // 3600 - 3) * 3600
INTERVAL, STEP, MINUTES = 15, 30.0, 45
SOURCES = ("prometheus", "scrape", "recording")
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
AT = 61  # the scrape at which it happens: the first of a step
HAPPENS = START + AT * INTERVAL + 7.0
NEXT = START + (AT // 2 + 1) * STEP  # the tick of that step

Points = list[tuple[float, float]]


def grown(already: float, each: float, *, count: int = MINUTES * 4, first: int = 0) -> Points:
    return [(START + at * INTERVAL + 7.0, already + each * (at - first + 1)) for at in range(first, count)]


def changed(points: Points, at: int, value: float, *, until: int | None = None) -> Points:
    """``value`` at scrape ``at``, growing from there; as before from scrape ``until`` on."""
    instead = points[at][1]
    return [
        (stamp, old - instead + value if at <= number < (until or len(points)) else old)
        for number, (stamp, old) in enumerate(points)
    ]


def of_process(ok: Points, error: Points, instance: str = "a:1") -> dict[str, Points]:
    return {
        f'outcome="ok",instance="{instance}",job="llm"': ok,
        f'outcome="error",instance="{instance}",job="llm"': error,
    }


OK, ERROR = grown(50_000, 100), grown(260, 2)
AGO = [(stamp - 2 * 3600, value / 2) for stamp, value in ERROR]


def cases() -> dict[str, dict[str, Points]]:
    value = ERROR[AT - 1][1]
    dip, deep = value - 1, 20.0
    absent = [point for at, point in enumerate(ERROR) if not 20 <= at < AT]  # for ten minutes
    long_absent = [*AGO, *ERROR[AT:]]  # for two hours
    old_ok = {"": OK[: AT + 1]}
    return {
        "one-lower": of_process(OK, changed(ERROR, AT, dip, until=AT + 1)),
        "far-lower": of_process(OK, changed(ERROR, AT, deep, until=AT + 2)),
        "lower-for-long": of_process(OK, changed(ERROR, AT, value / 2, until=AT + 80)),
        "restart": of_process(changed(OK, AT, 90), changed(ERROR, AT, 3)),
        "restart-of-one-of-two": of_process(OK, ERROR)
        | of_process(changed(OK, AT, 90), changed(ERROR, AT, 3), instance="b:1"),
        "pod-of-a-sum": {
            'outcome="ok"': changed(OK, AT, 0.7 * OK[AT][1]),
            'outcome="error"': changed(ERROR, AT, 0.7 * value),
        },
        "late-copy": of_process(
            changed(OK, AT, OK[AT - 3][1], until=AT + 1), changed(ERROR, AT, dip - 4, until=AT + 1)
        ),
        "first-error": of_process(OK, grown(0, 2, first=AT)),
        "comes-back": of_process(OK, absent),
        "comes-back-late": of_process(OK, long_absent),
        "relabelled": {
            'outcome="ok",instance="a:1",job="llm"': OK[:AT] + old_ok[""][AT:],
            'outcome="error",instance="a:1",job="llm"': ERROR[: AT + 1],
            'outcome="ok",instance="a:1",job="llm",team="x"': OK[AT + 1 :],
            'outcome="error",instance="a:1",job="llm",team="x"': ERROR[AT + 1 :],
        },
        "new-instance": of_process(OK, ERROR)
        | of_process(grown(40, 100, first=AT), grown(1, 2, first=AT), instance="b:1"),
    }


def recording() -> str:
    series: dict[str, Points] = {}
    for case, of_case in cases().items():
        for labels, points in of_case.items():
            for cohort in Cohort:
                if cohort is Cohort.CONTROL and 'instance="b:1"' in labels:
                    continue
                steady = OK if 'outcome="ok"' in labels else ERROR
                own = points if cohort is Cohort.CANARY else steady
                if cohort is Cohort.CANARY or "team" not in labels:
                    series[f'requests_total{{case="{case}",cohort="{cohort}",{labels}}}'] = own
    for case, made_at in (("made-now", HAPPENS - 20), ("made-long-ago", HAPPENS - 7200)):
        for labels, points in of_process(OK, ERROR).items():
            for cohort in Cohort:
                series[f'requests_total{{case="{case}",cohort="{cohort}",{labels}}}'] = points
        for labels, points in of_process(grown(40, 100, first=AT), grown(1, 2, first=AT), instance="b:1").items():
            name = f'{{case="{case}",cohort="canary",{labels}}}'
            series[f"requests_total{name}"] = points
            series[f"requests_created{name}"] = [(stamp, made_at) for stamp, _ in points]
    for case in ("steady", "bucket-lower", "restart"):
        for cohort in Cohort:
            for le, share in (("0.1", 0.25), ("1", 0.75), ("+Inf", 1.0)):
                points = [(stamp, share * value) for stamp, value in OK]
                if cohort is Cohort.CANARY and case == "restart":
                    points = changed(points, AT, share * 80)
                if cohort is Cohort.CANARY and case == "bucket-lower" and le == "1":
                    points = changed(points, AT, points[AT - 1][1] - 1, until=AT + 1)
                series[f'latency_bucket{{case="{case}",cohort="{cohort}",instance="a:1",le="{le}"}}'] = points
    luck = random.Random(3)
    workers = [grown(10_000 + 500 * worker, 25) for worker in range(4)]
    for cohort in Cohort:
        turns = [luck.randrange(4) for _ in OK]
        for outcome, share in (("ok", 0.98), ("error", 0.02)):
            shown = [(stamp, share * workers[turns[at]][at][1]) for at, (stamp, _) in enumerate(OK)]
            series[f'requests_total{{case="workers",cohort="{cohort}",outcome="{outcome}",instance="a:1"}}'] = shown
    return openmetrics(series)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("falls")
    text = recording()
    (folder / "recording.om").write_text(text)
    keep_as_scraped(text, folder / "samples.sqlite")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PrometheusServer]:
    with PrometheusServer(folder / "prometheus", history=(folder / "recording.om").read_text()) as server:
        yield server


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, folder: Path, server: PrometheusServer) -> Iterator[Source]:
    match request.param:
        case "prometheus":
            opened = open_source(f"prometheus+{server.url}", scrape_interval=INTERVAL)
        case "recording":
            opened = open_source(f"recording://{folder / 'recording.om'}", scrape_interval=INTERVAL)
        case _:  # nobody listens there: it lives on what was kept
            samples = folder / "samples.sqlite"
            opened = open_source("scrape+http://127.0.0.1:9", scrape_interval=INTERVAL, samples=samples)
    yield opened
    opened.close()


def wanted(case: str, kind: Range = Range.STEP, seconds: float = STEP) -> Want:
    of_case = Matcher("case", "=", case)
    trials = Selector("requests_total", (of_case,))
    events = Selector("requests_total", (of_case, Matcher("outcome", "=", "error")))
    return Want(case, "error_rate", kind.value, RatioSignal((events,), (trials,)), COHORTS, seconds, kind)


def canary(source: Source, want: Want, ticks: list[float]) -> list[Measurement]:
    found = source.read_back([want], ticks, Deadline(60))
    for tick in (ticks[0], ticks[-1]):  # one at a time gives the same
        assert source.read([want], tick, Deadline(60))[want.key] == found[tick][want.key]
    return [found[tick][want.key].canary for tick in ticks]


def around(steps: int) -> list[float]:
    """The step before it happens, and those after."""
    return [NEXT + STEP * at for at in range(-1, steps)]


def counts(measurements: list[Measurement]) -> list[tuple[float, float] | Reason]:
    return [(one.events, one.trials) if isinstance(one, Counts) else one.reason for one in measurements
            if isinstance(one, Counts | Unreadable)]  # fmt: skip


USUAL = (4.0, 204.0)  # of a step


def test_a_counter_one_lower_in_one_scrape_counts_nothing_twice(source: Source) -> None:
    """The error counter stands one lower for one scrape: no event is made of it, in any step."""
    found = counts(canary(source, wanted("one-lower"), around(6)))
    assert found == [USUAL, Reason.GAP, Reason.GAP, *[USUAL] * 4]


def test_a_counter_that_fell_and_came_back_counts_nothing_twice(source: Source) -> None:
    """From 382 to 20 and back to 388, while its process went on: the way back is no event."""
    found = counts(canary(source, wanted("far-lower"), around(6)))
    assert found == [USUAL, Reason.GAP, Reason.GAP, *[USUAL] * 4]


def test_a_counter_that_was_lower_for_long_is_not_counted_again(source: Source) -> None:
    """From 382 to 191 for twenty minutes: its own growth counts, the way back does not."""
    found = counts(canary(source, wanted("lower-for-long"), around(44)))
    assert found[:2] == [USUAL, Reason.GAP]
    assert [at for at, one in enumerate(found) if one is Reason.GAP] == [1, 41]
    assert {one for one in found if one is not Reason.GAP} == {USUAL}


@pytest.mark.parametrize(
    ("case", "expected"),
    [("restart", (3.0, 93.0)), ("restart-of-one-of-two", (7.0, 297.0))],
)
def test_a_process_that_restarted_counts_from_zero(case: str, expected: tuple[float, float], source: Source) -> None:
    """All counters of one process fall together, to near zero."""
    found = counts(canary(source, wanted(case), around(4)))
    usual = USUAL if case == "restart" else (8.0, 408.0)
    assert found == [usual, expected, *[usual] * 3]


@pytest.mark.parametrize("case", ["pod-of-a-sum", "late-copy"])
def test_counters_that_fall_together_but_not_to_zero_are_a_gap(case: str, source: Source) -> None:
    """A sum without one of its pods, or an older copy of a page: 70% of a counter is no restart."""
    found = counts(canary(source, wanted(case), around(4)))
    after = USUAL if case == "pod-of-a-sum" else Reason.GAP  # which comes back
    assert found == [USUAL, Reason.GAP, after, USUAL, USUAL]


def test_the_first_error_of_a_process_is_counted(source: Source) -> None:
    """A counter born with its first event counts from zero, since its process was there before."""
    found = counts(canary(source, wanted("first-error"), around(3)))
    assert found == [(0.0, 200.0), (2.0, 202.0), USUAL, USUAL]


@pytest.mark.parametrize("case", ["comes-back", "comes-back-late"])
def test_a_counter_that_comes_back_is_not_new(case: str, source: Source) -> None:
    """Absent for ten minutes, or for two hours: its 384 errors were counted before."""
    found = counts(canary(source, wanted(case), around(3)))
    assert found == [(0.0, 200.0), (0.0, 200.0), USUAL, USUAL]


def test_counters_that_get_another_label_are_not_new(source: Source) -> None:
    found = counts(canary(source, wanted("relabelled"), around(3)))
    assert found[0] == USUAL
    assert all(events <= 4.0 for events, _ in (one for one in found if isinstance(one, tuple)))
    assert found[-1] == USUAL


@pytest.mark.parametrize(
    ("case", "first"), [("new-instance", USUAL), ("made-long-ago", USUAL), ("made-now", (7.0, 347.0))]
)
def test_a_new_process_with_a_created_series_counts_from_zero(
    case: str, first: tuple[float, float], source: Source
) -> None:
    """Without a ``_created`` series its first sample is where counting begins."""
    found = counts(canary(source, wanted(case), around(3)))
    assert found == [USUAL, first, (8.0, 408.0), (8.0, 408.0)]


@pytest.mark.parametrize(
    ("case", "expected"),
    [("one-lower", Reason.GAP), ("far-lower", Reason.GAP), ("pod-of-a-sum", Reason.GAP), ("late-copy", Reason.GAP)],
)
def test_a_window_with_a_fall_that_is_no_restart_is_a_gap(case: str, expected: Reason, source: Source) -> None:
    """``increase()`` makes 381 new errors of one lower."""
    want = wanted(case, Range.WINDOW, 300.0)
    before, within, after = canary(source, want, [HAPPENS - 10, HAPPENS + 120, HAPPENS + 600])
    assert isinstance(before, Counts)
    assert isinstance(within, Unreadable)
    assert within.reason is expected
    assert isinstance(after, Counts)


def test_a_window_over_a_restart_is_increase(source: Source) -> None:
    (found,) = canary(source, wanted("restart", Range.WINDOW, 300.0), [HAPPENS + 120])
    assert isinstance(found, Counts)
    assert found.trials == pytest.approx(2040, rel=0.06)
    assert found.events == pytest.approx(40, rel=0.06)


def test_counters_of_workers_seen_by_turns_are_garbage(source: Source) -> None:
    """They fall at every other scrape: nothing is judged, and the reason names the cause."""
    for kind, seconds in ((Range.STEP, STEP), (Range.WINDOW, 300.0)):
        (found,) = canary(source, wanted("workers", kind, seconds), [START + 1500])
        assert isinstance(found, Unreadable)
        assert found.reason is Reason.GARBAGE
        assert "multiprocess" in found.detail


def test_a_bucket_that_falls_while_its_process_went_on_is_a_gap(source: Source) -> None:
    expected: Mapping[str, list[float | Reason]] = {
        "steady": [200.0, 200.0, 200.0],
        "bucket-lower": [200.0, Reason.GAP, Reason.GAP],
        "restart": [200.0, 80.0, 200.0],
    }
    for case, totals in expected.items():
        signal = QuantileSignal(Selector("latency_bucket", (Matcher("case", "=", case),)), 0.95)
        want = Want(case, "p95", "step", signal, COHORTS, STEP, Range.STEP)
        found = canary(source, want, around(2))
        assert [one.reason if isinstance(one, Unreadable) else one.counts[-1] for one in found] == totals  # type: ignore[union-attr]


@pytest.mark.parametrize("case", ["one-lower", "restart", "first-error", "workers"])
def test_what_doctor_asks_of_counters_is_the_same_everywhere(case: str, folder: Path, server: PrometheusServer) -> None:
    """Only the workers' counters fall without a restart; only the late error series was born late."""
    of_case = (Matcher("case", "=", case), Matcher("cohort", "=", "canary"))
    events = Selector("requests_total", (*of_case, Matcher("outcome", "=", "error")))
    trials = Selector("requests_total", of_case)
    found = []
    for url in (f"prometheus+{server.url}", f"recording://{folder / 'recording.om'}"):
        source = open_source(url, scrape_interval=INTERVAL)
        assert isinstance(source, Prometheus | Recording)
        health = source.counter_health(events, trials, START + 2400, Deadline(60))
        source.close()
        assert isinstance(health, CounterHealth), health
        found.append((health.falls, health.born))
    assert found[0] == found[1]
    falls, born = found[0]
    assert [words for words, _ in falls] == (['instance="a:1"'] if case == "workers" else [])
    assert born == (2.0 if case == "first-error" else 0.0)
