"""`killswitch role …`: a person creates, promotes and rolls back roles."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.registry import gate_runs
from killswitch.roles.config import RoleConfig
from killswitch.roles.gate_record import GateVerdict
from killswitch.rules.role_files import load_roles
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.doubles.gate_records import NEW, OLD, gate_run
from tests.unit.cli.shell import Shell

ROLE_FILE = """\
role: triage
provider: openai
label: $
golden: golden.jsonl
page: {slack: "#triage"}
"""


def role_file(shell: Shell) -> RoleConfig:
    folder = shell.folder / "roles"
    folder.mkdir(exist_ok=True)
    (folder / "triage.yaml").write_text(ROLE_FILE)
    return load_roles(folder)["triage"]


def run_of(shell: Shell, verdict: GateVerdict = GateVerdict.PASS, setup: str | None = None) -> str:
    now = time.time()
    config = role_file(shell)
    record = replace(
        gate_run(gate_runs.run_id(now, "a1"), verdict=verdict, ended_at=now, why="costs 1.2 x prod"),
        setup=setup or config.setup(OLD, NEW),
    )
    gate_runs.keep(open_store(shell.store), record)
    return record.run


@pytest.fixture
def pair(shell: Shell) -> Shell:
    """A role with a prod and a candidate."""
    assert shell("role", "create", "triage", "--prod", OLD, "--yes").exit_code == 0
    assert shell("role", "set-candidate", "triage", NEW, "--yes").exit_code == 0
    return shell


def slots(shell: Shell) -> tuple[str | None, str | None, str | None]:
    found = shell.json("role", "show", "triage")["slots"]
    return found["prod"], found["candidate"], found["previous"]


def test_a_passed_run_promotes_and_pages(pair: Shell) -> None:
    run = run_of(pair)
    done = pair("role", "promote", "triage", "--reason", "it passed", "--yes")
    assert done.exit_code == 0, done.output
    assert f"gate run {run}: PASS" in done.stderr
    assert "PAGE PROMOTED info" in done.stdout
    assert slots(pair) == (NEW, None, OLD)
    assert f"gate run {run}" in pair("role", "list").stdout


def test_nothing_is_promoted_without_evidence_or_a_yes(pair: Shell) -> None:
    refused = pair("role", "promote", "triage", "--reason", "why", "--yes")
    assert (refused.exit_code, "killswitch gate run triage" in refused.stderr) == (2, True)
    run_of(pair)
    asked = pair("role", "promote", "triage", "--reason", "why", answer="n\n")
    assert (asked.exit_code, "nothing was changed" in asked.stderr) == (1, True)
    assert slots(pair) == (OLD, NEW, None)


def test_a_run_needs_the_role_file_it_was_made_with(pair: Shell) -> None:
    run_of(pair, setup="t" * 64)
    changed = pair("role", "promote", "triage", "--reason", "why", "--yes")
    assert (changed.exit_code, "the role file of triage has changed since" in changed.stderr) == (2, True)
    shutil.rmtree(pair.folder / "roles")
    missing = pair("role", "promote", "triage", "--reason", "why", "--yes")
    assert (missing.exit_code, "name the folder with --roles" in missing.stderr) == (2, True)


@pytest.mark.parametrize("roles", ["", "role: triage\nmodels: [", "x: 1\n"])
def test_a_rollback_needs_no_role_file(pair: Shell, roles: str) -> None:
    """Missing, no YAML, or another version's: pages go to the default receivers, and users get the old model."""
    run_of(pair)
    assert pair("role", "promote", "triage", "--reason", "it passed", "--yes").exit_code == 0
    shutil.rmtree(pair.folder / "roles")
    if roles:
        (pair.folder / "roles").mkdir()
        (pair.folder / "roles" / "triage.yaml").write_text(roles)
    done = pair("role", "rollback", "triage", "--reason", "users complain", "--yes")
    assert done.exit_code == 0, done.output
    assert ("role files cannot be read" in done.stderr) is bool(roles)
    assert done.stdout.startswith(f"triage: rolled back, prod is {OLD}")
    assert "PAGE ROLE_ROLLED_BACK critical" in done.stdout
    assert slots(pair) == (OLD, None, None)


def test_a_rollback_that_cannot_page_is_a_rollback(pair: Shell, tmp_path: Path) -> None:
    run_of(pair)
    assert pair("role", "promote", "triage", "--reason", "it passed", "--yes").exit_code == 0
    done = pair(
        "role", "rollback", "triage", "--reason", "bad", "--yes", KILLSWITCH_SLACK_TOKEN_FILE=str(tmp_path / "none")
    )
    assert done.exit_code == 0, done.output
    assert slots(pair) == (OLD, None, None)


def test_a_second_rollback_names_the_way(pair: Shell) -> None:
    run_of(pair)
    pair("role", "promote", "triage", "--reason", "it passed", "--yes")
    pair("role", "rollback", "triage", "--reason", "bad", "--yes")
    again = pair("role", "rollback", "triage", "--reason", "bad", "--yes")
    assert (again.exit_code, "killswitch role rollback triage --to MODEL" in again.stderr) == (2, True)
    assert pair("role", "rollback", "triage", "--to", NEW, "--reason", "it was right", "--yes").exit_code == 0
    assert slots(pair) == (NEW, None, None)


