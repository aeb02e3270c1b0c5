"""Which caps a judge obeys: its own, those of the rule file, or none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.errors import BadSettings
from killswitch.model import SpendSettings
from killswitch.shadow.judge.settings import JudgeSettings, judge_settings
from killswitch.shadow.judge.spending import judge_ledger
from killswitch.spend.ruling import RuledCaps
from killswitch.spend_cap import SpendCap
from killswitch.stores import keys
from killswitch.stores.opening import open_store
from tests.doubles.scripted_source import rollout


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store in which a rule file caps the judge at a cent an hour."""
    url = f"sqlite://{tmp_path}/flags.db"
    opened = open_store(url)
    capped = replace(rollout(), spend=SpendSettings(None, (SpendCap("judge", "hour", None, 10_000),)))
    RuledCaps(opened, wall=lambda: 0.0).write({"copilot": capped}, opened.list(keys.LEDGER))
    opened.close()
    return url


def settings(tmp_path: Path, **more: object) -> JudgeSettings:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"prices": [{"model": "j", "valid_from": "2026-01-01", "input": 1, "output": 1}]}))
    return judge_settings({"model": "j", "url": "https://judge.example/v1", "prices_file": str(file), **more})


def test_a_judge_without_a_cap_obeys_the_rule_files(tmp_path: Path, store: str) -> None:
    with judge_ledger(settings(tmp_path), store, "copilot") as ledger:
        assert ledger is not None
        refused = ledger.reserve("j", 20_000, 0)
        assert getattr(refused, "sentence", "") == "the cap of judge:copilot per hour has no room for $0.02"


def test_a_judge_that_a_rule_file_caps_needs_prices(tmp_path: Path, store: str) -> None:
    without = settings(tmp_path).model_copy(update={"prices_file": None})
    with (
        pytest.raises(
            BadSettings, match=r"prices_file: it is missing, and the rule file of copilot caps .* write `prices_file:`"
        ),
        judge_ledger(without, store, "copilot"),
    ):
        raise AssertionError("it began to judge")


def test_a_judge_that_nothing_caps_needs_no_ledger(tmp_path: Path, store: str) -> None:
    with judge_ledger(settings(tmp_path), store, "other") as ledger:
        assert ledger is None


def test_a_store_that_is_away_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with judge_ledger(settings(tmp_path), "etcd://127.0.0.1:1", "copilot") as ledger:
        assert ledger is None
    assert "whether a rule file caps the judge is not known" in caplog.text
