"""The scrape interval is measured where nobody has said it, against a real Prometheus."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.daemon.settings import load_settings
from killswitch.daemon.source_pace import source_at_its_pace
from killswitch.deadline import Deadline
from killswitch.rules.loading import load_folder
from killswitch.sources.opening import open_source
from killswitch.sources.scrape_interval import measured_now
from tests.servers.prometheus import PrometheusServer, openmetrics

RULES = load_folder(Path(__file__).resolve().parents[3] / "rules").rollouts


@pytest.fixture(scope="module")
def scraped_every_ten_seconds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    now = time.time()
    samples = [(now - back * 10.0 + (0.02 if back % 2 else 0.0), float(100 - back)) for back in range(60, 0, -1)]
    series = {f'llm_requests_total{{cohort="{cohort}",outcome="ok"}}': samples for cohort in ("control", "canary")}
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), history=openmetrics(series)) as server:
        yield server


def test_the_interval_is_that_of_the_newest_samples(scraped_every_ten_seconds: PrometheusServer) -> None:
    source = open_source(f"prometheus+{scraped_every_ten_seconds.url}", scrape_interval=15.0)
    assert measured_now(source, RULES, Deadline(20.0)) == 10.0


def test_without_a_setting_a_daemon_takes_the_measured_interval(
    scraped_every_ten_seconds: PrometheusServer,
) -> None:
    """If `scrape_interval` is not set, the daemon takes the measured interval."""
    settings = load_settings(source=f"prometheus+{scraped_every_ten_seconds.url}")
    _, actual = source_at_its_pace(settings, RULES)
    assert (actual.scrape_interval, actual.step) == (10.0, 30.0)


def test_a_wrong_scrape_interval_is_warned_of_and_kept(
    scraped_every_ten_seconds: PrometheusServer, caplog: pytest.LogCaptureFixture
) -> None:
    """If `scrape_interval` is wrong, the daemon logs a warning and keeps the setting."""
    settings = load_settings(source=f"prometheus+{scraped_every_ten_seconds.url}", scrape_interval="15s")
    with caplog.at_level(logging.WARNING):
        _, actual = source_at_its_pace(settings, RULES)
    assert actual.scrape_interval == 15.0
    assert "scrapes arrive every 10 s, and scrape_interval is 15 s" in caplog.text


def test_without_an_answer_the_default_serves(tmp_path: Path) -> None:
    settings = load_settings(source="prometheus+http://127.0.0.1:9")
    _, actual = source_at_its_pace(settings, RULES)
    assert actual.scrape_interval == 15.0
