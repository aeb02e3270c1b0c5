"""The orders of rows and of calls: drawn by content, the same after a break."""

from __future__ import annotations

from collections import Counter

from killswitch.gate.golden import GoldenRow, GoldenSet
from killswitch.gate.row_order import RowCall, asked_hash, calls_of, drawn_order


def row(number: int, text: str = "text", expect: str = '"bug"') -> GoldenRow:
    return GoldenRow(f"r{number}", ({"role": "user", "content": f"{text} {number}"},), expect, number + 1)


ROWS = tuple(row(number) for number in range(600))


def test_the_order_of_the_file_does_not_matter() -> None:
    order = drawn_order(GoldenSet(ROWS, "v1"))
    assert order == drawn_order(GoldenSet(ROWS[::-1], "v1"))
    assert sorted(order, key=lambda one: one.line) == list(ROWS)


def test_another_version_is_drawn_in_another_order() -> None:
    assert drawn_order(GoldenSet(ROWS, "v1")) != drawn_order(GoldenSet(ROWS, "v2"))


def test_the_beginning_of_a_run_is_a_sample_of_the_file() -> None:
    """The first 60 of 600 rows are from all parts of the file."""
    first = Counter(one.line // 200 for one in drawn_order(GoldenSet(ROWS, "v1"))[:60])
    assert min(first[part] for part in range(3)) >= 10


def test_an_expected_label_changes_no_answer() -> None:
    assert asked_hash(row(1)) == asked_hash(row(1, expect='"question"'))
    assert len({asked_hash(row(1)), asked_hash(row(2)), asked_hash(row(1, "other"))}) == 3


def test_who_is_asked_first_changes_from_row_to_row() -> None:
    firsts = Counter(calls_of(one, twice=False)[0] for one in ROWS)
    assert set(firsts) == {RowCall.PROD, RowCall.CANDIDATE}
    assert min(firsts.values()) > 240


def test_prods_first_answer_precedes_its_second() -> None:
    orders = Counter(calls_of(one, twice=True) for one in ROWS)
    assert len(orders) == 3
    assert min(orders.values()) > 150
    assert all(order.index(RowCall.PROD) < order.index(RowCall.PROD_AGAIN) for order in orders)
