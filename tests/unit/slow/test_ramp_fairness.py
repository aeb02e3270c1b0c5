"""A ramp in which who answers, how often and when all matter: a healthy canary's difference is none on average."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from killswitch.model import Verdict
from killswitch.slow.days import date_of, number_of
from killswitch.slow.reading import evaluate
from tests.doubles.warehouses import MONDAY, People, at, settings_of, signal_of, write_parquet

USERS, DAYS, RUNS = 2000, 16, 16


@pytest.mark.simulation
def test_a_ramp_does_not_bias_the_difference(tmp_path: Path) -> None:
    """Daily users are happier than those who come one day in ten, scores fall each day, the percent rises twice.

    Users of a late raise have fewer days, so fewer of the rare users among them answer. Compared with control users of
    the whole time they would look happier by points.
    """
    people = People(users=USERS, percents={0: 5.0, 3: 15.0, 7: 40.0}, days=DAYS)
    found = []
    for seed in range(RUNS):
        draw = np.random.default_rng(seed)
        daily = draw.random(USERS) < 0.5
        rows = []
        for day in range(-1, DAYS):
            score = np.clip(np.where(daily, 80.0, 60.0) - 1.5 * day + draw.normal(0.0, 20.0, USERS), 0.0, 100.0)
            there = np.flatnonzero(draw.random(USERS) < np.where(daily, 0.9, 0.1))
            rows += [(f"{seed}-{one}", date_of(number_of(MONDAY) + day), float(score[one])) for one in there]
        write_parquet(tmp_path / "csat.parquet", rows)
        settings = settings_of(f"duckdb:///{tmp_path}", signal_of(max_drop=0.0))
        (finding,) = evaluate(settings, people.history, at(DAYS, 7)).findings
        assert finding.verdict is Verdict.HEALTHY
        assert finding.worse is not None
        found.append(finding.worse)
    assert abs(np.mean(found)) < 3 * np.std(found, ddof=1) / RUNS**0.5
    assert abs(np.mean(found)) < 0.6
