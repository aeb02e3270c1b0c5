"""Rows of a log of exposures whose time is none: they are left out, and cost the others nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from killswitch.slow.reading import evaluate
from tests.doubles.warehouses import ROLLOUT, People, at, settings_of, write_parquet

PEOPLE = People(users=1500, drop=5.0, percents={0: 10.0, 4: 40.0})
MILLISECONDS = 1_776_608_531_000.0


def log_of(path: Path, *more: tuple[str, str, int, str, object]) -> None:
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("user", "rollout", "generation", "cohort", "at"))
        rows.writerows([(*row[:4], row[4].timestamp()) for row in PEOPLE.assignments()])
        rows.writerows(more)


@pytest.mark.parametrize("moment", [MILLISECONDS, 1e300, -1e300, "inf", "nan", -1.0])
def test_a_time_that_is_none_costs_the_other_rows_nothing(tmp_path: Path, moment: object) -> None:
    """Such as one in milliseconds: the evaluation ended, and said only that its process had."""
    write_parquet(tmp_path / "csat.parquet", PEOPLE.rows())
    settings = settings_of(f"duckdb:///{tmp_path}", assignments="log")
    log_of(tmp_path / "log.csv")
    (clean,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7)).findings
    assert clean.canary_users > 100
    stranger = ("ab" * 16, ROLLOUT, 1)
    log_of(tmp_path / "log.csv", (*stranger, "control", at(0)), (*stranger, "canary", moment))
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7)).findings
    for name in ("verdict", "reason", "canary_users", "control_users", "left_out", "split"):
        assert getattr(found, name) == getattr(clean, name), name
