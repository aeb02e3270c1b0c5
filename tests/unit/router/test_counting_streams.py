"""Streams and whole answers: how each ended, its refusal and its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from killswitch.router import Phrases
from tests.unit.router.counting_bench import CANARY, CONTROL, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def chunk(text: str = "x", finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"completion_tokens": 17}}
WHOLE = [chunk(), chunk(), chunk(finish="stop"), USAGE]
STREAMS: list[tuple[list[Any], str]] = [
    (WHOLE, "ok"),
    (WHOLE[:2], "error"),
    ([chunk("no", "content_filter")], "refused"),
    (["plain", "text"], "ok"),
    ([], "ok"),
    ([{"type": "message_start"}, {"type": "content_block_delta"}, {"type": "message_stop"}], "ok"),
    ([{"type": "message_start"}, {"type": "content_block_delta"}], "error"),
    (
        [
            {"type": "message_start"},
            {"type": "message_delta", "delta": {"stop_reason": "refusal"}},
            {"type": "message_stop"},
        ],
        "refused",
    ),
    ([{"type": "response.created"}, {"type": "response.completed"}], "ok"),
    ([{"type": "response.created"}, {"type": "response.output_text.delta", "delta": "x"}], "error"),
    ([{"candidates": [{}]}, {"candidates": [{"finishReason": "STOP"}]}], "ok"),
    ([{"candidates": [{}]}, {"candidates": [{"finishReason": "SAFETY"}]}], "refused"),
    ([{"messageStart": {}}, {"contentBlockDelta": {}}], "error"),
    ([{"messageStart": {}}, {"messageStop": {"stopReason": "guardrail_intervened"}}], "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("chunks", "outcome"), STREAMS, ids=range(len(STREAMS)))
def test_a_stream_passes_its_chunks_on_and_counts_by_how_it_ended(
    bench: Bench, chunks: list[Any], outcome: str
) -> None:
    assert list(bench.metrics.stream(CANARY, chunks, user="u")) == chunks
    assert bench.outcomes() == {outcome: 1.0}


def test_usage_in_a_streams_last_chunk_is_its_token_count(bench: Bench) -> None:
    list(bench.metrics.stream(CANARY, WHOLE))
    assert bench.value("llm_completion_tokens_sum") == 17.0


def test_a_stream_that_breaks_half_way_is_an_error(bench: Bench) -> None:
    """A stream that breaks half-way is an error, and the exception is raised to the caller."""

    def breaks() -> Iterator[Any]:
        yield chunk()
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        list(bench.metrics.stream(CANARY, breaks()))
    assert bench.outcomes() == {"error": 1.0}


def test_a_stream_whose_client_leaves_is_cancelled(bench: Bench) -> None:
    stream = bench.metrics.stream(CANARY, iter(WHOLE))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert bench.outcomes() == {"cancelled": 1.0}


@pytest.mark.parametrize(
    ("finish", "outcome"), [("stop", "ok"), ("error", "error"), ("content_filter", "refused"), (None, "cancelled")]
)
def test_a_stream_left_at_its_finish_mark_has_its_outcome(bench: Bench, finish: str | None, outcome: str) -> None:
    """Many consumers stop at the finish mark and leave the usage behind; a failed answer must not pass for a leaver."""

    async def chunks() -> AsyncIterator[Any]:
        yield chunk(finish=finish)
        yield USAGE

    async def leave() -> None:
        stream = bench.metrics.astream(CONTROL, chunks())
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    stream = bench.metrics.stream(CANARY, iter([chunk(finish=finish), USAGE]))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    asyncio.run(leave())
    assert bench.outcomes() == bench.outcomes(CONTROL) == {outcome: 1.0}


def test_a_block_cancelled_after_its_stream_is_cancelled(bench: Bench) -> None:
    """The stream's finish mark says nothing about what the service does after it."""
    request = bench.metrics.request(CANARY)
    list(request.stream(WHOLE))
    request.end(asyncio.CancelledError())
    assert bench.outcomes() == {"cancelled": 1.0}


def test_an_asynchronous_stream_counts_alike(bench: Bench) -> None:
    async def chunks(items: list[Any], error: BaseException | None = None) -> AsyncIterator[Any]:
        for item in items:
            yield item
        if error is not None:
            raise error

    async def run() -> None:
        assert [c async for c in bench.metrics.astream(CANARY, chunks(WHOLE))] == WHOLE
        assert len([c async for c in bench.metrics.astream(CANARY, chunks(WHOLE[:1]))]) == 1
        with pytest.raises(httpx.ReadTimeout):
            [c async for c in bench.metrics.astream(CANARY, chunks(WHOLE[:1], httpx.ReadTimeout("x")))]
        left = bench.metrics.astream(CANARY, chunks(WHOLE))
        await anext(left)
        await left.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    assert bench.outcomes() == {"ok": 1.0, "error": 1.0, "timeout": 1.0, "cancelled": 1.0}


def test_a_whole_answer_gives_its_refusal_and_its_tokens() -> None:
    bench = Bench(phrases=Phrases())
    for answer in (
        {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 5}},
        {"stop_reason": "refusal", "usage": {"output_tokens": 3}},
        "I'm sorry, but I can't help with that.",
        "I can't help but admire this question.",
    ):
        with bench.metrics.request(CANARY) as request:
            request.answer(answer)
    assert bench.outcomes() == {"ok": 2.0, "refused": 2.0}
    assert bench.value("llm_completion_tokens_sum") == 8.0


def test_the_phrases_see_the_opening_of_a_stream() -> None:
    bench = Bench(phrases=Phrases())
    pieces = ["I'm so", "rry, but I c", "an't assist ", "with that."]
    list(bench.metrics.stream(CANARY, [*(chunk(piece) for piece in pieces), chunk("", "stop")]))
    assert bench.outcomes() == {"refused": 1.0}
