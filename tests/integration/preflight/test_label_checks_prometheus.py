"""A label that a real Prometheus' own scrape replaces: `cohort` becomes `exported_cohort`, and the doctor says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.preflight.checks import Check
from killswitch.preflight.label_checks import LabelReader, examine_labels
from killswitch.rules.loading import load_text
from killswitch.sources.prometheus.source import Prometheus
from tests.doubles.metric_families import ServedFamily
from tests.servers.etcd import wait_until
from tests.servers.prometheus import PrometheusServer

RULES = b"rollout: copilot\ncontrol: old\ncanary: new\nrules: {error_rate: {max: 2%}}\n"


@pytest.mark.parametrize("honor", [False, True])
def test_a_label_of_the_scrape_takes_the_services_place(tmp_path: Path, *, honor: bool) -> None:
    """With `honor_labels: true`, which the doctor advises, the service's label stays."""
    with ServedFamily("cohort-labels", time.time() - 600) as exporter:
        target = {"targets": [exporter.address], "labels": {"cohort": "eu"}}
        scraped = [{"job_name": "copilot", "honor_labels": honor, "static_configs": [target]}]
        with PrometheusServer(tmp_path, scrape_configs=scraped) as server:
            source = Prometheus(server.url, scrape_interval=1.0)
            wait_until(lambda: source.label_names("llm_requests_total", time.time(), Deadline(5)), "a scrape")
            (rollout,) = load_text(RULES).rollouts
            checks: list[Check] = list(examine_labels(LabelReader(source, time.time()), rollout))
            source.close()
    found = [check.found for check in checks]
    said = "llm_requests_total has `cohort` from the scrape and `exported_cohort` from the service"
    assert (said in found) is not honor, found
    assert honor or any("honor_labels: true" in check.fix for check in checks)
