"""Billed tokens by kind, from the usage of whole answers and streams; who does not say what it used is counted, too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from killswitch.router.outcomes import Outcome
from tests.unit.router.counting_bench import CANARY, CONTROL, Bench

KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")
CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 15},
}
BY_KIND = (70.0, 30.0, 0.0, 25.0, 15.0)
TEXT = {"choices": [{"delta": {"content": "x"}, "finish_reason": None}]}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def billed(bench: Bench) -> tuple[float | None, ...]:
    return tuple(bench.value("llm_tokens_total", kind=kind) for kind in KINDS)


def unmetered(bench: Bench) -> float | None:
    return bench.value("llm_unmetered_requests_total")


@pytest.mark.parametrize(
    "answer",
    [{"usage": CHAT}, SimpleNamespace(usage=CHAT), {"response": {"usage": CHAT}}],
    ids=["JSON", "object", "event"],
)
def test_each_token_of_an_answer_is_counted_in_one_kind(bench: Bench, answer: object) -> None:
    with bench.metrics.request(CANARY) as request:
        request.answer(answer)
    assert (billed(bench), unmetered(bench)) == (BY_KIND, 0.0)


def test_the_usage_of_a_stream_is_in_its_last_chunk(bench: Bench) -> None:
    list(bench.metrics.stream(CANARY, [TEXT, TEXT, END, {"choices": [], "usage": CHAT}]))
    assert (billed(bench), unmetered(bench)) == (BY_KIND, 0.0)


def test_the_usage_of_messages_is_in_two_events(bench: Bench) -> None:
    """What was read is said at the beginning, what was written at the end, as a running total."""
    begin = {"input_tokens": 9, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}
    events: list[Any] = [
        {"type": "message_start", "message": {"usage": begin}},
        {"type": "content_block_delta"},
        {"type": "message_delta", "usage": {"output_tokens": 12}},
        {"type": "message_stop"},
    ]
    list(bench.metrics.stream(CANARY, events))
    assert billed(bench) == (9.0, 5.0, 2.0, 12.0, 0.0)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, "many"], ids=str)
def test_an_answer_that_does_not_say_what_it_used_is_unmetered(bench: Bench, usage: object) -> None:
    with bench.metrics.request(CANARY) as request:
        request.answer({"usage": usage})
    assert (billed(bench), unmetered(bench)) == ((0.0,) * 5, 1.0)


def test_a_stream_that_its_reader_left_is_unmetered(bench: Bench) -> None:
    stream = bench.metrics.stream(CANARY, [TEXT, TEXT, END])
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert unmetered(bench) == 1.0


def test_a_request_that_failed_is_not_taken_for_billed(bench: Bench) -> None:
    with pytest.raises(ValueError, match="down"), bench.metrics.request(CANARY):
        raise ValueError("down")
    assert unmetered(bench) == 0.0


def test_usage_that_raises_is_no_usage(bench: Bench) -> None:
    class Broken:
        @property
        def usage(self) -> object:
            raise RuntimeError

    with bench.metrics.request(CANARY) as request:
        request.answer(Broken())
    assert (bench.outcomes(), unmetered(bench)) == ({"ok": 1.0}, 1.0)


def test_every_kind_exists_at_0_before_the_first_request(bench: Bench) -> None:
    """An absent counter is unknown, and 0 is known."""
    assert billed(bench) == (0.0,) * 5
    assert bench.value("llm_tokens_total", CONTROL, kind="input") == 0.0


def test_shadow_requests_are_billed_in_their_own_cohort(bench: Bench) -> None:
    bench.metrics.count_shadow(CANARY.model, Outcome.OK, 1.0, judged=True, refused=False, tokens=40, usage=CHAT)
    assert billed(bench) == (0.0,) * 5
