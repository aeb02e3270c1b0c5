"""`killswitch init` on a real Prometheus that scrapes each family: what it writes, `check` and the doctor accept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from killswitch.cli.app import app
from tests.doubles.metric_families import FAMILIES, ServedFamily, history
from tests.servers.etcd import free_ports, wait_until
from tests.servers.prometheus import PrometheusServer

INTERVAL = 5.0
PAST = 5400.0
NAMED = ("--control", "old", "--canary", "new", "--slack", "#oncall", "--mention", "<!here>")
# the counter of one's own is looked for only where no family is known: it has a Prometheus of its own
KNOWN: Mapping[str, tuple[str, ...]] = {
    "cohort-labels": (),
    "litellm": (),
    "vllm": ("--control-is", "job=vllm", "--canary-is", "job=vllm-canary"),
    "vllm-router": (),
    "opentelemetry-genai": (),
    "envoy-ai-gateway": (),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, PrometheusServer]]:
    """One Prometheus that scrapes all known families, and one of a service with counters of its own."""
    folder = tmp_path_factory.mktemp("families")
    with ExitStack() as stack:
        servers = {}
        for name, jobs in (("known", [job for job in FAMILIES if job != "own"]), ("own", ["own"])):
            began = time.time() - PAST - INTERVAL
            exporters = {job: stack.enter_context(ServedFamily(job, began)) for job in jobs}
            addresses = {job: exporter.address for job, exporter in exporters.items()}
            past = history(addresses, until=time.time() - INTERVAL, seconds=PAST, interval=INTERVAL)
            scraped = [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in addresses.items()]
            server = PrometheusServer(folder / name, history=past, scrape_configs=scraped, scrape_interval="5s")
            servers[name] = stack.enter_context(server)
        yield servers


def typed(folder: Path, *arguments: str, answer: str | None = None) -> Result:
    environment = {"KILLSWITCH_RULES": str(folder / "rules"), "KILLSWITCH_STORE": f"sqlite://{folder}/flags.db"}
    return CliRunner().invoke(app, arguments, input=answer, env={**environment, "COLUMNS": "200"})


def accepted(folder: Path, source: str) -> Sequence[str]:
    """The names of the rules, once `check` and the doctor have accepted the file."""
    checked = typed(folder, "check", str(folder / "rules"), "--json")
    assert checked.exit_code == 0, checked.output
    examined = typed(folder, "doctor", "--source", source)
    assert examined.exit_code == 0, examined.output
    (rollout,) = json.loads(checked.stdout)["rollouts"]
    rules: Sequence[str] = rollout["rules"]
    return rules


@pytest.mark.parametrize("family", KNOWN)
def test_a_file_of_each_family_passes_check_and_doctor(
    family: str, stores: Mapping[str, PrometheusServer], tmp_path: Path
) -> None:
    source = stores["known"].url
    done = typed(tmp_path, "init", "--source", source, "--metrics", family, *NAMED, *KNOWN[family], "--yes")
    assert done.exit_code == 0, done.output
    rules = accepted(tmp_path, source)
    assert {"error_rate", "latency_p95"} <= set(rules)
    (written,) = (tmp_path / "rules").iterdir()
    assert "error_rate: {max: 1%}" in written.read_text()


def test_counters_of_ones_own_pass_check_and_doctor(stores: Mapping[str, PrometheusServer], tmp_path: Path) -> None:
    source = stores["own"].url
    done = typed(tmp_path, "init", "--source", source, "--yes", *NAMED)
    assert done.exit_code == 0, done.output
    assert set(accepted(tmp_path, source)) == {"error_rate", "latency_p95"}
    assert 'errors: "{status=~\\"5..\\"}"' in (tmp_path / "rules" / "own.yaml").read_text()


def test_several_families_are_asked_about(stores: Mapping[str, PrometheusServer], tmp_path: Path) -> None:
    """A number is an answer; with --yes none of them is chosen."""
    source = stores["known"].url
    refused = typed(tmp_path, "init", "--source", source, "--yes")
    assert refused.exit_code == 2
    assert "name it with --metrics" in refused.output
    # the second family; control, canary and the name as suggested; no channel, no mention
    done = typed(tmp_path, "init", "--source", source, answer="2\n\n\n\n\n\n")
    assert done.exit_code == 0, done.output
    assert "metrics: litellm" in (tmp_path / "rules" / "litellm.yaml").read_text()


def test_the_daemon_judges_with_what_was_written(stores: Mapping[str, PrometheusServer], tmp_path: Path) -> None:
    """A canary that fails a quarter of its requests: in dry_run that is a breach, and users keep what they have."""
    source = stores["known"].url
    done = typed(tmp_path, "init", "--source", source, "--metrics", "litellm", "--yes", *NAMED)
    assert done.exit_code == 0, done.output
    assert typed(tmp_path, "arm", "litellm", "--percent", "5", "--yes").exit_code == 0
    (port,) = free_ports(1)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")},
        "KILLSWITCH_RULES": str(tmp_path / "rules"),
        "KILLSWITCH_STORE": f"sqlite://{tmp_path}/flags.db",
        "KILLSWITCH_SOURCE": f"prometheus+{source}",
        "KILLSWITCH_LISTEN": f"127.0.0.1:{port}",
        "KILLSWITCH_INTERVAL": "5s",
        "KILLSWITCH_SCRAPE_INTERVAL": "5s",
        "KILLSWITCH_LAG": "1s",
        "KILLSWITCH_CYCLE_DEADLINE": "3s",
    }
    with (tmp_path / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "killswitch", "run"], env=environment, stdout=log, stderr=log)
    try:
        seen = f"a breach; see {tmp_path / 'daemon.log'}"
        wait_until(lambda: daemon.poll() is not None or _verdict(tmp_path, port) == "BREACH", seen, 150)
        assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()
        shown = typed(tmp_path, "status", "--json")
        assert '"armed"' in shown.stdout
    finally:
        daemon.terminate()
        daemon.wait(20)


def _verdict(folder: Path, port: int) -> str | None:
    shown = typed(folder, "status", "--url", f"http://127.0.0.1:{port}", "--json")
    try:
        document: Any = json.loads(shown.stdout)
        (rollout,) = document["rollouts"]
        return next((rule["verdict"] for rule in rollout["findings"] if rule["rule"] == "error_rate"), None)
    except (ValueError, KeyError, TypeError):
        return None
