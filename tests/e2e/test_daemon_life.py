"""The life of `killswitch run` as a process: start, refusals, its HTTP, the command line beside it, reload, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fleet import Fleet, rules_of, swap
from tests.faults.replica import ROOT, Replica
from tests.servers.etcd import free_ports, wait_until

TOKEN = "s3cret-api-token"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("life")
    (folder / "api").write_text(TOKEN)
    with Fleet(folder / "fleet", replicas=1, settings={"API_TOKEN_FILE": str(folder / "api")}) as fleet:
        yield fleet.start()


def environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
    return {**clean, "PYTHONPATH": str(ROOT), "NO_PROXY": "*", "COLUMNS": "200", **settings}


def killswitch(*arguments: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "killswitch", *arguments],
        env=environment(**settings), cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def answer(replica: Replica, path: str, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{replica.port}{path}", method=method, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return response.status, response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


# --- what it refuses at start -------------------------------------------------------------------


def test_bad_rule_files_are_all_named_and_the_exit_code_is_2(tmp_path: Path) -> None:
    """If rule files are bad, all are named, and the daemon exits with 2 without ever being ready."""
    rules = tmp_path / "rules"
    rules.mkdir()
    head = "control: x\ncanary: y\nmetrics: cohort-labels\n"
    (rules / "a.yaml").write_text(f"rollout: a\n{head}rules:\n  error_rate: {{max: 2}}\n")
    (rules / "b.yaml").write_text(f"rollout: b\n{head}windw: 5m\n")
    done = killswitch("run", "--rules", str(rules), folder=tmp_path)
    assert done.returncode == 2
    assert "a.yaml:6" in done.stderr
    assert "b.yaml:5" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_of_rules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    done = killswitch("run", folder=tmp_path)
    assert done.returncode == 2
    assert "rules" in done.stderr


def test_settings_that_cannot_work_are_all_named_and_it_exits_2(tmp_path: Path) -> None:
    done = killswitch(
        "run", folder=tmp_path, KILLSWITCH_INTERVAL="5s", KILLSWITCH_SLACK_TOKEN_FIEL="x", KILLSWITCH_LISTEN="nowhere"
    )
    assert done.returncode == 2
    for word in ("cycle_deadline + lag", "listen", "KILLSWITCH_SLACK_TOKEN_FIEL", "scrape_interval"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_ends_it_with_a_message(fleet: Fleet, tmp_path: Path) -> None:
    replica = fleet.replicas[0]
    done = killswitch(
        "run", folder=tmp_path,
        **{**{k: v for k, v in replica.environment.items() if k.startswith("KILLSWITCH_")},
           "KILLSWITCH_LISTEN": f"127.0.0.1:{replica.port}", "KILLSWITCH_CONTROLLER_ID": "second"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "is it taken" in done.stderr or "taken?" in done.stderr


# --- its HTTP -----------------------------------------------------------------------------------


def test_it_reports_healthy_and_ready_and_counts_its_cycles(fleet: Fleet) -> None:
    """The daemon reports that it is healthy and ready, and counts its cycles."""
    replica = fleet.replicas[0]
    assert answer(replica, "/-/healthy")[:2] == (200, "the loop runs\n")
    assert answer(replica, "/-/ready")[:2] == (200, "ready\n")
    assert replica.metric("killswitch_cycles_total") > 0
    assert replica.metric("killswitch_rule_verdict", '{rollout="copilot",rule="error_rate",verdict="HEALTHY"}') == 1
    assert replica.metric("killswitch_rules_reload_ok") == 1


def test_reload_needs_the_token_and_answers_have_safe_headers(fleet: Fleet) -> None:
    """A reload needs the token, and every answer has the security headers."""
    replica = fleet.replicas[0]
    assert answer(replica, "/-/reload", "POST")[0] == 401
    assert answer(replica, "/-/reload", "POST", Authorization="Bearer wrong")[0] == 401
    assert answer(replica, "/-/reload", "GET")[0] == 405
    status, text, headers = answer(replica, "/-/reload", "POST", Authorization=f"Bearer {TOKEN}")
    assert (status, text) == (200, "rules reloaded\n")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "script" not in headers["Content-Security-Policy"]
    assert "Server" not in headers


def test_the_status_page_shows_every_rule_and_runs_no_script(fleet: Fleet) -> None:
    status, page, _ = answer(fleet.replicas[0], "/")
    assert status == 200
    for word in ("copilot", "error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate", "HEALTHY"):
        assert word in page
    assert "<script" not in page


def test_a_large_body_or_header_is_refused_and_the_daemon_lives(fleet: Fleet) -> None:
    """A large body and a large header are refused, and the daemon keeps running."""
    replica = fleet.replicas[0]
    assert answer(replica, "/-/reload", "POST", **{"Content-Length": "100000000"})[0] == 413
    request_line = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", replica.port), timeout=10) as raw:
        raw.sendall(request_line)
        assert b" 400 " in raw.recv(1000) or True
    assert answer(replica, "/-/healthy")[0] == 200


# --- the command line beside it -----------------------------------------------------------------


def commands(fleet: Fleet) -> dict[str, str]:
    replica = fleet.replicas[0]
    return {
        "KILLSWITCH_STORE": fleet.etcd.url,
        "KILLSWITCH_RULES": str(fleet.rules),
        "KILLSWITCH_URL": f"http://127.0.0.1:{replica.port}",
    }


def test_status_and_explain_show_what_the_daemon_judged(fleet: Fleet, tmp_path: Path) -> None:
    done = killswitch("status", "--json", folder=tmp_path, **commands(fleet))
    assert done.returncode == 0, done.stderr
    one = json.loads(done.stdout)["rollouts"][0]
    assert (one["rollout"], one["state"], one["canary_percent"]) == ("copilot", "armed", 50.0)
    assert [finding["verdict"] for finding in one["findings"]] == ["HEALTHY"] * 4
    done = killswitch("explain", "copilot", folder=tmp_path, **commands(fleet))
    assert done.returncode == 0, done.stderr
    assert "llm_requests_total" in done.stdout
    done = killswitch("explain", "nobody", folder=tmp_path, **commands(fleet))
    assert done.returncode == 2
    assert "copilot" in done.stderr


# --- reload -------------------------------------------------------------------------------------


def limit(replica: Replica) -> float:
    return float(replica.status()["rollouts"][0]["findings"][0]["limit"])


def test_sighup_loads_good_rules_and_on_bad_ones_keeps_the_last(fleet: Fleet) -> None:
    """SIGHUP loads good rules. If the rules are bad, the last good set stays in force."""
    replica = fleet.replicas[0]
    file = fleet.rules / "copilot.yaml"
    good = file.read_text()
    swap(file, good.replace("max: 2%", "max: 3%"))
    os.kill(replica.pid, signal.SIGHUP)
    wait_until(lambda: limit(replica) == pytest.approx(0.03), "the new limit", 60)
    swap(file, "rollout: [")
    os.kill(replica.pid, signal.SIGHUP)
    wait_until(lambda: replica.metric("killswitch_rules_reload_ok") == 0, "the refusal", 60)
    fleet.for_cycles(2)
    assert limit(replica) == pytest.approx(0.03)
    assert answer(replica, "/-/reload", "POST", Authorization=f"Bearer {TOKEN}")[0] == 422
    wait_until(lambda: len(fleet.pages("new rule files refused")) == 1, "the page", 60)
    swap(file, good)
    wait_until(lambda: limit(replica) == pytest.approx(0.02), "the old limit", 60)
    assert replica.metric("killswitch_rules_reload_ok") == 1
    fleet.for_cycles(2)
    assert len(fleet.pages("new rule files refused")) == 1


def test_a_configmap_arrives_by_its_symlink_swap(fleet: Fleet) -> None:
    """As the kubelet does it: files are links into ..data, which is renamed over."""
    replica = fleet.replicas[0]
    rules = fleet.rules
    text = (rules / "copilot.yaml").read_text()

    def publish(version: str, content: str) -> None:
        (rules / f"..{version}").mkdir()
        (rules / f"..{version}" / "copilot.yaml").write_text(content)
        (rules / "..tmp").symlink_to(f"..{version}")
        (rules / "..tmp").rename(rules / "..data")

    publish("one", text)
    (rules / "link.tmp").symlink_to("..data/copilot.yaml")
    (rules / "link.tmp").rename(rules / "copilot.yaml")
    publish("two", text.replace("max: 2%", "max: 4%"))
    wait_until(lambda: limit(replica) == pytest.approx(0.04), "the swapped limit", 60)
    publish("three", text)
    wait_until(lambda: limit(replica) == pytest.approx(0.02), "the limit before", 60)


# --- its end ------------------------------------------------------------------------------------


def test_sigterm_ends_it_in_10_s_with_exit_0_and_frees_claims(fleet: Fleet) -> None:
    """SIGTERM ends the daemon within ten seconds with exit code 0. It gives back its heartbeat and claims."""
    replica = fleet.add_replica("leaves")
    replica.start()
    assert fleet.store.get("/killswitch/v1/controllers/leaves") is not None
    began = time.monotonic()
    replica.terminate()
    assert replica.wait(30) == 0
    assert time.monotonic() - began <= 10
    assert fleet.store.get("/killswitch/v1/controllers/leaves") is None
    assert fleet.store.list("/killswitch/v1/claims/sessions/leaves").items == ()


def test_it_starts_and_judges_readiness_without_a_flag_store(tmp_path: Path) -> None:
    """Liveness and readiness never depend on etcd or Prometheus: a restart would not bring them back."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "copilot.yaml").write_text(rules_of("copilot"))
    port, nothing, nowhere = free_ports(3)
    process = subprocess.Popen(
        [sys.executable, "-m", "killswitch", "run"],
        env=environment(
            KILLSWITCH_LISTEN=f"127.0.0.1:{port}", KILLSWITCH_STORE=f"etcd://127.0.0.1:{nothing}",
            KILLSWITCH_SOURCE=f"prometheus+http://127.0.0.1:{nowhere}", KILLSWITCH_INTERVAL="3s",
            KILLSWITCH_LAG="500ms", KILLSWITCH_CYCLE_DEADLINE="2s", KILLSWITCH_SCRAPE_INTERVAL="3s",
        ),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def ready() -> bool:
            try:
                return bool(opener.open(f"http://127.0.0.1:{port}/-/ready", timeout=5).status == 200)
            except OSError:
                return False

        wait_until(ready, "ready without etcd and Prometheus", 60)
        assert opener.open(f"http://127.0.0.1:{port}/-/healthy", timeout=5).status == 200
        assert process.stdout is not None
        page = process.stdout.readline() + process.stdout.readline()
        assert "CANNOT_ACT" in page
        assert "the flag store does not answer" in page
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0


def test_an_output_that_nobody_reads_does_not_stop_its_exit() -> None:
    """It would raise, and the interpreter's own exit would then wait for the threads that wait for a silent server."""
    script = (
        "import os, sys, time; from concurrent.futures import ThreadPoolExecutor; from killswitch.cli.run import _end\n"
        "ThreadPoolExecutor(1).submit(time.sleep, 60); sys.stdout.write('x'); _end(0)"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run([sys.executable, "-c", script], stdout=writing, env=buffered, check=False, timeout=30)
    finally:
        os.close(writing)
    assert ended.returncode == 0
