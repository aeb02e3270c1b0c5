"""What watches beside the cycle: rule files in force, the wall clock, and the call that says we are alive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from killswitch.daemon.clock_guard import ClockGuard
from killswitch.daemon.dead_mans_switch import DeadMansSwitch
from killswitch.daemon.rules_in_force import RulesInForce
from killswitch.errors import BadRules
from killswitch.net.credentials import Secret
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from tests.doubles.clock import VirtualClock
from tests.doubles.http_double import Answer
from tests.doubles.webhook import WebhookDouble

GOOD = "rollout: {name}\ncontrol: a\ncanary: b\nmetrics: cohort-labels\nrules:\n  error_rate: {{max: {limit}}}\n"


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[list[str]] = []
        self.metrics = SelfMetrics("1")
        self.write("copilot")

    def write(self, name: str, limit: str = "2%", text: str | None = None) -> None:
        (self.path / f"{name}.yaml").write_text(GOOD.format(name=name, limit=limit) if text is None else text)

    def open(self) -> RulesInForce:
        return RulesInForce(self.path, metrics=self.metrics, wall=lambda: 7.0, on_refused=self.refused.append)

    def ok(self) -> float | None:
        return self.metrics.registry.get_sample_value("killswitch_rules_reload_ok")


def limit_of(rules: RulesInForce) -> float | None:
    return rules.current().rollouts["copilot"].rules[0].limits.maximum


def test_changed_files_are_taken_over_whole(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    rules = folder.open()
    before = rules.current()
    rules.look()
    assert rules.current() is before
    folder.write("copilot", "3%")
    folder.write("second")
    rules.look()
    assert limit_of(rules) == 0.03
    assert sorted(rules.current().rollouts) == ["copilot", "second"]
    assert rules.current().digest != before.digest


def test_prices_in_another_folder_are_read_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    prices = tmp_path / "prices.yaml"
    line = "prices: [{{model: b, valid_from: 2026-01-01, input: {}, output: 20}}]\n"
    prices.write_text(line.format(1))
    folder = Folder(tmp_path / "rules")
    folder.write("copilot", text=GOOD.format(name="copilot", limit="2%") + "spend: {prices: ../prices.yaml}\n")
    rules = folder.open()
    before = rules.prices()
    rules.look()
    assert rules.prices() is before
    prices.write_text(line.format(12))
    rules.look()
    price = rules.prices()["copilot"].price("b", 1.8e9)
    assert price is not None
    assert price.input == 12_000_000
    prices.write_text("prices: []")
    for _ in range(3):
        rules.look()
    assert len(folder.refused) == 1


def test_a_rollout_that_loses_its_file_is_named_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Folder(tmp_path)
    folder.write("second")
    rules = folder.open()
    with caplog.at_level(logging.WARNING):
        folder.write("copilot", "3%")
        rules.look()
        assert "had a rule file" not in caplog.text
        (tmp_path / "second.yaml").unlink()
        rules.look()
        rules.look()
    (said,) = [one for record in caplog.records if "had a rule file" in (one := record.getMessage())]
    assert "second had a rule file until now, and has none any more: no rule judges it" in said
    assert "`killswitch end`" in said
    assert folder.refused == []


@pytest.mark.parametrize("text", ["rollout: [", "rollout: copilot\n", GOOD.format(name="copilot", limit="2")])
def test_a_bad_file_keeps_the_last_good_set_and_is_reported_once(tmp_path: Path, text: str) -> None:
    """One bad file keeps the whole last good set of rules, and is reported once."""
    folder = Folder(tmp_path)
    rules = folder.open()
    before = rules.current()
    folder.write("copilot", "9%")
    folder.write("second", text=text)
    for _ in range(3):
        rules.look()
    assert rules.current() is before
    assert len(folder.refused) == 1
    assert folder.ok() == 0
    (tmp_path / "second.yaml").unlink()
    rules.look()
    assert (limit_of(rules), folder.ok()) == (0.09, 1)


def test_a_folder_that_vanishes_keeps_the_last_good_set(tmp_path: Path) -> None:
    inner = tmp_path / "rules"
    inner.mkdir()
    folder = Folder(inner)
    rules = folder.open()
    inner.rename(tmp_path / "gone")
    rules.look()
    assert limit_of(rules) == 0.02
    assert len(folder.refused) == 1
    (tmp_path / "gone").rename(inner)
    rules.look()
    assert folder.ok() == 1


def test_no_rules_at_all_do_not_start(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "copilot.yaml").unlink()
    with pytest.raises(BadRules):
        folder.open()


def test_a_dangling_link_is_a_change_and_not_a_crash(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    rules = folder.open()
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    rules.look()
    assert limit_of(rules) == 0.02


# --- the clock ----------------------------------------------------------------------------------


def test_a_step_of_the_wall_clock_is_told_once_with_its_length() -> None:
    clock = VirtualClock()
    jumps: list[float] = []
    guard = ClockGuard(jumps.append, monotonic=clock.monotonic, wall=clock.wall)
    for seconds in (0.0, -3600.0, 3600.0, 0.5, -0.9):
        clock.advance(1.0)
        guard.check()
        clock.jump_wall(seconds)
        guard.check()
    assert [round(jump) for jump in jumps] == [-3600, 3600]


# --- the dead man's switch ----------------------------------------------------------------------


def report(tick: float) -> CycleReport:
    return CycleReport(tick, 1.0, 0.1, {})


def test_it_is_called_once_a_cycle_and_its_address_is_never_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = SelfMetrics("1")

    def calls(outcome: str) -> float | None:
        return metrics.registry.get_sample_value("killswitch_heartbeat_calls_total", {"outcome": outcome})

    with WebhookDouble() as hook:
        monkeypatch.setenv("KILLSWITCH_TEST_HEARTBEAT", f"{hook.url}/s3cret")
        dead_man = DeadMansSwitch(Secret.from_environment("KILLSWITCH_TEST_HEARTBEAT"), "a", metrics)
        dead_man.call()
        assert hook.pages == []
        dead_man.cycle_finished(report(1_776_608_520.0))
        dead_man.call()
        dead_man.call()
        assert hook.pages == [{"controller": "a", "tick": "2026-04-19T14:22:00Z", "status": "alive"}]
        hook.fail_next(Answer(500))
        dead_man.cycle_finished(report(1_776_608_550.0))
        dead_man.call()
    monkeypatch.setenv("KILLSWITCH_TEST_NOBODY", "http://127.0.0.1:9/s3cret")
    unheard = DeadMansSwitch(Secret.from_environment("KILLSWITCH_TEST_NOBODY"), "a", metrics)
    unheard.cycle_finished(report(1_776_608_580.0))
    unheard.call()
    assert (calls("ok"), calls("failed")) == (1, 2)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("told", [lambda one: one.cycle_finished(report(1.0)), lambda _one: None])
def test_without_an_address_nobody_is_called(told: Callable[[DeadMansSwitch], None]) -> None:
    dead_man = DeadMansSwitch(None, "a", SelfMetrics("1"))
    told(dead_man)
    dead_man.call()
