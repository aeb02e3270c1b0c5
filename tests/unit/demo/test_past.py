"""The past drawn for the demo's control model: what the living service would have shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from killswitch.demo.pace import SCRAPE_INTERVAL, Pace
from killswitch.demo.past import PAST, PastScrape, control_past, judged_share, openmetrics, write_samples
from killswitch.demo.simulation import SimulatedClock, Simulation, cohort_metrics
from killswitch.demo.traffic import HEALTHY, World, day_factor
from killswitch.model import Cohort
from killswitch.router import Route
from killswitch.sources.recording import Recording
from killswitch.sources.scrape.exposition import sample_of, series_of
from killswitch.sources.scrape.sample_history import SampleHistory

pytestmark = pytest.mark.simulation

BEGAN = 1_776_600_007.3
PACE = Pace(10.0)
WORLD = World(seed=4, rate=20.0, users=2_000)


def past(world: World = WORLD, pace: Pace = PACE) -> list[PastScrape]:
    return list(control_past(world, pace, model="old", began=BEGAN, seed=4))


def total(scrape: PastScrape, metric: str, **labels: str) -> float:
    return sum(value for name, own, value in scrape.samples if name == metric and labels.items() <= dict(own).items())


def test_the_past_ends_before_the_world_begins() -> None:
    """The past ends before the world begins, and is scraped in the middle of its slots."""
    interval = PACE.real(SCRAPE_INTERVAL)
    stamps = [scrape.stamp for scrape in past()]
    assert BEGAN - interval <= stamps[-1] < BEGAN
    assert stamps[-1] - stamps[0] == pytest.approx(PACE.real(PAST))
    assert all(stamp / interval % 1.0 == pytest.approx(0.5, abs=1e-6) for stamp in stamps)


def test_nothing_in_it_is_of_the_canary() -> None:
    assert {(own["model"], own["cohort"]) for scrape in past() for _, own, _ in scrape.samples} == {("old", "control")}


def test_its_counters_never_fall() -> None:
    before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for scrape in past():
        for metric, own, value in scrape.samples:
            key = (metric, tuple(sorted(own.items())))
            assert value >= before.get(key, 0.0)
            before[key] = value


def test_its_rates_are_the_worlds() -> None:
    last = past(World(seed=4, rate=200.0, users=20_000))[-1]
    requests = total(last, "llm_requests_total")
    assert requests == pytest.approx(PAST * 200.0 * 1.1, rel=0.2)  # late morning is a little over the day's average
    assert total(last, "llm_requests_total", outcome="error") / requests == pytest.approx(HEALTHY.error_rate, rel=0.1)
    assert total(last, "llm_refusals_total") / requests == pytest.approx(HEALTHY.refusal_rate, rel=0.1)
    assert total(last, "llm_thumbs_down_total") / requests == pytest.approx(HEALTHY.thumbs_down_rate, rel=0.1)
    assert total(last, "llm_latency_ms_bucket", le="+Inf") == requests
    assert total(last, "llm_judged_latency_ms_bucket", le="+Inf") == total(last, "llm_judged_requests_total")
    half = total(last, "llm_latency_ms_bucket", le="1000.0") / requests
    assert 0.45 < half < 0.65  # the median is 900 ms, a little more in busy hours


def test_as_many_requests_are_judged_as_the_living_service_judges() -> None:
    class Control:
        def routes(self) -> tuple[Route, ...]:
            return (Route(Cohort.CONTROL, "old", "SPLIT", 1, 1),)

        def on_change(self, _listener: object) -> None:
            """Never."""

        def route(self, _user: str) -> Route:
            return self.routes()[0]

    registry, clock, control = CollectorRegistry(), SimulatedClock(), Control()
    life = Simulation(
        world=WORLD,
        route=control.route,
        metrics=cohort_metrics(control, registry, clock),
        clock=clock,
        canary_model="new",
    )

    def judged() -> float:
        return sum(
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "llm_judged_requests_total"
        )

    life.advance(600.0)  # after the first five minutes, in which everybody is new
    before, served = judged(), life.state.control.requests
    life.advance(1800.0)
    lived = (judged() - before) / (life.state.control.requests - served)
    drawn = judged_share(np.array(WORLD.activity()), WORLD.rate * day_factor(1200.0))
    assert drawn == pytest.approx(lived, rel=0.05)
    last = past()[-1]
    at_its_time = judged_share(np.array(WORLD.activity()), WORLD.rate * day_factor(-PAST / 2))
    assert total(last, "llm_judged_requests_total") / total(last, "llm_requests_total") == pytest.approx(
        at_its_time, rel=0.05
    )


def test_its_series_are_those_the_service_shows() -> None:
    """Name for name and label for label, or evidence would never meet its past."""
    registry, clock = CollectorRegistry(), SimulatedClock()
    route = Route(Cohort.CONTROL, "old", "SPLIT", 1, 1)

    class Control:
        def routes(self) -> tuple[Route, ...]:
            return (route,)

        def on_change(self, _listener: object) -> None:
            """Never."""

    metrics = cohort_metrics(Control(), registry, clock)
    shown = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in registry.collect()
        for sample in family.samples
    }
    drawn = {(metric, tuple(sorted(own.items()))) for metric, own, _ in past()[-1].samples}
    assert metrics is not None
    assert drawn <= shown


def test_both_writers_keep_the_same_samples(tmp_path: Path) -> None:
    scrapes = past()
    write_samples(scrapes, tmp_path / "samples.db", instance="127.0.0.1:1")
    (tmp_path / "past.om").write_text(openmetrics(scrapes, {"instance": "127.0.0.1:1", "job": "service-0"}))
    history = SampleHistory(tmp_path / "samples.db")
    assert history.last() == pytest.approx(scrapes[-1].stamp, abs=1e-3)
    (kept,) = history.load("llm_refusals_total", 0, 2**53)
    history.close()
    assert kept.values.tolist() == [total(scrape, "llm_refusals_total") for scrape in scrapes]
    assert kept.labels["instance"] == "127.0.0.1:1"
    span = Recording(tmp_path / "past.om", scrape_interval=3.0).span
    assert list(span) == pytest.approx([scrapes[0].stamp, scrapes[-1].stamp], abs=1e-3)
    name, value, _ = sample_of((tmp_path / "past.om").read_text().splitlines()[-2])
    assert series_of(name)[1]["job"] == "service-0"
    assert float(value) >= 0
