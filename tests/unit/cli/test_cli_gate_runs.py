"""`killswitch gate show` and `gate list`: stored runs in words, and a report with all its rows."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.gate.report.writing import write_reports
from killswitch.registry import gate_runs
from killswitch.roles.gate_record import GateRecord, GateVerdict
from killswitch.stores import Put, Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.gate_reports import every_kind, record, report_of
from tests.unit.cli.shell import Shell

ROLE = "review_triage"


def run_at(at: float, verdict: GateVerdict, why: str = "because") -> GateRecord:
    return replace(record(verdict, why), run=gate_runs.run_id(at, "a1b2c3"), started_at=at, ended_at=at + 60.0)


@pytest.fixture
def kept(shell: Shell) -> Store:
    """The embedded store with two runs: one passed yesterday, one failed an hour ago."""
    store = open_store(shell.store)
    now = time.time()
    gate_runs.keep(store, run_at(now - 86_400.0, GateVerdict.PASS))
    gate_runs.keep(store, run_at(now - 3_600.0, GateVerdict.FAIL, "agreement is 90%"))
    return store


@pytest.mark.usefixtures("kept")
def test_the_newest_run_is_shown_with_what_to_do_next(shell: Shell) -> None:
    done = shell("gate", "show", ROLE)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("FAIL: agreement is 90%")
    assert "killswitch role waive" in done.stdout


@pytest.mark.usefixtures("kept")
def test_a_run_is_shown_by_its_id(shell: Shell) -> None:
    runs = shell.json("gate", "list", ROLE)["runs"]
    shown = shell.json("gate", "show", ROLE, runs[1]["run"])
    assert (shown["verdict"], shown["allows_promotion"]) == ("PASS", True)


@pytest.mark.usefixtures("kept")
def test_runs_are_listed_newest_first(shell: Shell) -> None:
    lines = shell("gate", "list", ROLE).stdout.splitlines()
    assert [("FAIL" in line, "PASS" in line) for line in lines[1:]] == [(True, False), (False, True)]
    assert len(shell.json("gate", "list", ROLE, "--since", "2h")["runs"]) == 1


def test_a_role_without_runs_is_told_how_to_make_one(shell: Shell) -> None:
    assert "killswitch gate run" in shell("gate", "list", "other").stdout
    done = shell("gate", "show", "other")
    assert (done.exit_code, "no gate run yet" in done.stderr) == (2, True)
    done = shell("gate", "show", "other", "20260101T000000Z-x")
    assert (done.exit_code, "killswitch gate list other" in done.stderr) == (2, True)


def test_a_damaged_run_is_named_and_the_others_are_listed(shell: Shell, kept: Store) -> None:
    """No decision rests on a list; a promotion refuses what it cannot read."""
    broken = gate_runs.run_id(time.time(), "broken")
    kept.commit((), (Put(keys.gate_run(ROLE, broken), b"{"),))
    done = shell("gate", "list", ROLE)
    assert done.exit_code == 1
    assert broken in done.stderr
    assert "PASS" in done.stdout


def test_a_report_shows_all_rows_without_a_store(shell: Shell, tmp_path: Path) -> None:
    files = write_reports(report_of(every_kind("bug")), tmp_path)
    done = shell("gate", "show", ROLE, "--report", str(files[1]), "--store", "etcd://127.0.0.1:9")
    assert done.exit_code == 0, done.output
    assert "candidate wrong: 1 row" in done.stdout
    assert shell.json("gate", "show", ROLE, "--report", str(files[1])) == json.loads(files[1].read_text())


def test_a_report_of_another_role_is_refused(shell: Shell, tmp_path: Path) -> None:
    files = write_reports(report_of(every_kind("bug")), tmp_path)
    done = shell("gate", "show", "other", "--report", str(files[1]))
    assert (done.exit_code, "of role review_triage" in done.stderr) == (2, True)


def test_a_name_that_is_no_role_is_refused(shell: Shell) -> None:
    assert shell("gate", "list", "No Role").exit_code == 2
    assert shell("gate", "show", "../x").exit_code == 2
