"""A folder or a table that is not there: what the message says to a person who has just written the rule file."""

from __future__ import annotations

from pathlib import Path

from killswitch.model import Reason
from killswitch.slow.findings import SlowFinding
from killswitch.slow.reading import evaluate
from tests.doubles.warehouses import People, at, settings_of, signal_of

PEOPLE = People(users=10)


def judged(folder: Path) -> SlowFinding:
    settings = settings_of(f"duckdb:///{folder}", signal_of())
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7)).findings
    return found


def test_a_missing_table_names_the_tables_there_are(tmp_path: Path) -> None:
    """DuckDB proposed a table of its own instead: did you mean "pg_collation"?"""
    (tmp_path / "scores.csv").write_text("user_id,day,csat\n")
    (tmp_path / "refunds.csv").write_text("user_id,day,refunded\n")
    found = judged(tmp_path)
    assert found.reason is Reason.SOURCE_REFUSED
    assert f"csat does not exist; tables in {tmp_path}: refunds, scores" in found.sentence
    assert "pg_" not in found.sentence


def test_a_missing_folder_says_where_to_correct_it(tmp_path: Path) -> None:
    found = judged(tmp_path / "warehouse")
    assert found.reason is Reason.SOURCE_DOWN
    assert f"there is no file or folder {tmp_path / 'warehouse'}; correct `source`" in found.sentence
