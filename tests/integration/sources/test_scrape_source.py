"""The embedded source against real services: scraped, kept over a restart, and blind when they are down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from killswitch.deadline import Deadline
from killswitch.errors import BadDocument, BadSettings
from killswitch.model import (
    Cohort,
    Counts,
    Matcher,
    Measurement,
    Range,
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources.opening import open_source
from killswitch.sources.scrape.exposition import sample_of, series_of
from killswitch.sources.scrape.source import AgedClock, Scrape
from tests.servers.etcd import free_ports, wait_until

INTERVAL = 0.2
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
SIGNAL = RatioSignal((Selector("llm_refusals_total"),), (Selector("llm_requests_total"),))
WINDOW = Want("r", "refusal_rate", "window", SIGNAL, COHORTS, 60.0)
STEP = Want("r", "refusal_rate", "step", SIGNAL, COHORTS, 1.0, Range.STEP)


class Service:
    """A service with its own metrics page."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("llm_requests_total", "requests", ["cohort", "note"], registry=registry)
        self.refusals = Counter("llm_refusals_total", "refusals", ["cohort"], registry=registry)
        self.port = free_ports(1)[0]
        self.server, self.thread = start_http_server(self.port, "127.0.0.1", registry)
        self.serve(0, 0)

    def serve(self, requests: int, refusals: int) -> None:
        for cohort in Cohort:
            self.requests.labels(cohort.value, 'a "quoted" note\nof {two} lines').inc(requests)
            self.refusals.labels(cohort.value).inc(refusals)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def services() -> Iterator[tuple[Service, Service]]:
    both = Service(), Service()
    yield both
    for each in both:
        if each.thread.is_alive():
            each.stop()


def opened(services: tuple[Service, Service], samples: Path) -> Scrape:
    targets = ",".join(f"127.0.0.1:{each.port}" for each in services)
    source = open_source(f"scrape+http://{targets}", scrape_interval=INTERVAL, samples=samples)
    assert isinstance(source, Scrape)
    return source


def canary(source: Scrape, want: Want) -> Measurement:
    return source.read([want], source.now(Deadline(1)), Deadline(1))[want.key].canary


def counted(source: Scrape, want: Want) -> bool:
    return isinstance(canary(source, want), Counts)


def test_targets_are_summed_survive_a_restart_and_go_stale(services: tuple[Service, Service], tmp_path: Path) -> None:
    """Targets are summed. Their samples survive a restart, and are stale if the targets are down."""
    source = opened(services, tmp_path / "samples.sqlite")
    wait_until(lambda: counted(source, WINDOW), "two scrapes")
    begin = source.now(Deadline(1))
    for service in services:
        service.serve(100, 10)
    wait_until(lambda: _trials(canary(source, WINDOW)) >= 200, "both services counted")
    wait_until(lambda: counted(source, STEP), "a complete step")
    source.close()

    again = opened(services, tmp_path / "samples.sqlite")
    assert again.now(Deadline(1)) >= begin
    reading = again.read([WINDOW], again.now(Deadline(1)), Deadline(1))[WINDOW.key]
    assert not isinstance(reading.canary, Unreadable) or reading.canary.reason is Reason.STALE
    wait_until(lambda: _trials(canary(again, WINDOW)) >= 200, "what was counted before the restart is still there")
    for service in services:
        service.stop()
    wait_until(lambda: _reason(canary(again, WINDOW)) is Reason.STALE, "services that are down are stale")
    again.close()


def _trials(measurement: Measurement) -> float:
    return measurement.trials if isinstance(measurement, Counts) else -1.0


def _reason(measurement: Measurement) -> Reason | None:
    return measurement.reason if isinstance(measurement, Unreadable) else None


def test_setting_the_wall_clock_does_not_move_the_source_clock() -> None:
    """Setting the wall clock changes nothing, and the source's clock never goes behind the samples it kept."""
    wall, monotonic = [1000.0], [5.0]
    clock = AgedClock(0.0, lambda: wall[0], lambda: monotonic[0])
    wall[0], monotonic[0] = 99_000.0, 15.0
    assert clock.now() == 1010.0
    assert AgedClock(2000.0, lambda: 1000.0, lambda: 0.0).now() == 2000.0


def test_series_are_taken_apart_with_their_escapes() -> None:
    line = r'x_total{a="1,\"}",b="\\n\n", } 7 1700000000 # {trace="}"} 1.0'
    series, value, time = sample_of(line)
    assert (value, time) == ("7", "1700000000")
    assert series_of(series) == ("x_total", {"a": '1,"}', "b": "\\n\n"})
    for broken in ("x{", 'x{a="1} 2', "1x 2", "x", 'x{a="1"} '):
        with pytest.raises(ValueError, match="not a"):
            sample_of(broken)


@pytest.mark.parametrize(
    "url", ["", "http://host", "recording://relative", "scrape+http://", "scrape+http://u:secret@h/metrics", "etcd://h"]
)
def test_a_url_of_another_form_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(BadSettings) as refused:
        open_source(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["x_total 1 2\n", "x_total 1\n# EOF\n", "x_total one 2\n# EOF\n", "{}\n# EOF\n"])
def test_a_recording_that_is_cut_off_or_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "recording.om").write_text(text)
    with pytest.raises(BadDocument):
        open_source(f"recording://{tmp_path / 'recording.om'}")
