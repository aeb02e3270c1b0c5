"""`killswitch check`: every problem of the rule files with file and line."""

from __future__ import annotations

import json

import pytest

from killswitch.rules.loading import located
from killswitch.shadow.criteria import DEFAULTS
from tests.unit.cli.shell import Shell


def test_check_prints_every_problem_with_file_and_line(shell: Shell) -> None:
    assert shell.json("check", str(shell.rules))["rollouts"][0]["rollout"] == "copilot"
    (shell.rules / "bad.yaml").write_text(
        "rollout: x\ncontrol: a\ncanary: a\nmetrics: cohort-labels\nwindw: 1m\nwindow: 5\n"
    )
    done = shell("check", str(shell.rules))
    assert done.exit_code == 2
    assert "bad.yaml:5" in done.stderr
    assert "bad.yaml:6" in done.stderr
    as_json = shell("check", str(shell.rules), "--json")
    assert as_json.exit_code == 2
    document = json.loads(as_json.stdout)
    assert document["ok"] is False
    assert len(document["problems"]) >= 2
    unknown = next(one for one in document["problems"] if one["line"] == 5)
    assert unknown["file"] == str(shell.rules / "bad.yaml")
    assert (unknown["what"], unknown["fix"]) == ("unknown key windw", "did you mean window?")
    assert unknown["text"] == f"{unknown['file']}:5: unknown key windw; fix: did you mean window?"
    assert unknown["text"] in done.stderr


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "a.yaml:3: 'x; fix: y' is not a quantity; fix: write 2%",
            ("a.yaml", 3, "'x; fix: y' is not a quantity", "write 2%"),
        ),
        ("rules: not a path; fix: name one", ("rules", None, "not a path", "name one")),
        ("… and 7 more", (None, None, "… and 7 more", None)),
    ],
)
def test_a_problem_has_its_parts(text: str, parts: tuple[object, ...]) -> None:
    one = located(text)
    assert (one.file, one.line, one.what, one.fix) == parts


def test_check_without_a_folder_checks_the_daemons(shell: Shell) -> None:
    """The page of refused rules says `killswitch check`, whatever folder one stands in."""
    assert shell("check", KILLSWITCH_RULES=str(shell.rules)).exit_code == 0
    assert "elsewhere" in shell("check", KILLSWITCH_RULES="elsewhere").stderr


def test_check_of_a_folder_that_is_not_there_says_so(shell: Shell) -> None:
    done = shell("check", "nowhere")
    assert (done.exit_code, "nowhere" in done.stderr) == (2, True)


def test_check_reads_the_criteria_of_stage_shadow(shell: Shell) -> None:
    """The rule files' own reader knows their form alone."""
    rules = shell.rules / "copilot.yaml"
    whole = rules.read_text()
    rules.write_text(whole + "shadow: {criteria: {errors: 1pp, win_rate: true}}\n")
    assert shell("check").exit_code == 0
    rules.write_text(whole + "shadow: {criteria: {errors: 1%, erorrs: 1pp}}\n")
    done = shell("check")
    assert done.exit_code == 2
    line = len(rules.read_text().splitlines())
    assert f"copilot.yaml:{line}: shadow.criteria: errors: " in done.stderr
    assert f"copilot.yaml:{line}: shadow.criteria: 'erorrs' is not a criterion; fix: write errors" in done.stderr
    off = "".join(f"    {one.measure}: false\n" for one in DEFAULTS)
    rules.write_text(whole + "shadow:\n  keep_text: never\n  criteria:\n" + off)
    assert f"copilot.yaml:{line + 2}: shadow.criteria: every criterion is off" in shell("check").stderr


def test_check_names_wrong_criteria_and_prices_at_once(shell: Shell) -> None:
    """Each in its own line of the file, with a fix; the file of prices hid behind the criteria."""
    rules = shell.rules / "copilot.yaml"
    line = len(rules.read_text().splitlines())
    rules.write_text(
        rules.read_text()
        + "shadow:\n  criteria:\n    errors: 1pp\n    facts: 5\nspend:\n  caps: []\n  prices: prices.json\n"
    )
    done = shell("check", "--json")
    problems = json.loads(done.stdout)["problems"]
    assert [(one["file"], one["line"]) for one in problems] == [(str(rules), line + 4), (str(rules), line + 7)]
    assert [one["fix"] for one in problems] == ["write 5pp if that is meant", "write it, or name the file there is"]


def test_check_reads_the_prices_that_a_rule_file_names(shell: Shell) -> None:
    """A file that is missing or wrong is refused; a model without a price is a warning: what it spends is not known."""
    rules = shell.rules / "copilot.yaml"
    rules.write_text(rules.read_text() + "spend: {prices: prices.json}\n")
    done = shell("check")
    assert done.exit_code == 2
    assert f"copilot.yaml:{len(rules.read_text().splitlines())}: spend.prices: " in done.stderr
    assert "prices.json: cannot be read (No such file or directory); fix: write it, or name the file" in done.stderr
    prices = [{"model": "model-old", "valid_from": "2026-01-01", "input": 1, "output": -2}]
    file = shell.rules / "prices.json"
    file.write_text(json.dumps({"prices": prices}))
    assert "entry 1 (model-old): `output` is negative (-2)" in shell("check").stderr
    file.write_text(json.dumps({"prices": [{**prices[0], "output": 2}]}))
    done = shell("check")
    assert done.exit_code == 0
    assert "spend: no price of model-new is valid now, so what it spends is not known; fix: add it to" in done.stderr
    assert "no price of model-old" not in done.stderr


def test_check_says_what_to_do_with_prices_among_rule_files(shell: Shell) -> None:
    """It said that rollout, control and canary are missing."""
    (shell.rules / "prices.yaml").write_text(
        "prices:\n- {model: model-old, valid_from: 2026-01-01, input: 1, output: 2}\n"
    )
    done = shell("check")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "prices.yaml:1: a file of prices, not a rule file; fix: " in line
    assert "`prices: ../prices.yaml` under `spend`" in line


def test_check_warns_of_a_price_that_jumps(shell: Shell) -> None:
    rules = shell.rules / "copilot.yaml"
    rules.write_text(rules.read_text() + "spend: {prices: prices.json}\n")
    price = {"model": "model-old", "valid_from": "2026-01-01", "input": 1, "output": 2}
    later = {**price, "valid_from": "2026-02-01", "output": 20}
    (shell.rules / "prices.json").write_text(json.dumps({"prices": [price, later]}))
    warned = [one["what"] for one in shell.json("check")["warnings"]]
    assert "spend: prices.json: price of model-old from 2026-02-01: output goes from $2.00 to $20.00" in warned
