"""The looks of a run, and the error that each may spend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.gate.look_schedule import looks, schedule
from killswitch.roles.bars import Bars


def test_looks_halve_the_golden_set() -> None:
    assert looks(1) == (1,)
    assert looks(99) == (50, 99)
    assert looks(5000) == (79, 157, 313, 625, 1250, 2500, 5000)


def test_a_set_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        looks(0)


@given(st.integers(1, 100_000), st.floats(0.5, 0.999), st.floats(0.001, 0.2))
def test_the_errors_of_all_looks_stay_within_the_budget(rows: int, schema: float, wrong: float) -> None:
    """Those looks alone at which a run may pass spend the error of passing; four numbers share that of failing."""
    plan = schedule(rows, Bars(schema=schema, wrong=wrong))
    assert [look.rows for look in plan] == list(looks(rows))
    assert sum(look.for_it for look in plan if look.may_pass) <= wrong * (1 + 1e-9)
    assert 4 * sum(look.against_it for look in plan) <= wrong * (1 + 1e-9)
    assert plan[-1].may_pass


def test_a_look_that_cannot_pass_spends_nothing() -> None:
    """299 rows without a failure show 99 % at an error of 5 %, as the rule of three says."""
    assert [look.for_it for look in schedule(299, Bars()) if look.may_pass] == [0.05]
