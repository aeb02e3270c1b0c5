"""The alerts on the kill switch itself: each fires when its fault lasts, and none fires while all is well."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from killswitch.rules.units import parse_duration
from killswitch.status.self_metrics import SelfMetrics
from tests.servers.image import REPOSITORY
from tests.servers.prometheus import PROMTOOL

# kustomize's are the same, and the chart's of one release: tests/e2e/test_helm_chart.py compares them
FILE = REPOSITORY / "deploy" / "helm" / "files" / "alerts.yaml"
Series = list[tuple[str, str]]

# alert -> the series under which it fires after twenty minutes; samples are a minute apart
FIRING: dict[str, Series] = {
    "KillswitchAbsent": [],
    "KillswitchNoGoodEvaluation": [
        ('killswitch_rollout_armed{rollout="a",pod="1"}', "1x30"),
        ('killswitch_canary_percent{rollout="a",pod="1"}', "5x30"),
        ('killswitch_last_good_evaluation_timestamp_seconds{rollout="a",pod="1"}', "30x30"),
    ],
    "KillswitchNeverEvaluated": [
        ('killswitch_rollout_armed{rollout="a",pod="1"}', "1x30"),
        ('killswitch_canary_percent{rollout="a",pod="1"}', "1x30"),
    ],
    "KillswitchBlind": [
        ('killswitch_source_up{pod="1"}', "0x30"),
        ('killswitch_source_up{pod="2"}', "0x30"),
    ],
    "KillswitchCannotAct": [
        ('killswitch_store_up{pod="1"}', "0x30"),
        ('killswitch_store_up{pod="2"}', "0x30"),
    ],
    "KillswitchTripNotCommitted": [('killswitch_trips_under_way{pod="1"}', "1x30")],
    "KillswitchReloadFailed": [('killswitch_rules_reload_ok{pod="1"}', "0x30")],
    "KillswitchArmedWithoutRules": [('killswitch_rollouts_without_rules{pod="1"}', "1x30")],
    "KillswitchDrillMissed": [('killswitch_drill_ok{rollout="a",pod="1"}', "0x30")],
    "KillswitchMissesTicks": [('killswitch_missed_ticks_total{pod="1"}', "0+1x30")],
    "KillswitchSlackDisconnected": [
        ('killswitch_slack_socket_connected{pod="1"}', "0x30"),
        ('killswitch_slack_socket_connected{pod="2"}', "NaN NaN NaN"),
    ],
    "KillswitchOneReplica": [('killswitch_build_info{pod="1"}', "1x30")],
}
# two replicas in good order
QUIET: Series = [
    ('killswitch_build_info{pod="1"}', "1x30"),
    ('killswitch_build_info{pod="2"}', "1x30"),
    ('killswitch_rollout_armed{rollout="a",pod="1"}', "1x30"),
    ('killswitch_rollout_armed{rollout="a",pod="2"}', "1x30"),
    ('killswitch_canary_percent{rollout="a",pod="1"}', "5x30"),
    ('killswitch_canary_percent{rollout="a",pod="2"}', "5x30"),
    # one of them has been blind for long: the fleet is not
    ('killswitch_last_good_evaluation_timestamp_seconds{rollout="a",pod="1"}', "0+60x30"),
    ('killswitch_last_good_evaluation_timestamp_seconds{rollout="a",pod="2"}', "0x30"),
    ('killswitch_source_up{pod="1"}', "1x30"),
    ('killswitch_source_up{pod="2"}', "0x30"),
    # tripped: no verdict is needed
    ('killswitch_rollout_armed{rollout="b",pod="1"}', "0x30"),
    ('killswitch_canary_percent{rollout="b",pod="1"}', "0x30"),
    ('killswitch_last_good_evaluation_timestamp_seconds{rollout="b",pod="1"}', "0x30"),
    # rolled out to everyone
    ('killswitch_rollout_armed{rollout="c",pod="1"}', "0x30"),
    ('killswitch_canary_percent{rollout="c",pod="1"}', "100x30"),
    ('killswitch_last_good_evaluation_timestamp_seconds{rollout="c",pod="1"}', "1x30"),
    # in shadow mode: no user has it
    ('killswitch_rollout_armed{rollout="d",pod="1"}', "1x30"),
    ('killswitch_canary_percent{rollout="d",pod="1"}', "0x30"),
    ('killswitch_last_good_evaluation_timestamp_seconds{rollout="d",pod="1"}', "1x30"),
    ('killswitch_rollout_armed{rollout="e",pod="1"}', "1x30"),
    ('killswitch_canary_percent{rollout="e",pod="1"}', "0x30"),
    # one drill passed, and the next is due in a day; of another rollout there has been none, and none is scheduled
    ('killswitch_drill_ok{rollout="a",pod="1"}', "1x30"),
    ('killswitch_drill_due_timestamp_seconds{rollout="a",pod="1"}', "86400x30"),
    ('killswitch_drill_last_timestamp_seconds{rollout="a",pod="1"}', "1x30"),
    ('killswitch_store_up{pod="1"}', "1x30"),
    ('killswitch_store_up{pod="2"}', "0x30"),
    ('killswitch_trips_under_way{pod="1"}', "0x30"),
    ('killswitch_rules_reload_ok{pod="1"}', "1x30"),
    ('killswitch_rollouts_without_rules{pod="1"}', "0x30"),
    ('killswitch_missed_ticks_total{pod="1"}', "0+1x2 2x28"),
    # one replica is connected to Slack, which is enough
    ('killswitch_slack_socket_connected{pod="1"}', "1x30"),
    ('killswitch_slack_socket_connected{pod="2"}', "0x30"),
]


def rules() -> dict[str, dict[str, Any]]:
    """Each alert by its name."""
    (group,) = yaml.safe_load(FILE.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def ask_promtool(
    alert: str, series: Series, folder: Path, *, firing: bool, at: timedelta, rule: dict[str, Any] | None = None
) -> None:
    """Asks promtool whether ``alert``, after ``at`` of these series, fires or not as expected. ``rule``: its own."""
    (folder / "rules.json").write_text(json.dumps({"groups": [{"name": "one", "rules": [rule or rules()[alert]]}]}))
    expected = {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0',
        "eval_time": f"{at.total_seconds():.0f}s",
        "exp_samples": [{"labels": "{}", "value": 1}] if firing else [],
    }
    test = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series],
                "promql_expr_test": [expected],
            }
        ],
    }
    (folder / "test.json").write_text(json.dumps(test))
    command = [PROMTOOL, "test", "rules", str(folder / "test.json")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_prometheus_accepts_the_alerts() -> None:
    finished = subprocess.run([PROMTOOL, "check", "rules", str(FILE)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"{len(FIRING)} rules found" in finished.stdout


def test_every_alert_is_tested() -> None:
    assert rules().keys() == FIRING.keys()


def test_the_guide_says_what_each_alert_means() -> None:
    guide = (REPOSITORY / "docs" / "helm.md").read_text()
    assert re.findall(r"^\| (Killswitch\w+) \|", guide, re.MULTILINE) == list(rules())


def test_alerts_ask_for_metrics_that_the_daemon_has() -> None:
    families = {family.name for family in SelfMetrics("test").registry.collect()}
    for name, rule in rules().items():
        for metric in re.findall(r"\bkillswitch_\w+", rule["expr"]):
            assert metric.removesuffix("_total") in families, name


@pytest.mark.parametrize("alert", FIRING)
def test_an_alert_fires_when_its_fault_lasts(alert: str, tmp_path: Path) -> None:
    ask_promtool(alert, FIRING[alert], tmp_path, firing=True, at=timedelta(minutes=20))


@pytest.mark.parametrize("alert", FIRING)
def test_no_alert_fires_while_all_is_well(alert: str, tmp_path: Path) -> None:
    ask_promtool(alert, QUIET, tmp_path, firing=False, at=timedelta(minutes=20))


@pytest.mark.parametrize("alert", [name for name, rule in rules().items() if "for" in rule])
def test_an_alert_waits_for_a_short_fault_to_pass(alert: str, tmp_path: Path) -> None:
    """Just before its ``for`` is over it is still pending."""
    waits = timedelta(seconds=parse_duration(rules()[alert]["for"]))
    ask_promtool(alert, FIRING[alert], tmp_path, firing=False, at=waits - timedelta(seconds=10))


@pytest.mark.parametrize(("age", "firing"), [(110, False), (130, True)])
def test_two_minutes_without_a_good_evaluation_fire(age: int, firing: bool, tmp_path: Path) -> None:
    """Ten minutes after the epoch, with the last good evaluation ``age`` seconds before."""
    series = [*FIRING["KillswitchNoGoodEvaluation"][:2]]
    series.append(('killswitch_last_good_evaluation_timestamp_seconds{rollout="a",pod="1"}', f"{600 - age}x30"))
    ask_promtool("KillswitchNoGoodEvaluation", series, tmp_path, firing=firing, at=timedelta(minutes=10))


@pytest.mark.parametrize(("late", "firing"), [(timedelta(hours=3), False), (timedelta(hours=5), True)])
def test_a_drill_that_no_replica_begins_fires(late: timedelta, firing: bool, tmp_path: Path) -> None:
    """It was due an hour after the epoch. Until it is counted as missed, three hours late, no one need look."""
    series = [
        ('killswitch_drill_ok{rollout="a",pod="1"}', "1x600"),
        ('killswitch_drill_due_timestamp_seconds{rollout="a",pod="1"}', "3600x600"),
    ]
    at = timedelta(hours=1) + late
    ask_promtool("KillswitchDrillMissed", series, tmp_path, firing=firing, at=at)


def test_without_buttons_no_socket_is_missed(tmp_path: Path) -> None:
    """The gauge is NaN where no slack_app_token is set."""
    series = [('killswitch_slack_socket_connected{pod="1"}', " ".join(["NaN"] * 31))]
    ask_promtool("KillswitchSlackDisconnected", series, tmp_path, firing=False, at=timedelta(minutes=20))


def test_flags_that_cannot_be_read_may_be_armed(tmp_path: Path) -> None:
    """The gauges of flags are NaN then, and the alert on a missing verdict still fires."""
    series = [
        ('killswitch_rollout_armed{rollout="a",pod="1"}', "NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN"),
        ('killswitch_canary_percent{rollout="a",pod="1"}', "NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN NaN"),
        ('killswitch_last_good_evaluation_timestamp_seconds{rollout="a",pod="1"}', "30x30"),
    ]
    ask_promtool("KillswitchNoGoodEvaluation", series, tmp_path, firing=True, at=timedelta(minutes=10))
