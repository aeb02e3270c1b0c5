"""Asks that are left out of a tick change nothing in the plan of all: it is kept, and their answers are left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from killswitch.model import Matcher, Selector
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.prometheus.source import Prometheus, _asks_of

EVERY: tuple[Ask, ...] = tuple(
    Sum(Shape.STEP, Selector(metric, (Matcher("rollout", "=", f"r{number}"),)), 30.0)
    for metric in ("requests_total", "refusals_total")
    for number in range(10)
)
REQUESTS, REFUSALS = EVERY[:10], EVERY[10:]


@pytest.fixture
def source() -> Iterator[Prometheus]:
    found = Prometheus("http://127.0.0.1:9")
    yield found
    found.close()


def planned(source: Prometheus, wanted: tuple[Ask, ...]) -> list[int]:
    """How many asks each query answers; all that is wanted is asked exactly once."""
    queries = source._kept_plan(EVERY, dict.fromkeys(wanted))
    asked = _asks_of(queries)
    assert set(wanted) <= set(asked)
    assert len(asked) == len(set(asked))
    return [len(_asks_of([query])) for query in queries]


def test_one_that_is_left_out_is_asked_with_the_others(source: Prometheus) -> None:
    """Planning again for a set of asks that changes with each tick takes longer than asking for one too many."""
    assert planned(source, EVERY) == [10, 10]
    made = source._planned.cache_info().misses
    assert planned(source, EVERY[1:]) == [10, 10]
    assert planned(source, EVERY[:-1]) == [10, 10]
    assert source._planned.cache_info().misses == made


def test_a_query_of_which_few_are_wanted_is_not_sent(source: Prometheus) -> None:
    """Fewer than half of its asks: these are asked alone."""
    assert planned(source, (*REQUESTS, *REFUSALS[:4])) == [10, 4]
    assert planned(source, REQUESTS) == [10]
    assert planned(source, ()) == []
