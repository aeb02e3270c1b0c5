"""Answers that are marked as partial, in any spelling, are not read; whole ones are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Counts, Reason
from killswitch.sources.prometheus.source import Prometheus
from tests.unit.sources.in_process import TICK, WANTS, InProcessSession, envelope, good_rows, reasons


@pytest.mark.parametrize(
    "mark",
    [
        {"isPartial": True},  # VictoriaMetrics' vmselect with a store down
        {"isPartial": "true"},
        {"is_partial": 1},
        {"partial": True},
        {"partialResponse": ["store 2"]},
        {"warnings": ["No StoreAPIs matched for this query"]},  # Thanos
    ],
)
def test_an_answer_marked_as_partial_in_any_spelling_is_not_read(mark: dict[str, Any]) -> None:
    """A smaller number of good answers is a higher share of errors: a false kill."""
    assert reasons(lambda query: (200, envelope(good_rows(query), **mark))) == {Reason.PARTIAL_ANSWER}


def test_a_servers_clock_is_read_though_a_store_behind_it_is_down() -> None:
    """The time comes from no store; a source without a clock would be called down, and not partial."""
    session = InProcessSession(lambda _: (200, envelope([{"metric": {}, "value": [TICK, str(TICK)]}], isPartial=True)))
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    assert source.now(Deadline(10)) == TICK
    source.close()


def test_a_mark_inside_the_data_counts_as_well() -> None:
    def answer(query: str) -> tuple[int, bytes]:
        document = json.loads(envelope(good_rows(query)))
        document["data"]["isPartial"] = True
        return 200, json.dumps(document).encode()

    assert reasons(answer) == {Reason.PARTIAL_ANSWER}


@pytest.mark.parametrize("mark", [{"isPartial": False}, {"partial": None}, {"stats": {"seriesFetched": "4"}}])
def test_an_answer_that_says_it_is_whole_is_read(mark: dict[str, Any]) -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query), **mark))) == {None}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("M3-Results-Limited", "max_fetch_series_limit_applied", Reason.PARTIAL_ANSWER),
        ("X-Partial-Response", "true", Reason.PARTIAL_ANSWER),
        ("X-Partial-Response", "false", None),
        ("M3-Results-Limited", "", None),
    ],
)
def test_a_header_can_say_that_an_answer_is_partial(name: str, value: str, reason: Reason | None) -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query)), {name: value})) == {reason}


def test_every_query_asks_for_a_whole_answer_or_none() -> None:
    session = InProcessSession(lambda query: (200, envelope(good_rows(query))))
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    source.read(WANTS, TICK, Deadline(10))
    source.close()
    assert session.transport.asked
    for form in session.transport.asked:
        assert (form["deny_partial_response"], form["partial_response"]) == (["1"], ["false"])
        assert form["latency_offset"] == ["1s"]
    assert session.headers["M3-Limit-Require-Exhaustive"] == "true"


def test_a_denied_partial_response_is_a_partial_answer() -> None:
    """A 503 because a partial response is denied counts as a partial answer."""
    said = b'{"status":"error","errorType":"503","error":"cannot fetch results: partial response is denied"}'
    assert reasons(lambda _: (503, said)) == {Reason.PARTIAL_ANSWER}


def test_parameters_that_a_server_refuses_are_left_out() -> None:
    """As Google's front ends do."""
    session = InProcessSession(lambda query: (200, envelope(good_rows(query))))
    good = session.transport.answer

    def answer(query: str) -> Any:
        if "partial_response" in session.transport.asked[-1]:
            return 400, b'{"error":{"code":400,"message":"Unknown name \\"partial_response\\": Cannot bind"}}'
        return good(query)

    session.transport.answer = answer
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    found = source.read(WANTS, TICK, Deadline(10))
    before = len(session.transport.asked)
    source.read(WANTS, TICK + 30, Deadline(10))
    source.close()
    assert found["r", "errors", "window"].canary == Counts(5.0, 500.0)
    assert not any("partial_response" in form for form in session.transport.asked[before:])


def test_infos_and_old_style_warnings_are_no_partial_answer() -> None:
    """Infos, and what old servers call warnings, are no partial answer."""
    found = reasons(
        lambda query: (
            200,
            envelope(good_rows(query), infos=["metric might not be a counter"], warnings=["PromQL info: the same"]),
        )
    )
    assert found == {None}
