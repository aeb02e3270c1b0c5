"""Retired models at the command line: what is refused, what is probed, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.doubles.model_providers import OpenAIProvider
from tests.doubles.provider_faults import server_error
from tests.unit.cli.shell import Shell

OLD, NEW = "old-2025-01-01", "new-2026-01-01"


@pytest.fixture
def provider() -> Iterator[OpenAIProvider]:
    with OpenAIProvider(key="the-key") as opened:
        yield opened


@pytest.fixture
def roles(shell: Shell, provider: OpenAIProvider, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A role with a prod and a file of dates."""
    folder = shell.folder / "roles"
    folder.mkdir()
    (shell.folder / "key").write_text("the-key")
    (folder / "triage.yaml").write_text(
        f"role: triage\nprovider: openai\nurl: {provider.url}\nkey_file: {shell.folder}/key\nlabel: $\n"
        "retirements: dates.json\n"
    )
    (folder / "dates.json").write_text(json.dumps({"retirements": [{"model": "dead", "retires": "2026-01-01"}]}))
    monkeypatch.setenv("KILLSWITCH_ROLES", str(folder))
    assert shell("role", "create", "triage", "--prod", OLD, "--yes").exit_code == 0
    return shell


def test_a_retired_model_is_refused_as_candidate(roles: Shell) -> None:
    done = roles("role", "set-candidate", "triage", "dead", "--yes")
    assert done.exit_code == 2
    assert "dead was retired on 2026-01-01 (dates.json)" in done.output


def test_a_broken_file_of_dates_names_no_candidate(roles: Shell) -> None:
    (roles.folder / "roles" / "dates.json").write_text("{")
    done = roles("role", "set-candidate", "triage", NEW, "--yes")
    assert done.exit_code == 2
    assert "dates.json:2: not YAML" in done.output


def test_a_probe_shows_what_answers(roles: Shell, provider: OpenAIProvider) -> None:
    provider.listed = [{"id": OLD, "shutdown_date": "2036-01-01"}]
    done = roles("roles", "probe")
    assert done.exit_code == 0
    assert [word in done.stdout for word in (OLD, "answers", "listed", "2036-01-01")] == [True] * 4


def test_a_model_that_is_gone_is_refused_from_then_on(roles: Shell, provider: OpenAIProvider) -> None:
    assert roles("role", "set-candidate", "triage", NEW, "--yes").exit_code == 0
    provider.known = {OLD}
    done = roles("roles", "probe", "triage", "--json")
    assert done.exit_code == 1
    assert [(one["slot"], one["state"]) for one in json.loads(done.stdout)["models"]] == [
        ("prod", "answers"), ("candidate", "gone"),
    ]  # fmt: skip
    again = roles("role", "set-candidate", "triage", NEW, "--yes")
    assert again.exit_code == 2
    assert "does not exist for our key" in again.output
    provider.known = None
    assert roles("roles", "probe").exit_code == 0
    assert roles("role", "set-candidate", "triage", "other", "--yes").exit_code == 0


def test_a_provider_that_is_down_is_not_known(roles: Shell, provider: OpenAIProvider) -> None:
    provider.always("", server_error(503))
    done = roles("roles", "probe")
    assert done.exit_code == 3
    assert "not known" in done.stdout


def test_an_unknown_role_is_refused(roles: Shell) -> None:
    done = roles("roles", "probe", "tirage")
    assert done.exit_code == 2
    assert "there are files of: triage" in done.output


def test_a_probe_without_role_files_says_so(roles: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was asked, so it is not the answer of models that are all well."""
    monkeypatch.delenv("KILLSWITCH_ROLES")
    (roles.folder / "roles").rename(roles.folder / "elsewhere")
    done = roles("roles", "probe")
    assert done.exit_code == 2
    assert "no role files" in done.output
    assert roles("roles", "probe", "--roles", "elsewhere").exit_code == 0
