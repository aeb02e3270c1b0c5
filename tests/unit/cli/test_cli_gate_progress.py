"""What a person sees of a gate run while it goes on."""

from __future__ import annotations

import io

import pytest

from killswitch.cli import console
from killswitch.cli.console import Terminal
from killswitch.cli.gate.progress import GateView, shown
from killswitch.gate.judging import GateOutcome
from killswitch.roles.gate_record import GateVerdict
from tests.doubles.clock import VirtualClock
from tests.doubles.gate_reports import FLOOR


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(console, "err", Terminal(file=out, highlight=False, width=200))
    return out


def test_without_a_terminal_a_line_comes_now_and_then(written: io.StringIO) -> None:
    clock = VirtualClock()
    view = GateView(400, None, clock.monotonic)
    for done in range(1, 101):
        clock.advance(0.5)
        view.row(done, 1_000 * done)
    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == "30 of 400 rows asked, $0.03 spent"


def test_looks_and_the_end_are_said(written: io.StringIO) -> None:
    outcome = GateOutcome(GateVerdict.TOO_FEW_ROWS, (), FLOOR, "not yet")
    view = GateView(400, None, VirtualClock().monotonic)
    view.look(outcome, 200)
    view.look(outcome, 400)
    view.ending("429 of \x1b[31mmodel")
    assert written.getvalue().splitlines() == [
        "after 200 rows: not clear yet, asking more",
        "no further call: 429 of ?[31mmodel; calls under way are waited for",
    ]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "err", Terminal(file=out, force_terminal=True, width=120))
    with shown(400) as view:
        view.row(120, 41_200)
        view.ending("it was stopped")
    assert "120/400" in out.getvalue()
    assert "$0.0412" in out.getvalue()
    assert "it was stopped" in out.getvalue()
