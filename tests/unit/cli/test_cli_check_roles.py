"""`killswitch check` reads role files, too, and the files that they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.shell import Shell

ROLE = "role: support\nprovider: openai\n"
GOLDEN = '{"id": "r1", "input": "It crashes.", "expect_label": "bug"}\n'
PAIR = "rollout: NAME\ncontrol: role:support.CONTROL\ncanary: role:support.CANARY\nmetrics: cohort-labels\n"


@pytest.fixture
def roles(shell: Shell) -> Path:
    folder = shell.folder / "roles"
    folder.mkdir()
    (folder / "support.yaml").write_text(ROLE)
    return folder


def pair(name: str, control: str, canary: str) -> str:
    text = PAIR.replace("NAME", name).replace("CONTROL", control).replace("CANARY", canary)
    return text + "page: {slack: '#llm', mention: '<!here>'}\n"


def test_a_folder_of_roles_is_checked_where_it_is(shell: Shell, roles: Path) -> None:
    done = shell("check")
    assert done.exit_code == 0
    assert "role support: openai, golden set none, no watch" in done.stdout
    (role,) = shell.json("check")["roles"]
    assert role == {"role": "support", "file": "roles/support.yaml"}
    roles.rename(shell.folder / "elsewhere")
    assert "role support" not in shell("check").stdout
    for named in (shell("check", "--roles", "elsewhere"), shell("check", KILLSWITCH_ROLES="elsewhere")):
        assert "role support" in named.stdout
    assert shell("check", "--roles", "nowhere").exit_code == 2


def test_problems_of_rules_and_roles_are_printed_at_once(shell: Shell, roles: Path) -> None:
    (roles / "support.yaml").write_text(f"{ROLE}watch: {{rollout: w, percent: 99}}\n")
    (shell.rules / "copilot.yaml").write_text("rollout: copilot\nwindw: 1m\n")
    done = shell("check", "--json")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert {Path(one["file"]).name for one in document["problems"]} == {"copilot.yaml", "support.yaml"}


def test_the_files_that_a_role_names_are_checked(shell: Shell, roles: Path) -> None:
    (roles / "support.yaml").write_text(f"{ROLE}golden: g.jsonl\nprices: prices.json\nretirements: gone.json\n")
    (roles / "g.jsonl").write_text(GOLDEN + GOLDEN)
    (roles / "prices.json").write_text('{"prices": [{"model": "gpt-5", "input": -1, "output": 1}]}')
    (roles / "gone.json").write_text("[")
    said = shell("check").stderr
    assert "g.jsonl:2" in said
    assert "prices.json" in said
    assert "gone.json" in said


def test_a_watch_without_its_rule_file_is_a_warning(shell: Shell, roles: Path) -> None:
    """After a promotion it could not be armed."""
    (roles / "support.yaml").write_text(f"{ROLE}watch: {{rollout: support-watch}}\n")
    done = shell("check")
    assert done.exit_code == 0
    assert "no rule file compares previous and prod of role support as support-watch" in done.stderr
    (shell.rules / "watch.yaml").write_text(pair("support-watch", "previous", "prod"))
    done = shell("check")
    assert "no rule file" not in done.stderr
    assert "watched by support-watch" in done.stdout


def test_a_role_file_among_rule_files_is_named_as_such(shell: Shell) -> None:
    """Not as a rule file in which every key is unknown."""
    (shell.rules / "support.yaml").write_text(ROLE)
    done = shell("check")
    assert done.exit_code == 2
    assert "support.yaml:1: a role file, not a rule file; fix: move it" in done.stderr
    assert "unknown key" not in done.stderr


def test_an_upgrade_and_its_watch_may_read_the_same_series(shell: Shell) -> None:
    """One is complete before the other is armed, and their models are in no label."""
    (shell.rules / "copilot.yaml").write_text(pair("upgrade", "prod", "candidate"))
    (shell.rules / "watch.yaml").write_text(pair("watch", "previous", "prod"))
    assert shell("check").stderr == ""
    (shell.rules / "other.yaml").write_text(pair("other", "prod", "candidate").replace("support", "billing"))
    assert "read the same series" in shell("check").stderr
