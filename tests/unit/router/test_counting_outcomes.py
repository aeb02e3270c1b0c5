"""What each way of ending a request counts as, in which series, once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import socket
from typing import Any, get_type_hints

import httpx
import openai
import pytest

from killswitch.router import Outcome
from killswitch.router.outcomes import outcome_of, outcome_of_status
from tests.unit.router.counting_bench import CANARY, CONTROL, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_answer_of_status_200_that_says_it_failed_is_an_error(bench: Bench) -> None:
    """A canary whose provider fails in this way was as healthy as any."""
    failed = {"object": "response", "status": "failed", "error": {"code": "server_error"}, "output": []}
    with bench.metrics.request(CANARY, "u1") as request:
        request.answer(failed)
    with bench.metrics.request(CANARY, "u2") as request:
        list(request.stream([{"choices": [{"finish_reason": "error", "delta": {}}]}]))
    assert bench.outcomes() == {"error": 2.0}


class ClientDisconnect(Exception):  # starlette's name
    pass


class ReadTimeoutError(Exception):
    pass


class Filtered(Exception):
    code = "content_filter"


class GatewayTimeout(Exception):
    status_code = 504


class LyingError(Exception):
    @property
    def code(self) -> str:
        raise RuntimeError


# The HTTP library of openai's errors, by their annotation: httpx in older releases, httpx2 in newer ones.
OPENAI_HTTP: Any = importlib.import_module(
    get_type_hints(openai.APIConnectionError.__init__)["request"].__module__.partition(".")[0]
)
REQUEST = OPENAI_HTTP.Request("POST", "http://localhost/")


def api_error(status: int, code: str | None = None) -> openai.APIStatusError:
    return openai.APIStatusError("x", response=OPENAI_HTTP.Response(status, request=REQUEST), body={"code": code})


ENDINGS: list[tuple[BaseException, Outcome]] = [
    (ValueError("x"), Outcome.ERROR),
    (ConnectionResetError(), Outcome.ERROR),
    (BrokenPipeError(), Outcome.ERROR),
    (LyingError(), Outcome.ERROR),
    (httpx.RemoteProtocolError("peer closed connection without sending complete message body"), Outcome.ERROR),
    (openai.APIConnectionError(request=REQUEST), Outcome.ERROR),
    (api_error(500), Outcome.ERROR),
    (api_error(429), Outcome.ERROR),
    (StopIteration(), Outcome.ERROR),
    (TimeoutError(), Outcome.TIMEOUT),
    (socket.timeout(), Outcome.TIMEOUT),  # noqa: UP041  # by its old name, as services catch it
    (concurrent.futures.TimeoutError(), Outcome.TIMEOUT),
    (httpx.ReadTimeout("x"), Outcome.TIMEOUT),
    (OPENAI_HTTP.ReadTimeout("x"), Outcome.TIMEOUT),
    (OPENAI_HTTP.RemoteProtocolError("peer closed connection"), Outcome.ERROR),
    (openai.APITimeoutError(request=REQUEST), Outcome.TIMEOUT),
    (ReadTimeoutError(), Outcome.TIMEOUT),
    (GatewayTimeout(), Outcome.TIMEOUT),
    (api_error(408), Outcome.TIMEOUT),
    (asyncio.CancelledError(), Outcome.CANCELLED),
    (concurrent.futures.CancelledError(), Outcome.CANCELLED),
    (GeneratorExit(), Outcome.CANCELLED),
    (KeyboardInterrupt(), Outcome.CANCELLED),
    (SystemExit(), Outcome.CANCELLED),
    (ClientDisconnect(), Outcome.CANCELLED),
    (Filtered(), Outcome.REFUSED),
    (api_error(400, "content_filter"), Outcome.REFUSED),
    (openai.ContentFilterFinishReasonError(), Outcome.REFUSED),
]


@pytest.mark.parametrize(("error", "outcome"), ENDINGS, ids=lambda value: type(value).__name__)
def test_each_exception_has_its_outcome_and_passes_unchanged(
    bench: Bench, error: BaseException, outcome: Outcome
) -> None:
    assert outcome_of(error) is outcome
    with pytest.raises(type(error)) as caught, bench.metrics.request(CANARY, user="u"):
        raise error
    assert caught.value is error
    assert bench.outcomes() == {str(outcome): 1.0}
    assert bench.outcomes(prefix="llm_judged_") == {str(outcome): 1.0}
    assert bench.value("llm_latency_ms_count") == 1.0
    assert bench.value("llm_refusals_total") == float(outcome is Outcome.REFUSED)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((200, "ok"), (302, "ok"), (400, "ok"), (404, "ok"), (408, "timeout"), (499, "cancelled"), (429, "error")),
        *((500, "error"), (502, "error"), (503, "error"), (504, "timeout")),
    ],
)
def test_each_http_status_has_its_outcome(status: int, outcome: str) -> None:
    assert outcome_of_status(status) == outcome


def test_a_normal_end_is_ok_with_latency_in_milliseconds(bench: Bench) -> None:
    """A request that ends normally is `ok`, and its latency is in milliseconds."""
    with bench.metrics.request(CANARY, user="u") as request:
        bench.clock.now += 1.5
        request.tokens(3)
        request.tokens(4)
    assert bench.outcomes() == {"ok": 1.0}
    assert bench.value("llm_latency_ms_sum") == pytest.approx(1500.0)
    assert bench.value("llm_latency_ms_bucket", le="1250.0") == 0.0
    assert bench.value("llm_latency_ms_bucket", le="1600.0") == 1.0
    assert bench.value("llm_completion_tokens_sum") == 7.0
    assert bench.value("llm_completion_tokens_count") == 1.0
    assert bench.outcomes(CONTROL) == {}


def test_a_refusal_counts_once_as_outcome_and_once_as_refusal(bench: Bench) -> None:
    with bench.metrics.request(CANARY, user="u") as request:
        request.refused()
        request.refused()
    assert bench.outcomes() == {"refused": 1.0}
    assert bench.value("llm_refusals_total") == bench.value("llm_judged_refusals_total") == 1.0


@pytest.mark.parametrize(
    ("error", "outcome"), [(GeneratorExit(), "refused"), (ValueError(), "error"), (TimeoutError(), "timeout")]
)
def test_a_refusal_survives_a_lost_client_but_no_broken_stream(
    bench: Bench, error: BaseException, outcome: str
) -> None:
    """A refusal still counts when the client leaves, and not when the provider breaks."""
    with pytest.raises(type(error)), bench.metrics.request(CANARY) as request:  # noqa: PT012
        request.refused()
        raise error
    assert bench.outcomes() == {outcome: 1.0}
    assert bench.value("llm_refusals_total") == 1.0


def test_a_named_outcome_holds_unless_an_exception_ends_it(bench: Bench) -> None:
    with bench.metrics.request(CANARY) as request:
        request.ends_as(Outcome.TIMEOUT)
    assert bench.outcomes() == {"timeout": 1.0}


@pytest.mark.parametrize("count", [-1, 0, float("nan"), "7", None, 10**30])
def test_a_senseless_token_count_is_left_out(bench: Bench, count: Any) -> None:
    with bench.metrics.request(CANARY) as request:
        request.tokens(count)
    assert bench.value("llm_completion_tokens_count") == 0.0


def test_a_request_ended_twice_counts_once(bench: Bench) -> None:
    request = bench.metrics.request(CANARY)
    request.end()
    request.end(ValueError())
    assert bench.outcomes() == {"ok": 1.0}


def test_a_cancelled_task_in_an_async_block_is_cancelled(bench: Bench) -> None:
    """The block can be used with `async with`. A cancelled task counts as cancelled."""

    async def serve(started: asyncio.Event) -> None:
        async with bench.metrics.request(CANARY):
            started.set()
            await asyncio.Event().wait()

    async def cancel_it() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(serve(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_it())
    assert bench.outcomes() == {"cancelled": 1.0}


def test_a_timeout_inside_the_block_counts_as_timeout(bench: Bench) -> None:
    async def serve() -> None:
        async with bench.metrics.request(CANARY), asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(serve())
    assert bench.outcomes() == {"timeout": 1.0}
