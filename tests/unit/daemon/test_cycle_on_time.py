"""A cycle begins when its tick is due, whenever the job that looks for it happens to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from killswitch.daemon.daemon import Daemon
from killswitch.daemon.settings import load_settings

RULES = """\
rollout: copilot
control: old
canary: new
metrics: cohort-labels
rules:
  error_rate: {max: 2%}
"""


@pytest.fixture
def daemon_of(tmp_path: Path) -> Callable[[Callable[[float], None]], Daemon]:
    """A daemon that sleeps as told, with an interval of 30 s: it looks for a due tick every second."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "copilot.yaml").write_text(RULES)
    settings = load_settings(
        rules=rules,
        store=f"sqlite:{tmp_path / 'flags.db'}",
        source="prometheus+http://127.0.0.1:9",
        listen="127.0.0.1:0",
    )
    return lambda sleep: Daemon(settings, sleep=sleep)


class Cycles:
    """Stands for the controller: a tick that is due ``due_in`` seconds from now, and how many cycles ran."""

    def __init__(self, due_in: float) -> None:
        self.due_in = due_in
        self.count = 0

    def seconds_until_due(self) -> float:
        return self.due_in

    def run_cycle(self) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("due_in", "slept", "cycles"),
    [(0.0, [], 1), (0.4, [0.4], 1), (1.0, [1.0], 1), (1.1, [], 0)],
    ids=["due", "due before the next turn", "due at the next turn", "due later"],
)
def test_a_cycle_does_not_wait_for_the_next_turn(
    daemon_of: Callable[[Callable[[float], None]], Daemon],
    monkeypatch: pytest.MonkeyPatch,
    due_in: float,
    slept: list[float],
    cycles: int,
) -> None:
    """A job that comes up to a second before its tick is due waits for the tick, and judges it at once."""
    controller, sleeps = Cycles(due_in), []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        controller.due_in -= seconds

    daemon = daemon_of(sleep)
    monkeypatch.setattr(daemon, "_controller", controller)
    daemon._cycle_if_due()
    assert (sleeps, controller.count) == (slept, cycles)


def test_a_stopped_daemon_begins_no_cycle(
    daemon_of: Callable[[Callable[[float], None]], Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is stopped while a cycle is nearly due does not begin it."""
    controller = Cycles(0.4)
    daemon = daemon_of(lambda _seconds: daemon.stop())
    monkeypatch.setattr(daemon, "_controller", controller)
    daemon._cycle_if_due()
    assert controller.count == 0
