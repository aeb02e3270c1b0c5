"""Native histograms out of answers: bounds at comparable edges, never guesses, and nothing taken on trust."""

from __future__ import annotations

import math
from typing import Any

import pytest

from killswitch.model import Buckets
from killswitch.sources.prometheus.native_answers import (
    NotNative,
    at_edges,
    buckets_in,
    comparable,
    exponential,
    schema_of,
)


def answered(*rows: tuple[float, float, float], more: float = 0) -> dict[str, Any]:
    """A histogram as the API writes it; ``more`` observations are not a number."""
    buckets = [[0, repr(lower), repr(upper), repr(count)] for lower, upper, count in rows]
    return {"count": repr(sum(row[2] for row in rows) + more), "sum": "1", "buckets": buckets}


def test_an_edge_inside_a_bucket_that_is_not_empty_is_left_out() -> None:
    """Whether a request in (1, 2] took longer than 1.5 cannot be known, so 1.5 is no edge."""
    found = buckets_in(answered((1.0, 2.0, 3.0), (4.0, 8.0, 5.0)))
    assert at_edges(found, (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 9.0)) == {
        0.5: 0.0, 1.0: 0.0, 2.0: 3.0, 3.0: 3.0, 4.0: 3.0, 8.0: 8.0, 9.0: 8.0, math.inf: 8.0,
    }  # fmt: skip


@pytest.mark.parametrize("schema", [-2, 0, 2, 3, 5, 8])
def test_the_schema_shows_in_the_edges(schema: int) -> None:
    """A finer one than ours is read at our edges, which it has, too."""
    each = 2.0**-schema
    found = buckets_in(answered(*((2 ** (at * each), 2 ** ((at + 1) * each), 2.0) for at in (-9, 1, 2))))
    assert schema_of(found, 1.0) == min(schema, 3)
    assert exponential(0, 1.0)[:2] == (2.0**-10, 2.0**-9)
    assert set(exponential(2, 1.0)) < set(exponential(3, 1.0))


def test_custom_edges_and_the_zero_bucket_are_told_apart() -> None:
    assert schema_of(buckets_in(answered((-math.inf, 0.1, 4.0), (0.25, 0.5, 1.0))), 1.0) is None
    assert schema_of(buckets_in(answered((-1e-128, 1e-128, 4.0), (0.5, 1.0, 1.0))), 1.0) == 0
    (one,) = comparable(
        [buckets_in(answered((-math.inf, 0.1, 4.0), (0.5, math.inf, 1.0)))], {0.1, 0.25, 0.5}, set(), 1.0
    )
    assert one == Buckets((0.1, 0.25, 0.5, math.inf), (4.0, 4.0, 4.0, 5.0))


def test_what_is_not_a_number_counts_above_every_edge() -> None:
    """As in classic buckets, where only ``+Inf`` has it."""
    found = buckets_in(answered((0.5, 1.0, 2.0), more=1))
    assert at_edges(found, (1.0, 64.0)) == {1.0: 2.0, 64.0: 2.0, math.inf: 3.0}
    assert schema_of(found, 1.0) == 0


def test_an_empty_histogram_has_every_edge() -> None:
    (one,) = comparable([buckets_in(answered())], set(), set(), 1.0)
    assert len(one.bounds) == len(exponential(3, 1.0)) + 1
    assert set(one.counts) == {0.0}


def test_edges_in_milliseconds_are_seconds_in_the_end() -> None:
    edges = exponential(3, 0.001)
    assert 0.0005 < edges[0] <= 0.001
    assert 0.001 * 2.0**3 in edges


@pytest.mark.parametrize(
    "broken",
    [
        None, [], {}, {"count": 1}, {"count": "1_0"}, {"count": "x"}, {"count": "1", "buckets": 3},
        {"count": "1", "buckets": [[0, "1", "2"]]}, {"count": "1", "buckets": [[0, "2", "1", "1"]]},
        {"count": "1", "buckets": [[0, "1", "2", "nan"]]}, {"count": "1", "buckets": ["x"]},
        {"count": "2", "buckets": [[0, "1", "4", "1"], [0, "2", "8", "1"]]},
    ],
)  # fmt: skip
def test_what_is_no_histogram_is_refused(broken: Any) -> None:
    with pytest.raises(NotNative):
        buckets_in(broken)
