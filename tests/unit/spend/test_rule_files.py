"""What rule files say about money, under the ledger's scopes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.errors import BadRules
from killswitch.model import SpendSettings
from killswitch.spend.caps import Cap, Period
from killswitch.spend.rule_files import ledger_caps, read_prices, without_price
from killswitch.spend_cap import SpendCap
from tests.doubles.scripted_source import rollout

CAPS = (SpendCap("shadow", "hour", None, 5), SpendCap("project:eval", "month", 3, 7), SpendCap("rollout", "day", 1, 2))
OLD_ONLY = [{"model": "model-old", "valid_from": "2026-01-01", "input": 1, "output": 2}]


def test_scopes_are_of_one_rollout_but_for_projects() -> None:
    assert ledger_caps(replace(rollout(), spend=SpendSettings(None, CAPS))) == (
        Cap("shadow:copilot", Period.HOUR, None, 5),
        Cap("project:eval", Period.MONTH, 3, 7),
        Cap("rollout:copilot", Period.DAY, 1, 2),
    )


def test_prices_are_read_next_to_the_rule_file(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text(json.dumps({"prices": OLD_ONLY}))
    here = replace(rollout(), file=str(tmp_path / "copilot.yaml"), spend=SpendSettings("prices.json"))
    prices = read_prices([here, replace(rollout(), name="other")])
    assert list(prices) == ["copilot"]
    assert without_price(here, prices["copilot"], 1.8e9) == ("model-new",)
    assert without_price(here, prices["copilot"], 1.7e9) == ("model-old", "model-new"), "before its date"


def test_every_problem_of_every_file_of_prices_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    named = [
        replace(rollout(), name=name, file=str(tmp_path / f"{name}.yaml"), spend=SpendSettings(f"{name}.json"))
        for name in ("empty", "missing")
    ]
    with pytest.raises(BadRules) as refused:
        read_prices(named)
    assert ["empty.yaml:1: spend.prices: " in problem for problem in refused.value.problems] == [True, False]
    assert "missing.json: cannot be read" in refused.value.problems[1]
