"""The daemon says at start that alerts cannot act: rule files take them, and there is no token."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from killswitch.daemon.alerts_in import alerts_in, names_of
from killswitch.daemon.rules_in_force import RulesInForce
from killswitch.daemon.settings import load_settings
from killswitch.status.self_metrics import SelfMetrics
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore

RULES = "rollout: copilot\ncontrol: a\ncanary: b\nmetrics: cohort-labels\n"


@pytest.mark.parametrize(
    ("alerts", "token", "warned"),
    [("alerts: trip\n", False, True), ("alerts: trip\n", True, False), ("", False, False)],
)
def test_alerts_without_a_token_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, alerts: str, *, token: bool, warned: bool
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "copilot.yaml").write_text(RULES + alerts)
    (tmp_path / "token").write_text("t")
    clock, metrics = VirtualClock(), SelfMetrics("0")
    settings = load_settings(**({"alerts_token_file": tmp_path / "token"} if token else {}))
    rules = RulesInForce(tmp_path / "rules", metrics=metrics, wall=clock.wall, on_refused=lambda _: None)
    with caplog.at_level(logging.WARNING):
        routes = alerts_in(
            settings, MemoryStore(MemoryServer(clock)), controller_id="a", rules=rules, latest=lambda: None,
            flipped=lambda *_: None, metrics=metrics, wall=clock.wall, monotonic=clock.monotonic,
        )  # fmt: skip
    assert [route.path for route in routes] == ["/alerts/alertmanager"]
    assert ("KILLSWITCH_ALERTS_TOKEN_FILE" in caplog.text) == warned


def test_many_names_are_counted() -> None:
    assert names_of(["a"]) == "a"
    assert names_of([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
