"""The examples of docs/spend.md are run as they are written, over an embedded store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from killswitch.rules.loading import load_text
from killswitch.spend.caps import Period
from killswitch.spend.prices import PriceList
from killswitch.spend.rule_files import ledger_caps
from killswitch.stores.opening import open_store
from killswitch.timestamps import from_iso
from tests.servers.image import REPOSITORY

PAGE = (REPOSITORY / "docs" / "spend.md").read_text()


def block(language: str, begin: str = "") -> str:
    """The only block of this language that begins so."""
    (found,) = re.findall(rf"```{language}\n({begin}.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_example_reserves_and_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prices.yaml").write_text(block("yaml", "prices:").replace("2026-12-01", "2126-12-01"))
    asked: list[int] = []

    def ask_the_model(max_tokens: int) -> dict[str, int]:
        asked.append(max_tokens)
        return {"prompt_tokens": 1_000, "completion_tokens": 400}

    store = f"sqlite://{tmp_path}/ledger.db"
    exec(block("python").replace("etcd://etcd:2379", store), {"ask_the_model": ask_the_model})
    assert asked == [4_000]
    opened = open_store(store)
    (item,) = (one for one in opened.list("").items if one.key.endswith(f"project:eval/{Period.MONTH}"))
    opened.close()
    # 1,000 tokens at $1.25 and 400 at $10 a million
    assert b'"spent":5250,' in item.value


def test_a_price_of_the_example_changes_at_its_date(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(block("yaml", "prices:"))
    prices = PriceList.from_file(tmp_path / "prices.yaml")
    before, after = (prices.price("gpt-5", from_iso(f"2026-{day}T12:00:00Z")) for day in ("11-30", "12-01"))
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (1_250_000, 1_000_000)


def test_the_rule_file_of_the_example_is_accepted() -> None:
    rules = b"rollout: support\ncontrol: a\ncanary: b\n" + block("yaml", "spend:").encode()
    (rollout,) = load_text(rules).rollouts
    assert [cap.scope for cap in ledger_caps(rollout)] == [
        "rollout:support",
        "shadow:support",
        "judge:support",
        "project:eval",
    ]