def test_an_approval_opens_the_way(pair: Shell) -> None:
    run = run_of(pair, GateVerdict.NEEDS_APPROVAL)
    assert pair("role", "promote", "triage", "--reason", "why", "--yes").exit_code == 2
    approved = pair.json("role", "approve", "triage", run, "--reason", "the price is agreed", "--yes")
    assert approved["approval"]["reason"] == "the price is agreed"
    assert pair("role", "promote", "triage", "--reason", "why", "--yes").exit_code == 0


def test_a_waiver_is_shown_and_promotes(pair: Shell) -> None:
    waived = pair(
        "role", "waive", "triage", "--owner", "ann", "--until", "7d", "--reason", "the provider is down", "--yes"
    )
    assert waived.exit_code == 0, waived.output
    assert re.search(r"waived until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", waived.stdout)  # no milliseconds
    shown = pair("role", "show", "triage").stdout
    assert "waived by ann until" in shown
    assert "may be promoted: no gate" in shown
    assert pair("role", "promote", "triage", "--reason", "now", "--yes").exit_code == 0


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("2020-01-01", "already"),
        ("90d", "30 days at most"),
        ("soon", "write a date"),
        ("2026-13-01", "write a"),
    ],
)
def test_a_waiver_has_a_near_end(pair: Shell, until: str, said: str) -> None:
    done = pair("role", "waive", "triage", "--owner", "ann", "--until", until, "--reason", "why", "--yes")
    assert (done.exit_code, said in done.stderr) == (2, True)


def test_a_role_shows_its_newest_changes_or_all(pair: Shell) -> None:
    for number in range(23):
        pair("role", "set-candidate", "triage", f"model-{number}", "--yes")
    shown = pair.json("role", "show", "triage")
    assert [one["number"] for one in shown["history"]] == list(range(25, 5, -1))
    assert len(pair.json("role", "show", "triage", "--all")["history"]) == 25
    assert "25 changes, the newest 20; --all shows the rest" in pair("role", "show", "triage").stdout


def test_a_candidate_can_be_cleared(pair: Shell) -> None:
    assert pair("role", "set-candidate", "triage", "--yes").exit_code == 2
    assert pair("role", "set-candidate", "triage", "--clear", "--yes").exit_code == 0
    assert slots(pair) == (OLD, None, None)


def test_a_damaged_role_is_named_and_the_others_are_listed(pair: Shell) -> None:
    open_store(pair.store).commit((), (Put(keys.role("broken"), b"{"),))
    listed = pair("role", "list", "--json")
    assert listed.exit_code == 1
    document = json.loads(listed.stdout)
    assert [one["role"] for one in document["roles"]] == ["triage"]
    assert list(document["problems"]) == ["broken"]
    done = pair("role", "rollback", "broken", "--reason", "bad", "--yes")
    assert (done.exit_code, "killswitch roles import" in done.stderr) == (2, True)


def test_no_text_acts_on_the_terminal(shell: Shell) -> None:
    """A model's id cannot hold an escape sequence, and a reason's is made visible."""
    assert shell("role", "create", "triage", "--prod", "evil\x1b[2J", "--yes").exit_code == 2
    assert shell("role", "create", "triage", "--prod", OLD, "--reason", "a\x1b[2Jb\nc", "--yes").exit_code == 0
    shown = shell("role", "show", "triage").stdout
    assert "\x1b" not in shown
    assert "a?[2Jb c" in shown


def test_an_empty_store_says_how_to_begin(shell: Shell) -> None:
    assert "killswitch role create ROLE --prod MODEL" in shell("role", "list").stdout
    done = shell("role", "show", "triage")
    assert (done.exit_code, "no role is called 'triage'; known roles: none yet" in done.stderr) == (2, True)


def test_a_model_of_the_retirement_file_is_refused(pair: Shell) -> None:
    run_of(pair)
    folder = pair.folder / "roles"
    (pair.folder / "retirements.yaml").write_text(f"retirements:\n- {{model: {NEW}, retires: 2020-01-01}}\n")
    (folder / "triage.yaml").write_text(ROLE_FILE + "retirements: ../retirements.yaml\n")
    refused = pair("role", "promote", "triage", "--reason", "why", "--yes")
    assert (refused.exit_code, "was retired on 2020-01-01" in refused.stderr) == (2, True), refused.output
    (pair.folder / "retirements.yaml").write_text("{")
    assert pair("role", "promote", "triage", "--reason", "why", "--yes").exit_code == 2
    # what cannot be read keeps no one from a rollback
    again = pair("role", "rollback", "triage", "--to", OLD, "--reason", "bad", "--yes")
    assert "is prod of role triage already" in again.stderr
    assert "the file of retirement dates is not read" in again.stderr


def test_a_name_that_floats_is_no_pin(shell: Shell) -> None:
    for floating in ("gpt-4o", "mistral-large-latest"):
        done = shell("role", "create", "triage", "--prod", floating, "--yes")
        assert (done.exit_code, f"{floating} floats: its provider may" in done.stderr) == (2, True)
    assert shell("role", "create", "triage", "--prod", OLD, "--yes").exit_code == 0
    assert shell("role", "set-candidate", "triage", "gpt-4o", "--yes").exit_code == 2
    assert shell("role", "set-candidate", "triage", "gpt-4o", "--even-if-floating", "--yes").exit_code == 0
