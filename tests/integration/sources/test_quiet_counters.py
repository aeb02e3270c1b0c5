"""The cheap question about quiet counters, against a real Prometheus: to the tick what the full one answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Cohort, Matcher, QuantileSignal, Range, RatioSignal, Reading, Selector, Want
from killswitch.sources.asks import Ask
from killswitch.sources.prometheus.source import Prometheus
from tests.servers.prometheus import PrometheusServer, openmetrics

START = 1_770_000_000.0
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
SCRAPES = range(100)  # 15 s apart, 25 minutes
EDGES = (("0.1", 2), ("1", 8), ("+Inf", 10))


# by pod what its scrape number ``at`` shows; None where it is not scraped
PODS: Mapping[str, Callable[[int, int], float | None]] = {
    "steady": lambda at, share: 1000 + share * at,
    "dies": lambda at, share: 500 + share * at if at < 36 else None,
    "born": lambda at, share: share * (at - 36) if at >= 36 else None,
    "scraped late": lambda at, share: 90_000 + share * at if at >= 52 else None,
    "away for two minutes": lambda at, share: 700 + share * at if not 60 <= at < 68 else None,
    "misses a scrape": lambda at, share: 10 + share * at if at != 73 else None,
    "restarts": lambda at, share: share * (at if at < 80 else at - 80),
    "lower in one scrape": lambda at, share: 800 + share * at - (share * 3 if at == 90 else 0),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    series: dict[str, list[tuple[float, float]]] = {}

    def add(name: str, rollout: str, cohort: Cohort, pod: str, share: int) -> None:
        labels = f'rollout="{rollout}",cohort="{cohort}",instance="{pod}"'
        metric, _, more = name.partition("|")
        shown = [(START + 15 * at + 2.5, PODS[pod](at, share)) for at in SCRAPES]
        series[f"{metric}{{{labels}{more}}}"] = [(stamp, value) for stamp, value in shown if value is not None]

    # of each kind alone beside a steady pod, and all of them together
    fleets = {pod: ("steady", pod) for pod in PODS if pod != "steady"} | {"all": tuple(PODS), "alone": ("dies",)}
    for rollout, pods in fleets.items():
        for cohort in Cohort:
            for pod in pods if cohort is Cohort.CANARY else ("steady",):
                add('requests_total|,outcome="ok"', rollout, cohort, pod, 10)
                add('requests_total|,outcome="error"', rollout, cohort, pod, 1)
                for edge, share in EDGES:
                    add(f'latency_bucket|,le="{edge}"', rollout, cohort, pod, share)
    folder: Path = tmp_path_factory.mktemp("quiet")
    with PrometheusServer(folder, history=openmetrics(series)) as server:
        yield server


def _wants() -> list[Want]:
    rollouts = [*(pod for pod in PODS if pod != "steady"), "all", "alone"]
    wants = []
    for rollout in rollouts:
        its = (Matcher("rollout", "=", rollout),)
        requests = Selector("requests_total", its)
        errors = Selector("requests_total", (*its, Matcher("outcome", "=", "error")))
        ratio, latency = RatioSignal((errors,), (requests,)), QuantileSignal(Selector("latency_bucket", its), 0.95)
        wants.append(Want(rollout, "errors", "step", ratio, COHORTS, 30.0, Range.STEP))
        wants.append(Want(rollout, "latency", "step", latency, COHORTS, 30.0, Range.STEP))
    return wants


def _measured(readings: Mapping[tuple[str, str, str], Reading]) -> dict[tuple[str, str, str], tuple[object, object]]:
    return {key: (reading.canary, reading.control) for key, reading in readings.items()}


def test_births_deaths_resets_and_gaps_read_as_by_a_new_replica(
    server: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every tick of a history in which pods come, go, fall, restart and are not scraped."""
    wants, running, cheap = _wants(), Prometheus(server.url), 0
    body = running._client.body

    def counted(text: str, *rest: object) -> bytes:
        nonlocal cheap
        cheap += "idelta(last" in text
        return body(text, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(running._client, "body", counted)
    for at in range(4, 50):
        tick = START + 30.0 * at
        fresh = Prometheus(server.url)
        expected = _measured(fresh.read(wants, tick, Deadline(30)))
        fresh.close()
        assert _measured(running.read(wants, tick, Deadline(30))) == expected, at
    assert cheap > 100  # or nothing was compared
    running.close()


def test_a_server_that_takes_one_sample_for_two_is_asked_as_ever(
    server: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Prometheus(server.url)
    monkeypatch.setattr(
        "killswitch.sources.prometheus.quiet.PROBE", "vector(1)"
    )  # what VictoriaMetrics would make of it
    texts: list[str] = []
    body = source._client.body

    def noted(text: str, *rest: object) -> bytes:
        texts.append(text)
        return body(text, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(source._client, "body", noted)
    for at in (10, 11, 12):
        source.read(_wants(), START + 30.0 * at, Deadline(30))
    assert texts
    assert not any("idelta(last" in text for text in texts)
    source.close()


def test_a_query_of_mostly_restless_counters_is_asked_in_full(
    server: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cheap question is about all of them, and costs half of the full one: it must serve more than a few."""
    source = Prometheus(server.url)
    texts: list[str] = []
    body, known = source._client.body, source._quiet.known

    def noted(text: str, *rest: object) -> bytes:
        texts.append(text)
        return body(text, *rest)  # type: ignore[arg-type]

    def few(asks: Iterable[Ask], tick: float) -> frozenset[Ask]:
        return frozenset(sorted(known(asks, tick), key=repr)[:2])

    monkeypatch.setattr(source._client, "body", noted)
    for at in (10, 11, 12):
        source.read(_wants(), START + 30.0 * at, Deadline(30))
    assert any("idelta(last" in text for text in texts)
    texts.clear()
    monkeypatch.setattr(source._quiet, "known", few)
    source.read(_wants(), START + 30.0 * 13, Deadline(30))
    assert texts
    assert not any("idelta" in text for text in texts)
    source.close()
