"""Wrong values of options: what is wrong and what to write, never pydantic's words, never a traceback."""

from __future__ import annotations

import pytest

from tests.unit.cli.shell import Shell

PYDANTIC = ("Input should", "Value error", "unable to parse", "Unable to parse")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["arm", "copilot", "--shadow", "50%"],
            "'50%' is not a number; write digits alone",
        ),
        (["stage", "copilot", "--shadow=-1"], "--shadow must be from 0 to 100, got -1.0"),
        (["arm", "copilot", "--percent", ""], "'' is not a number"),
        *(
            ([*command, ""], "rollout name '': use 1 to 63 of a-z 0-9")
            for command in (["drill"], ["log"], ["end", "--yes"], ["trip", "--yes", "--reason", "x"])
        ),
        (["arm", "copilot", "--percent", "nan"], "percent nan for copilot: give a number from 0 to 100"),
        (["arm", "copilot", "--shadow", "inf"], "--shadow must be from 0 to 100, got inf"),
        (["arm", "copilot", "--shadow", "5", "--shadow-class", "a=nan"], "got nan"),
        (["backtest", "--percent", "nan"], "--percent nan: give a number over 0, at most 100"),
        (["backtest", "--rearm-after", "inf"], "--rearm-after inf: 'inf' is not a duration"),
        (["power", "--users=-1"], "'-1' must be 1 or more"),
        (["power", "--percent", "nan"], "--percent nan: give a number between 0 and 100"),
        *(
            (
                ["shadow", "report", "copilot", "--records", ".", f"--requests-per-month={value}"],
                "must be over 0 and at most",
            )
            for value in ("inf", "nan", "-1", "0")
        ),
        (["shadow", "report", "copilot", "--records", ".", "--percent", "nan"], "must be over 0 and at most 100"),
        (["shadow", "worker", "--spool", "s", "--records", "r", "--threshold", "nan"], "--threshold: from 0 to 1"),
        (["shadow", "worker", "--spool", "s", "--records", "r", "--judge-share", "nan"], "--judge-share: from 0 to 1"),
        (["demo", "--seed=-1"], "'-1' must be 0 or more"),
        (["demo", "--speed", "101"], "'101' must be 60 or less"),
        (["demo", "--speed", "nan"], "must be"),
        (["demo", "--rate", "inf"], "'inf' must be 10000 or less"),
        (["demo", "--rate", "2000"], "--rate times --speed is 20000 requests a real second; give at most 10000"),
        (["demo", "--after", "inf"], "'inf' must be 86400 or less"),
        (["demo", "--regression", "x"], "'x' is not one of 'none', 'refusals'"),
        (["check", "\0"], "holds a NUL character; remove it"),
        (["shadow", "worker", "--spool", "s", "--records", "r", "--metrics-port", "99999"], "must be 65535 or less"),
        (
            ["shadow", "worker", "--spool", "s", "--records", "r", "--raw-for", "x"],
            "write it like 90s",
        ),
        (["shadow", "worker", "--spool", "s", "--records", "r", "--raw-for=-5m"], "a duration cannot be negative"),
        (["shadow", "judge", "x", "--records", ".", "--max-pairs-a-day", "9" * 5000], "is not a whole number"),
        (["explain", "copilot", "--url=-1"], "--url -1: write the controller's address, such as http://127.0.0.1:8080"),
        (["status", "--settings", "."], "cannot be read (Is a directory); name a YAML file of settings"),
    ],
)
def test_a_wrong_value_is_refused_in_our_words(shell: Shell, arguments: list[str], says: str) -> None:
    done = shell(*arguments)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert not any(words in done.stderr for words in PYDANTIC)
