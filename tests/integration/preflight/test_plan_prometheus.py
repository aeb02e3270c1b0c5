"""`plan --simulate --prometheus` against a real Prometheus: today's requests and control's rates, before the start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.histories import MONDAY, Behaviour, History, openmetrics
from killswitch.cli.app import app
from killswitch.timestamps import to_iso
from tests.servers.etcd import free_ports
from tests.servers.prometheus import PrometheusServer

HOUR = 3600.0
RATE = 4.0
RULES = """\
rollout: copilot
control: model-old
canary: model-new
window: 1h
match: {service: a}
rules: {error_rate: {max: 6%}, refusal_rate: {max_increase: 5pp}}
plan:
  stages:
    - {stage: ramp_5, for: 24h, detects: {error_rate: 2x}}
    - {stage: full, for: 7d}
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Two hours of a service before its canary: 4 requests a second, 3 % of them errors; and of one without labels."""
    before = History(
        seconds=2 * HOUR, rate=RATE, percent=0.0, control=Behaviour(errors=0.03), arrival=1e9, labels={"service": "a"}
    )
    unlabelled = replace(before, rate=2 * RATE, labels={"service": "b", "cohort": ""})
    folder = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(folder, history=openmetrics(before, unlabelled)) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "copilot.yaml").write_text(RULES)
    return tmp_path


def simulated(folder: Path, *more: str) -> Any:
    store = f"sqlite://{folder}/flags.db"
    span = ("--from", to_iso(MONDAY), "--to", to_iso(MONDAY + 2 * HOUR))
    return CliRunner().invoke(
        app,
        ["plan", "copilot", "--simulate", "--store", store, "--rules", str(folder / "rules"), *span, *more],
        env={"KILLSWITCH_STORE": "", "COLUMNS": "200"},
    )


def test_a_simulated_plan_reads_todays_traffic(folder: Path, prometheus: PrometheusServer) -> None:
    done = simulated(folder, "--prometheus", prometheus.url, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert document["rate"] == pytest.approx(RATE, rel=0.05)
    assert document["control_rates"]["error_rate"] == pytest.approx(0.03, rel=0.1)
    first = document["stages"][0]
    assert first["canary_requests"] == pytest.approx(RATE * 0.05 * first["takes_seconds"], rel=0.05)
    # twice 3 % shows sooner than twice the usual 1 %
    usual = json.loads(simulated_at(folder, "4/s").output)["stages"][0]["detects"][0]["takes_seconds"]
    assert first["detects"][0]["takes_seconds"] < usual / 2
    assert "control's own rates: error_rate" in simulated(folder, "--prometheus", prometheus.url).output


def test_hours_before_the_first_request_are_no_traffic(folder: Path, prometheus: PrometheusServer) -> None:
    """A day is asked for, and the service is two hours old: 4 requests a second, not a twelfth of it."""
    day = ("--from", to_iso(MONDAY - 22 * HOUR))
    done = simulated(folder, "--prometheus", prometheus.url, "--json", *day)
    assert json.loads(done.stdout)["rate"] == pytest.approx(RATE, rel=0.05)
    assert "warning: requests are known for 1h59m of 1d; ask again once there is a whole day" in done.stderr
    assert "warning" not in simulated(folder, "--prometheus", prometheus.url).output


def test_a_control_without_cohort_labels_is_read_by_its_model(folder: Path, prometheus: PrometheusServer) -> None:
    of_service(folder, "b")
    document = json.loads(simulated(folder, "--prometheus", prometheus.url, "--json").output)
    assert document["rate"] == pytest.approx(2 * RATE, rel=0.05)
    assert document["control_rates"]["error_rate"] == pytest.approx(0.03, rel=0.1)


def of_service(folder: Path, name: str) -> None:
    file = folder / "rules" / "copilot.yaml"
    file.write_text(file.read_text().replace("service: a", f"service: {name}"))


def simulated_at(folder: Path, rate: str) -> Any:
    rules = str(folder / "rules")
    store = f"sqlite://{folder}/flags.db"
    arguments = ["plan", "copilot", "--simulate", "--store", store, "--rules", rules, "--rate", rate, "--json"]
    return CliRunner().invoke(app, arguments, env={"KILLSWITCH_STORE": ""})


def test_without_requests_a_simulation_says_what_to_do(folder: Path, prometheus: PrometheusServer) -> None:
    of_service(folder, "c")
    done = simulated(folder, "--prometheus", prometheus.url)
    assert done.exit_code == 2
    assert "there is no request of copilot in this history; run `killswitch doctor`, or give --rate" in done.output


def test_a_prometheus_that_is_down_is_an_error(folder: Path) -> None:
    done = simulated(folder, "--prometheus", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert done.exit_code == 3
