"""The tools of the command line as processes: what they print, for people and for machines, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.histories import MONDAY, Behaviour, History, openmetrics
from killswitch.timestamps import from_iso, to_iso
from tests.servers.etcd import free_ports
from tests.servers.prometheus import PrometheusServer
from tests.unit.preflight.backtest.test_backtest import RULES

HOUR = 3600.0
REFUSING = History(seconds=2 * HOUR, onset=1.5 * HOUR, canary=Behaviour(refusals=0.25), rate=30)


def _killswitch(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "killswitch", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=120,
        check=False,
    )


def _lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "copilot.yaml").write_bytes(RULES)
    (tmp_path / "bad.om").write_text(openmetrics(REFUSING))
    return tmp_path


def test_backtest_prints_a_line_a_trip(folder: Path) -> None:
    """A line for each trip; with --json an object for each trip, and a summary."""
    spoken = _killswitch("backtest", "--rules", "rules", "--data", "bad.om", cwd=folder)
    assert spoken.returncode == 0, spoken.stderr
    trip, summary = _lines(_killswitch("backtest", "--rules", "rules", "--data", "bad.om", "--json", cwd=folder))
    assert trip["rollout"] == "copilot"
    assert trip["rule"] == "refusal_rate"
    assert 0 < from_iso(trip["at"]) - REFUSING.onset_at < 600
    assert f"{trip['at']} copilot refusal_rate: {trip['sentence']}" in spoken.stdout
    assert summary["summary"]["trips"] == 1
    assert summary["summary"]["ticks"] > 100
    assert summary["summary"]["scrape_interval_seconds"] == 15
    assert from_iso(summary["summary"]["span"]["from"]) >= MONDAY


def test_backtest_on_a_healthy_history_says_no_trip(folder: Path) -> None:
    """A healthy history exits with 0, and the back-test says that there was no trip."""
    (folder / "good.om").write_text(openmetrics(History(seconds=HOUR, scrape_interval=30)))
    done = _killswitch("backtest", "--rules", "rules", "--data", "good.om", cwd=folder)
    assert done.returncode == 0
    assert "copilot: no trip" in done.stdout


def test_backtest_compares_draws_and_measures_the_scrape_interval(folder: Path) -> None:
    (folder / "slow.om").write_text(openmetrics(History(seconds=2 * HOUR, scrape_interval=20, jitter=0.3, rate=10)))
    done = _killswitch(
        "backtest",
        "--rules",
        "rules",
        "--data",
        "slow.om",
        "--compare",
        "threshold",
        "--plot",
        "x.png",
        "--json",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    summary = _lines(done)[-1]["summary"]
    assert summary["scrape_interval_seconds"] == 20
    assert summary["step_seconds"] == 40
    (rollout,) = summary["rollouts"]
    assert {rule["rule"]: rule["trips"] for rule in rollout["threshold"]}["thumbs_down_rate"] > 0
    assert (folder / "x.png").read_bytes().startswith(b"\x89PNG")


def test_backtest_says_which_rollout_has_no_data(folder: Path) -> None:
    (folder / "rules" / "other.yaml").write_bytes(RULES.replace(b"copilot", b"other\nmatch: {service: gone}"))
    done = _killswitch("backtest", "--rules", "rules", "--data", "bad.om", cwd=folder)
    assert done.returncode == 1  # what was asked of it did not come true, and a CI must not take it for a pass
    assert "other: NOT JUDGED" in done.stderr
    assert "copilot: 1 trip" in done.stdout


def test_backtest_asks_a_prometheus_for_a_span(folder: Path) -> None:
    with PrometheusServer(folder / "prometheus", history=(folder / "bad.om").read_text()) as server:
        span = ("--from", to_iso(MONDAY), "--to", str(MONDAY + 2 * HOUR))
        done = _killswitch("backtest", "--rules", "rules", "--prometheus", server.url, *span, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        trips = _lines(done)[:-1]
    assert [trip["rule"] for trip in trips] == ["refusal_rate"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--data", "gone.om"), 2, "cannot read the recording"),
        (("--data", "cut.om"), 2, "# EOF"),
        (("--data", "bad.om", "--from", "yesterday"), 2, "7d"),
        (("--data", "bad.om", "--rollout", "nobody"), 2, "copilot"),
        (("--data", "bad.om", "--prometheus", "http://127.0.0.1:1"), 2, "not both"),
        (("--data", "bad.om", "--rearm-after", "5"), 2, "no unit"),
        (("--data", "bad.om", "--armed-at", "2031-01-01T00:00:00Z"), 1, "NOT JUDGED"),
    ],
)
def test_backtest_refuses_what_it_cannot_use(folder: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    (folder / "cut.om").write_text("llm_requests_total 1 1\n")
    done = _killswitch("backtest", "--rules", "rules", *arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_backtest_against_a_prometheus_that_is_down_ends_with_3(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = _killswitch("backtest", "--rules", "rules", "--prometheus", url, "--from", "1h", cwd=folder)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_power_answers_with_delays_and_the_smallest_percent(folder: Path) -> None:
    done = _killswitch(
        "power",
        "--rules",
        "rules",
        "--rate",
        "50/s",
        "--percent",
        "5",
        "--regression",
        "refusal_rate=20%",
        "--regression",
        "error_rate=100%",
        "--json",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["rollouts"]
    assert found["rules"][0]["rule"] == "error_rate"
    assert all(rule["assumed"] for rule in found["rules"])
    assert all(0 < each["smallest_percent"] < 5 for each in found["regressions"])


def test_power_takes_controls_rates_from_a_recording(folder: Path) -> None:
    done = _killswitch("power", "--rules", "rules", "--data", "bad.om", "--users", "2000", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "measured or given" in done.stdout
    assert "users at 5%" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rate", "50"), "50/s"),
        (("--percent", "100"), "between 0 and 100"),
        (("--regression", "refusal_rate=8"), "refusal_rate=8.7%"),
        (("--regression", "nope=8%"), "error_rate"),
        (("--regression", "error_rate=101%"), "error_rate=8.7%"),
        (("--regression", "refusal_rate=1%"), "within the limit"),
        (("--baseline", "latency_p95=2s"), "histogram"),
    ],
)
def test_power_refuses_what_it_cannot_use(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    done = _killswitch("power", "--rules", "rules", *arguments, cwd=folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_rule_tests_pass_fail_and_are_refused_with_0_1_and_2(folder: Path) -> None:
    good = _killswitch("test", Path(__file__).parents[2] / "examples" / "rule-tests.yaml", cwd=folder)
    assert (good.returncode, "all met" in good.stdout) == (0, True)
    (folder / "t.yaml").write_text(
        "rules: rules\n"
        "tests:\n"
        "  - input_series:\n"
        "      - {series: 'llm_requests_total{cohort=\"control\"}', values: '0+9x40'}\n"
        "    expect:\n"
        "      - {at: 5m, rule: error_rate, verdict: BREACH}\n"
    )
    failed = _killswitch("test", "t.yaml", cwd=folder)
    assert failed.returncode == 1
    assert "t.yaml:6" in failed.stderr
    assert "expected: BREACH" in failed.stdout
    assert "got:      UNKNOWN (NO_DATA)" in failed.stdout
    (folder / "t.yaml").write_text("tests: nonsense\n")
    assert _killswitch("test", "t.yaml", cwd=folder).returncode == 2


def test_doctor_exits_with_1_if_something_is_wrong(folder: Path) -> None:
    """It exits with 1 if something is wrong, and with 0 if nothing is."""
    (folder / "good.om").write_text(openmetrics(History(seconds=2 * HOUR, judged=True, rate=30)))
    good = _killswitch("doctor", "--rules", "rules", "--data", "good.om", "--json", cwd=folder)
    assert good.returncode == 0, good.stdout
    assert json.loads(good.stdout)["ok"] is True
    bad = _killswitch("doctor", "--rules", "rules", "--data", "good.om", "--scrape-interval", "5s", cwd=folder)
    assert bad.returncode == 1
    assert "set scrape_interval: 15s" in bad.stdout


def test_doctor_says_when_store_and_source_do_not_answer(folder: Path) -> None:
    ports = free_ports(2)
    done = _killswitch(
        "doctor",
        "--rules",
        "rules",
        "--store",
        f"etcd://127.0.0.1:{ports[0]}",
        "--prometheus",
        f"http://127.0.0.1:{ports[1]}",
        "--json",
        cwd=folder,
    )
    assert done.returncode == 1, done.stderr
    wrong = {check["about"] for check in json.loads(done.stdout)["checks"] if check["status"] == "wrong"}
    assert wrong == {"flag store", "metric source"}


def test_doctor_takes_one_rollout_and_its_problems_alone(folder: Path) -> None:
    """A rollout without data is wrong, another is well: each alone, with and without what is well."""
    (folder / "good.om").write_text(openmetrics(History(seconds=2 * HOUR, judged=True, rate=30)))
    silent = RULES.replace(b"copilot", b"silent") + b"match: {service: nowhere}\n"
    (folder / "rules" / "silent.yaml").write_bytes(silent)

    def doctor(*more: str) -> tuple[int, list[dict[str, Any]]]:
        done = _killswitch("doctor", "--rules", "rules", "--data", "good.om", "--json", *more, cwd=folder)
        document = json.loads(done.stdout)
        assert document["ok"] is (done.returncode == 0)
        return done.returncode, document["checks"]

    both_end, both = doctor()
    assert both_end == 1
    assert {"copilot", "silent"} <= {check["about"].split()[0] for check in both}
    order = [check["status"] for check in both]
    assert order == sorted(order, key=["wrong", "warning", "note", "ok"].index)

    good_end, good = doctor("--rollout", "copilot")
    assert good_end == 0
    assert not [check for check in good if "silent" in check["about"]]
    assert [check for check in good if check["about"].startswith("copilot")]

    bad_end, bad = doctor("--rollout", "silent", "--problems-only")
    assert bad_end == 1
    assert bad
    assert not [check for check in bad if "copilot" in check["about"] or check["status"] not in ("wrong", "warning")]
    assert any(check["fix"] for check in bad)

    _, problems = doctor("--problems-only")
    assert problems == [check for check in both if check["status"] in ("wrong", "warning")]


def test_doctor_says_so_if_there_is_no_problem(folder: Path) -> None:
    """Without a problem the doctor says so; it refuses an unknown rollout."""
    (folder / "good.om").write_text(openmetrics(History(seconds=2 * HOUR, judged=True, rate=30)))
    asked = ("doctor", "--rules", "rules", "--data", "good.om")
    found = json.loads(_killswitch(*asked, "--json", "--problems-only", cwd=folder).stdout)["checks"]
    spoken = _killswitch(*asked, "--problems-only", cwd=folder)
    assert spoken.returncode == 0
    assert ("No problems." in spoken.stdout) is not bool(found)
    unknown = _killswitch(*asked, "--rollout", "copilott", cwd=folder)
    assert unknown.returncode == 2
    assert "copilott" in unknown.stderr
    assert "copilot" in unknown.stderr.replace("copilott", "")
