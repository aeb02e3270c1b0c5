"""Every command's words and exit codes: settings, help, a silent store, and what is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from killswitch import __version__
from killswitch.cli.run import default_in_words
from killswitch.daemon.settings import Settings, load_settings
from tests.unit.cli.shell import NOBODY, Shell


def test_a_store_or_source_that_does_not_answer_is_named(shell: Shell) -> None:
    """It is named, together with the option and the variable that name another."""
    done = shell("status", "--store", "etcd://127.0.0.1:9")
    assert "flag store etcd://127.0.0.1:9; name another with --store or KILLSWITCH_STORE" in done.stderr
    for command in (["power"], ["backtest"], ["doctor"]):
        for option in ("--source", "--prometheus"):
            done = shell(*command, option, NOBODY)
            said = " ".join((done.stdout + done.stderr).split())
            assert f"prometheus+{NOBODY}" in said
            assert "name another with --source or KILLSWITCH_SOURCE" in said
    for command in (["run"], ["baseline", "copilot"]):
        assert "--source" in shell(*command, "--help").stdout


def test_a_scrape_source_has_a_past_only_with_its_file(shell: Shell) -> None:
    """Without the daemon's samples every metric would look misspelled."""
    for command in ("doctor", "backtest", "power"):
        done = shell(command, "--source", "scrape+http://127.0.0.1:9/metrics")
        assert (done.exit_code, "KILLSWITCH_SCRAPE_FILE" in done.stderr) == (2, True), done.output


def test_exit_codes_tell_a_silent_store_from_a_wrong_one(shell: Shell) -> None:
    """A store that does not answer may be tried later (3); an address that is not a store must be fixed (2)."""
    done = shell("status", "--store", "etcd://127.0.0.1:9")
    assert done.exit_code == 3, done.output
    assert "Traceback" not in done.output
    done = shell("status", "--store", "ftp://x")
    assert done.exit_code == 2
    assert "etcd://" in done.stderr


def test_defaults_in_the_help_of_run_are_accepted_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, field in Settings.model_fields.items():
        if field.default not in (None, ""):
            monkeypatch.setenv(f"KILLSWITCH_{name.upper()}", default_in_words(name))
    assert load_settings() == Settings()


def test_bad_settings_end_every_command_with_all_their_problems(shell: Shell) -> None:
    done = shell("status", KILLSWITCH_INTERVAL="5", KILLSWITCH_LISTN="x")
    assert done.exit_code == 2
    assert "interval" in done.stderr
    assert "KILLSWITCH_LISTN is not a setting" in done.stderr


def test_a_misspelled_command_is_answered_with_the_one_meant(shell: Shell) -> None:
    done = shell("chek", "rules")
    assert (done.exit_code, "No such command 'chek'. Did you mean check?" in done.stderr) == (2, True)
    assert "No such command 'xyzzy'" in shell("xyzzy").stderr


def test_a_source_written_as_a_bare_url_is_told_its_forms(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """--source takes a bare http:// URL, KILLSWITCH_SOURCE does not."""
    monkeypatch.setenv("KILLSWITCH_SOURCE", "http://127.0.0.1:9090")
    assert "write prometheus+http://… for a Prometheus" in shell("run").stderr


def test_an_age_without_a_unit_is_not_replayed_from_1970(shell: Shell) -> None:
    """`--from 7` ran for hours."""
    done = shell("backtest", "--prometheus", NOBODY, "--from", "7", "--to", "1m")
    assert (done.exit_code, "an age has a unit, such as 7d" in done.stderr) == (2, True)


def test_help_and_version(shell: Shell) -> None:
    assert shell("--version").stdout.strip() == __version__
    for command in ("run", "check", "status", "explain", "arm", "stage", "trip", "rearm", "end", "demo"):
        done = shell(command, "--help")
        assert done.exit_code == 0
        assert command in done.stdout


def test_a_base_install_says_what_to_install() -> None:
    """The SDK alone has none of the daemon's libraries; hiding them is what a base install looks like."""
    script = (
        "import sys, importlib.util\n"
        "honest = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name in ('typer', 'rich', 'numpy') else honest(name, *a)\n"
        "from killswitch.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install '.[daemon]'" in done.stderr
    assert "missing: typer, rich, numpy" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_flag_commands_say_how_to_arm(shell: Shell) -> None:
    """A rule file alone makes no flag: "no rollout is called copilot" was wrong."""
    for command in (
        ["trip", "copilot", "--reason", "r", "--yes"],
        ["rearm", "copilot", "--reason", "r", "--yes"],
        ["stage", "copilot", "ramp_5", "--yes"],
        ["end", "copilot", "--yes"],
        ["explain", "copilot"],
    ):
        done = shell(*command)
        assert done.exit_code == 2, command
        assert "copilot has no flag, so routers send everyone to control" in done.stderr, command
        assert "`killswitch arm copilot --stage ramp_1`" in done.stderr, command
