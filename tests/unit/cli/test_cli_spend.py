"""`killswitch spend`: what is spent, leased and capped, and what is said of a corrupt account."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from killswitch.cli.console import Terminal
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.period_clock import clock_document
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import Reservation
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.unit.cli.shell import Shell

NOW = datetime(2026, 11, 12, 14, tzinfo=UTC).timestamp()  # a Thursday, far from the end of any period but the hour's
PRICES = PriceList([Price("m", 0.0, *[MILLION] * 5)])
CAPS = (
    Cap("shadow:copilot", Period.MONTH, soft=2 * MILLION, hard=5 * MILLION),
    Cap("judge", Period.MONTH, hard=100 * MILLION),
    Cap("judge", Period.DAY),
)


@pytest.fixture
def spent(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Three dollars are spent of five, and a cent is reserved by a process that lives. It is `NOW`, and stays so."""
    monkeypatch.setattr("killswitch.cli.spend.time", SimpleNamespace(time=lambda: NOW, monotonic=lambda: 0.0))
    # an hour: a slow machine is no reason for the lease to end
    ledger = Ledger(
        shell.store, CAPS, PRICES, wait=0.0, ttl=3600.0, wall=lambda: NOW, monotonic=lambda: 0.0, background=False
    )
    scoped = ledger.for_scopes("shadow:copilot", "judge")
    for tokens, settled in ((3 * MILLION, True), (10_000, False)):
        while not isinstance(answer := scoped.reserve("m", tokens, 0), Reservation):
            ledger.step()
        if settled:
            answer.settle()
    return shell


def test_spend_shows_what_is_used_and_when_a_cap_is_reached(spent: Shell) -> None:
    lines = spent("spend").stdout.splitlines()
    assert lines[0].split() == ["scope", "per", "used", "leased", "soft", "hard", "forecast"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["judge", "day"], ["judge", "month"], ["shadow:copilot", "month"],
    ]  # fmt: skip
    assert "counted without a cap" in lines[1]
    assert "$5.00  soft cap reached; the period ends Tue 01 Dec 00:00 UTC" in lines[3]
    assert "$2.00" in lines[3]


def test_a_pipe_has_a_line_for_each_scope(spent: Shell) -> None:
    """A pipe has no width: the forecast was cut into eight lines at the 80th column."""
    lines = spent("spend").stdout.splitlines()
    assert len(lines) == 4
    assert lines[3].endswith("at this rate")
    assert len(lines[3]) > 120


@pytest.mark.parametrize(("columns", "rows"), [(80, 6), (200, 4)])
def test_a_terminal_has_whole_forecasts(spent: Shell, monkeypatch: pytest.MonkeyPatch, columns: int, rows: int) -> None:
    """Where the rows do not fit, a scope has two lines of its own."""
    terminal = Terminal(width=columns, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr("killswitch.cli.console.out", terminal)
    monkeypatch.setattr("killswitch.cli.spend.out", terminal)
    assert spent("spend").exit_code == 0
    lines = spent("spend").stdout.splitlines()
    assert len(lines) == rows
    assert sum("soft cap reached; the period ends Tue 01 Dec 00:00 UTC; cap " in line for line in lines) == 1
    if columns == 80:
        assert lines[4].startswith("shadow:copilot per month: used $3.")
        assert lines[5].startswith("  soft cap reached; ")


def test_spend_as_json_has_micro_dollars(spent: Shell) -> None:
    one = next(one for one in spent.json("spend", "shadow:copilot")["scopes"])
    assert one["used_micros"] >= 3_010_000
    assert one["used_micros"] + one["leased_micros"] <= one["hard_micros"] == 5_000_000
    assert one["soft_reached_at"] is not None


def test_an_unknown_scope_is_refused_with_the_known_ones(spent: Shell) -> None:
    done = spent("spend", "shadow")
    assert done.exit_code == 2
    assert "known scopes: judge, shadow:copilot" in done.stderr


def test_spend_before_anything_was_spent(shell: Shell) -> None:
    done = shell("spend")
    assert done.exit_code == 0
    assert "nothing was spent through the ledger yet" in done.stdout


def test_a_corrupt_account_is_named_and_the_others_are_shown(spent: Shell) -> None:
    store = open_store(spent.store)
    store.commit((), (Put(keys.account("judge", "day"), b"{"), Put(keys.LEDGER + "odd", b"{}")))
    store.close()
    done = spent("spend")
    assert done.exit_code == 1
    assert "repair or delete /killswitch/v1/ledger/judge/day" in done.stderr
    assert "/killswitch/v1/ledger/odd" in done.stderr
    assert "shadow:copilot" in done.stdout


def test_a_file_of_prices_is_checked_and_shown(spent: Shell) -> None:
    file = spent.folder / "prices.yaml"
    file.write_text(
        "prices:\n- {model: gpt-5, valid_from: 2026-01-01, input: 1.25, output: 10}\n"
        "- {model: later, valid_from: 2126-01-01, input: 1.25, output: 10}\n"
    )
    done = spent("spend", "--prices", str(file))
    assert "prices of 1 model are valid now" in done.stdout
    assert "gpt-5: input $1.25, cached_input $1.25, cache_write $1.25, output $10.00, reasoning $10.00" in done.stdout
    assert spent.json("spend", "--prices", str(file))["prices"]["gpt-5"]["input"] == 1_250_000
    file.write_text(json.dumps([]))
    refused = spent("spend", "--prices", str(file))
    assert refused.exit_code == 2
    assert "prices.yaml: no object; fix: write one with prices" in refused.stderr


def test_spend_names_a_process_whose_clock_is_wrong(spent: Shell) -> None:
    store = open_store(spent.store)
    store.commit((), (Put(keys.ledger_clock("host-7-ab"), clock_document(5400.0)),))
    store.close()
    assert spent.json("spend")["clocks"] == {"host-7-ab": 5400.0}
    assert "the clock of host-7-ab is 1h30m ahead of the flag store's" in spent("spend").stderr
