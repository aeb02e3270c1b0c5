"""`killswitch roles export` and `roles import`: the file in git, and no door around the gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from tests.doubles.gate_records import NEW, OLD
from tests.unit.cli.shell import Shell
from tests.unit.cli.test_cli_role import run_of

ROLE = "triage"


@pytest.fixture
def pair(shell: Shell) -> Shell:
    assert shell("role", "create", ROLE, "--prod", OLD, "--yes").exit_code == 0
    assert shell("role", "set-candidate", ROLE, NEW, "--yes").exit_code == 0
    assert shell("roles", "export", "--output", "roles.json").exit_code == 0
    return shell


def edited(shell: Shell, **slots: str | None) -> Path:
    path = shell.folder / "roles.json"
    document = json.loads(path.read_text())
    document["roles"][ROLE].update(slots)
    path.write_text(json.dumps(document))
    return path


def stored(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = shell.json("role", "show", ROLE)
    return found


def test_an_export_is_the_same_twice_and_differs_in_nothing(pair: Shell) -> None:
    first = (pair.folder / "roles.json").read_text()
    assert pair("roles", "export").stdout == first
    assert first == (
        '{\n  "format": 1,\n  "roles": {\n    "triage": {\n'
        f'      "prod": "{OLD}",\n      "candidate": "{NEW}",\n      "previous": null\n    }}\n  }}\n}}\n'
    )
    assert pair("roles", "import", "roles.json", "--check").exit_code == 0


def test_a_difference_is_shown_before_anything_is_applied(pair: Shell) -> None:
    edited(pair, candidate="gpt-6")
    check = pair("roles", "import", "roles.json", "--check")
    assert check.exit_code == 1
    assert f"  - candidate: {NEW}\n  + candidate: gpt-6\n" in check.stdout
    assert pair("roles", "import", "roles.json", answer="n\n").exit_code == 1
    assert stored(pair)["slots"]["candidate"] == NEW
    assert pair("roles", "import", "roles.json", "--yes").exit_code == 0
    assert stored(pair)["slots"]["candidate"] == "gpt-6"
    assert pair("roles", "import", "roles.json", "--yes").stdout == "nothing to change\n"


def test_a_file_is_no_door_around_the_gate(pair: Shell) -> None:
    edited(pair, prod=NEW, candidate=None, previous=OLD)
    done = pair("roles", "import", "roles.json", "--yes")
    assert done.exit_code == 2
    assert "no gate run of role triage" in done.stderr
    assert "nothing was changed" in done.stderr
    assert stored(pair)["slots"]["prod"] == OLD


def test_a_file_promotes_on_evidence_as_a_person_does(pair: Shell) -> None:
    run = run_of(pair)
    edited(pair, prod=NEW, candidate=None, previous=OLD)
    done = pair("roles", "import", "roles.json", "--yes")
    assert done.exit_code == 0, done.output
    assert f"triage: promotion (gate run {run}" in done.stdout
    assert "PAGE PROMOTED" in done.stdout
    assert (stored(pair)["change"], stored(pair)["history"][0]["gate_run"]) == ("PROMOTED", run)


def test_a_reverted_file_rolls_back(pair: Shell) -> None:
    """`git revert` and an import take users back, without a gate."""
    before = (pair.folder / "roles.json").read_text()
    run_of(pair)
    assert pair("role", "promote", ROLE, "--reason", "it passed", "--yes").exit_code == 0
    (pair.folder / "roles.json").write_text(before)
    done = pair("roles", "import", "roles.json", "--yes")
    assert done.exit_code == 0, done.output
    assert "triage: rollback" in done.stdout
    assert "PAGE ROLE_ROLLED_BACK" in done.stdout
    assert stored(pair)["slots"] == {"prod": OLD, "candidate": NEW, "previous": None}
    # the candidate that was taken back needs a new run
    assert "was taken back at" in pair("role", "promote", ROLE, "--reason", "again", "--yes").stderr


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ({"prod": None}, "a role keeps a prod"),
        ({"prod": "gpt-6"}, f"write previous '{OLD}'"),
        ({"previous": "gpt-6"}, "was never its prod"),
        ({"candidate": OLD}, "in two slots"),
    ],
)
def test_what_may_not_be_is_refused_with_the_fix(pair: Shell, slots: dict[str, str | None], said: str) -> None:
    edited(pair, **slots)
    done = pair("roles", "import", "roles.json", "--yes")
    assert (done.exit_code, said in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no file of roles"),
        ('{"format": 2, "roles": {}}', "no file of roles"),
        ('{"format": 1, "roles": {"a": {"prod": "m"}}}', "candidate is missing"),
        ('{"format": 1, "roles": {"A": {}}}', "is no name of a role"),
        ('{"format": 1, "roles": {"a": {"prod": 1, "candidate": null, "previous": null}}}', "write a model's id"),
        ('{"format": 1, "roles": {"a": {"prd": "m"}}}', "is no slot"),
        ('{"format": 1, "roles": {"a": 1}}', "not an object"),
        ('{"format": 1, "roles": {}, "roles": {}}', "is there twice"),
        ('{"format": 1, "x": 0, "roles": {}}', "is no key of the file"),
    ],
)
def test_a_broken_file_is_refused(pair: Shell, text: str, said: str) -> None:
    (pair.folder / "roles.json").write_text(text)
    done = pair("roles", "import", "roles.json", "--yes")
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_a_role_that_only_the_store_has_is_kept_and_said(pair: Shell) -> None:
    assert pair("role", "create", "other", "--prod", "m", "--yes").exit_code == 0
    check = pair("roles", "import", "roles.json", "--check")
    assert (check.exit_code, "only in the store, and kept: other" in check.stdout) == (1, True)
    assert pair("roles", "import", "roles.json", "--check", "--role", ROLE).exit_code == 0


def test_an_empty_store_takes_roles_with_their_history(pair: Shell) -> None:
    run_of(pair)
    pair("role", "promote", ROLE, "--reason", "it passed", "--yes")
    assert pair("roles", "export", "--history", "--output", "all.json").exit_code == 0
    there = f"sqlite://{pair.folder}/there.sqlite"
    done = pair("roles", "import", "all.json", "--yes", "--store", there)
    assert done.exit_code == 0, done.output
    shown = json.loads(pair("role", "show", ROLE, "--json", "--store", there).stdout)
    changes = [one["change"] for one in shown["history"]]
    assert changes == ["IMPORTED", "PROMOTED", "CANDIDATE_SET", "CREATED"]
    back = pair("role", "rollback", ROLE, "--reason", "bad", "--yes", "--store", there)
    assert back.exit_code == 0, back.output


def test_a_damaged_role_is_written_back_from_its_history(pair: Shell) -> None:
    """The way out that the error names."""
    open_store(pair.store).commit((), (Put(keys.role(ROLE), b"{"),))
    said = pair("role", "promote", ROLE, "--reason", "why", "--yes").stderr
    assert "killswitch roles export --role triage --output roles.json" in said
    exported = pair("roles", "export", "--role", ROLE, "--output", "roles.json")
    assert (exported.exit_code, "as change 2 of its history says" in exported.stderr) == (1, True)
    assert pair("roles", "import", "roles.json", "--check").exit_code == 1
    assert pair("roles", "import", "roles.json", "--yes").exit_code == 0
    assert stored(pair)["slots"] == {"prod": OLD, "candidate": NEW, "previous": None}
    assert stored(pair)["number"] == 3


def test_a_file_that_cannot_be_read_or_written_says_so(pair: Shell) -> None:
    assert "killswitch roles export --output none.json" in pair("roles", "import", "none.json").stderr
    done = pair("roles", "export", "--output", "no/such/folder.json")
    assert (done.exit_code, "name another with --output" in done.stderr) == (2, True)


def test_a_file_with_a_name_that_floats_is_refused(pair: Shell) -> None:
    edited(pair, candidate="gpt-4o")
    done = pair("roles", "import", "roles.json", "--yes")
    assert (done.exit_code, "triage: gpt-4o floats" in done.stderr) == (2, True)
    assert pair("roles", "import", "roles.json", "--yes", "--even-if-floating").exit_code == 0
    # what the store has already is not refused again
    assert pair("roles", "import", "roles.json", "--check").exit_code == 0
