"""Whatever a metric store answers: a number from a good answer, a reason from any other, never an exception."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.model import Buckets, Counts, Reason, Scalar, Unreadable
from killswitch.net.bounded_http import NoAnswer
from killswitch.sources.prometheus.source import Prometheus
from tests.unit.sources.in_process import (
    ERRORS,
    FREE,
    LATENCY,
    TICK,
    InProcessSession,
    envelope,
    good_rows,
    read,
    reasons,
)


def test_a_good_answer_gives_numbers() -> None:
    found = read(lambda query: (200, envelope(good_rows(query))))
    assert found["errors"].canary == Counts(5.0, 500.0)
    assert found["p95"].control == Buckets((0.1, 0.5, math.inf), (100.0, 400.0, 500.0))
    assert found["free"].canary == Scalar(7.0)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"<html>please log in</html>", Reason.GARBAGE),
        (200, b"", Reason.GARBAGE),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[', Reason.GARBAGE),
        (200, b"[" * 100_000, Reason.GARBAGE),
        (200, b"null", Reason.GARBAGE),
        (200, b'{"status":"success"}', Reason.GARBAGE),
        (200, b'{"status":"error","data":{"resultType":"vector","result":[]}}', Reason.GARBAGE),
        (200, b'{"status":"success","data":{"resultType":"string","result":[1,"x"]}}', Reason.GARBAGE),
        (200, b'{"status":"success","data":{"resultType":"vector","result":{}}}', Reason.GARBAGE),
        (200, b"1" * 5000, Reason.GARBAGE),
        (200, envelope([]), Reason.NO_DATA),
        (200, envelope([], warnings=["one store did not answer"]), Reason.PARTIAL_ANSWER),
        (200, envelope([], warnings="all is well"), Reason.GARBAGE),
        (401, b"", Reason.SOURCE_REFUSED),
        (403, b"tenant unknown", Reason.SOURCE_REFUSED),
        (404, b"no such page", Reason.SOURCE_REFUSED),
        (422, b'{"status":"error","errorType":"execution"}', Reason.SOURCE_REFUSED),
        (429, b"slow down", Reason.SOURCE_DOWN),
        (500, b"oh", Reason.SOURCE_DOWN),
        (503, b'{"status":"error","errorType":"timeout","error":"query timed out"}', Reason.SOURCE_TIMEOUT),
    ],
)
def test_a_useless_answer_has_its_reason(status: int, body: bytes, reason: Reason) -> None:
    assert reasons(lambda _: (status, body)) == {reason}


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-1"])
def test_a_number_no_counter_can_have_is_numeric(number: str) -> None:
    def answer(query: str) -> tuple[int, bytes]:
        rows = good_rows(query)
        if "increase" in query:
            rows = [{**row, "value": [TICK, number]} for row in rows]
        return 200, envelope(rows)

    assert reasons(answer, ERRORS) == {Reason.NUMERIC}
    assert reasons(answer, LATENCY) == {Reason.NUMERIC}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: {**row, "value": [TICK, 7]},
        lambda row: {**row, "value": [TICK, "seven"]},
        lambda row: {**row, "value": [TICK, "1_0"]},
        lambda row: {**row, "value": [TICK]},
        lambda row: {**row, "value": [TICK - 60, "7"]},
        lambda row: {**row, "value": [str(TICK), "7"]},
        lambda row: {**row, "value": None},
        lambda row: {"metric": row["metric"], "histogram": [TICK, {"count": "7"}]},
        lambda row: {**row, "metric": None},
        lambda row: {**row, "metric": {**row["metric"], "le": 7}},
        lambda _: "row",
        lambda _: None,
    ],
)
def test_a_row_of_wrong_shape_is_garbage_and_never_a_number(spoil: Callable[[dict[str, Any]], Any]) -> None:
    found = reasons(lambda query: (200, envelope([*map(spoil, good_rows(query))])))
    assert found == {Reason.GARBAGE}


def test_series_told_twice_or_grouped_by_other_labels_are_garbage() -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query) * 2)), ERRORS, LATENCY) == {Reason.GARBAGE}
    stranger = {"metric": {"cohort": "canary", "pod": "a"}, "value": [TICK, "5"]}
    assert reasons(lambda query: (200, envelope([*good_rows(query), stranger])), ERRORS) == {Reason.GARBAGE}


def test_several_series_of_a_free_query_are_refused() -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query) * 2)), FREE) == {Reason.SEVERAL_SERIES}


def test_a_histogram_without_its_last_bucket_is_garbage() -> None:
    def answer(query: str) -> tuple[int, bytes]:
        rows = good_rows(query)
        if "increase" in query:
            rows = [row for row in rows if row["metric"].get("le") != "+Inf"]
        return 200, envelope(rows)

    assert reasons(answer, LATENCY) == {Reason.GARBAGE}


@pytest.mark.parametrize("failing", ["errors_total", "latency_bucket", "free_canary"])
def test_one_failing_query_hurts_its_own_wants_alone(failing: str) -> None:
    found = read(lambda query: (500, b"") if failing in query else (200, envelope(good_rows(query))))
    hurt = {rule for rule, reading in found.items() if isinstance(reading.canary, Unreadable)}
    assert hurt == {{"errors_total": "errors", "latency_bucket": "p95", "free_canary": "free"}[failing]}
    assert isinstance(found["free"].control, Scalar)


def test_an_expected_failure_of_the_transport_has_its_reason() -> None:
    def refuse(_: str) -> tuple[int, bytes]:
        raise NoAnswer(Unavailable("nobody there"), sent=False)

    def denied(_: str) -> tuple[int, bytes]:
        raise NoAnswer(AccessDenied("bad certificate"), sent=False)

    def late(_: str) -> tuple[int, bytes]:
        raise NoAnswer(Unavailable("too late"), sent=True) from TimeoutError()

    def broken(_: str) -> tuple[int, bytes]:
        raise ZeroDivisionError

    assert reasons(refuse) == {Reason.SOURCE_DOWN}
    assert reasons(denied) == {Reason.SOURCE_REFUSED}
    assert reasons(late) == {Reason.SOURCE_TIMEOUT}
    assert reasons(broken) == {Reason.INTERNAL_ERROR}


def test_the_clock_raises_what_the_caller_can_act_on() -> None:
    def now(status: int, body: bytes) -> float:
        source = Prometheus("http://in-process:9090", session=InProcessSession(lambda _: (status, body)))
        try:
            return source.now(Deadline(10))
        finally:
            source.close()

    scalar = b'{"status":"success","data":{"resultType":"scalar","result":[1770000000.5,"1770000000.5"]}}'
    assert now(200, scalar) == 1_770_000_000.5
    with pytest.raises(AccessDenied):
        now(401, b"")
    for body in (b"<html>", scalar.replace(b'"1770000000.5"', b'"NaN"'), envelope([])):
        with pytest.raises(Unavailable):
            now(200, body)
