"""Cohort metrics: what each way of ending counts as, in which series, once, and never at the service's expense."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, get_type_hints

import httpx
import openai
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from killswitch.model import Cohort
from killswitch.router import CohortMetrics, FeedbackTokens, Outcome, Phrases, Route
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.judged import period_of
from killswitch.router.outcomes import outcome_of, outcome_of_status
from killswitch.router.routing import RouteReason
from tests.doubles.held_split import armed, control_only, router_over, tripped

CONTROL, CANARY = armed().control_route, armed().canary_route
KEY = b"k" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Cohort metrics over a registry of their own, and short names for reading it."""

    def __init__(self, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock()
        self.router, self.held = router_over(armed())
        options.setdefault("tokens", FeedbackTokens([KEY], clock=self.clock))
        self.metrics = CohortMetrics(
            self.router, instruments=PrometheusInstruments.of(self.registry), clock=self.clock, **options
        )

    def value(self, name: str, route: Route = CANARY, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model": route.model, "cohort": route.cohort.value, **labels})

    def outcomes(self, route: Route = CANARY, prefix: str = "llm_") -> dict[str, float]:
        counts = {str(o): self.value(f"{prefix}requests_total", route, outcome=str(o)) for o in Outcome}
        return {outcome: count for outcome, count in counts.items() if count}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_label_combination_is_0_before_the_first_request(bench: Bench) -> None:
    """Every combination of labels is exposed as 0 before the first request."""
    for route in (CONTROL, CANARY):
        for prefix in ("llm_", "llm_judged_"):
            for outcome in Outcome:
                assert bench.value(f"{prefix}requests_total", route, outcome=str(outcome)) == 0.0
            assert bench.value(f"{prefix}latency_ms_count", route) == 0.0
            assert bench.value(f"{prefix}refusals_total", route) == 0.0
            assert bench.value(f"{prefix}thumbs_down_total", route) == 0.0
        assert bench.value("llm_completion_tokens_count", route) == 0.0


def test_an_answer_of_status_200_that_says_it_failed_is_an_error(bench: Bench) -> None:
    """A canary whose provider fails in this way was as healthy as any."""
    failed = {"object": "response", "status": "failed", "error": {"code": "server_error"}, "output": []}
    with bench.metrics.request(CANARY, "u1") as request:
        request.answer(failed)
    with bench.metrics.request(CANARY, "u2") as request:
        list(request.stream([{"choices": [{"finish_reason": "error", "delta": {}}]}]))
    assert bench.outcomes() == {"error": 2.0}


def test_the_names_and_labels_are_exactly_the_schema(bench: Bench) -> None:
    names = {
        line.split("{")[0]
        for line in generate_latest(bench.registry).decode().splitlines()
        if not line.startswith("#") and "_created" not in line
    }
    assert names == {
        *(f"llm_{twin}{name}_total" for twin in ("", "judged_") for name in ("requests", "refusals", "thumbs_down")),
        *(f"llm_{twin}latency_ms_{part}" for twin in ("", "judged_") for part in ("bucket", "count", "sum")),
        *(f"llm_completion_tokens_{part}" for part in ("bucket", "count", "sum")),
    }


def test_a_new_model_is_0_at_the_next_scrape(bench: Bench) -> None:
    """A new model is exposed as 0 at the next scrape, before its first request."""
    bench.held.current = tripped()
    newer = armed().between("model-older", "model-newest")
    bench.held.current = newer
    text = generate_latest(bench.registry).decode()
    assert 'llm_requests_total{cohort="canary",model="model-newest",outcome="error"} 0.0' in text
    assert 'llm_judged_refusals_total{cohort="control",model="model-older"} 0.0' in text


def test_a_request_of_one_cohort_declares_the_others_new_model(bench: Bench) -> None:
    """A request of one cohort declares the new model of the other cohort."""
    bench.held.current = armed(revision=99).between("model-old", "model-newest")
    with bench.metrics.request(bench.held.current.control_route, user="u"):
        pass
    fresh = bench.held.current.canary_route
    assert ("canary", "model-newest") in {(str(c), m) for c, m in bench.metrics._series}
    assert bench.value("llm_requests_total", fresh, outcome="ok") == 0.0


# --- outcomes -----------------------------------------------------------------------------------


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
    """Each exception has its outcome, and is raised to the caller unchanged."""
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
    """An outcome that the service names holds, unless an exception ends the block."""
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


# --- streams ------------------------------------------------------------------------------------


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


# --- answers ------------------------------------------------------------------------------------


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


# --- judged twins -------------------------------------------------------------------------------


def test_a_retry_storm_is_judged_once_before_its_outcome(bench: Bench) -> None:
    """A retry storm of one user is judged once. Which request is judged is chosen before its outcome."""
    for number in range(50):
        request = bench.metrics.request(CANARY, user="stormy")
        assert request.judged is (number == 0)
        with pytest.raises(ValueError), request:  # noqa: PT012
            request.tokens(1)
            raise ValueError
    assert bench.outcomes() == {"error": 50.0}
    assert bench.outcomes(prefix="llm_judged_") == {"error": 1.0}
    assert bench.value("llm_judged_latency_ms_count") == 1.0
    bench.clock.now += 300.0
    assert bench.metrics.request(CANARY, user="stormy").judged


def test_a_users_periods_of_five_minutes_have_their_own_phase(bench: Bench) -> None:
    """Arming made every user of the canary first at one moment once, and then silent for five minutes."""
    users = [f"user-{number}" for number in range(3000)]
    first = [sum(bench.metrics.request(CONTROL, user=user).judged for user in users)]
    for _ in range(10):
        bench.clock.now += 30.0
        first.append(sum(bench.metrics.request(CANARY, user=user).judged for user in users))
    assert first[0] == 3000
    assert sum(first[1:]) == 3000
    assert all(220 < judged < 380 for judged in first[1:])  # 300 each, 5 standard deviations


def test_without_a_user_every_request_is_judged(bench: Bench) -> None:
    assert all(bench.metrics.request(CANARY).judged for _ in range(3))


def test_a_moved_user_is_judged_in_the_next_five_minutes(bench: Bench) -> None:
    """A user who was moved to the canary is judged there from their next five minutes on."""
    assert bench.metrics.request(CONTROL, user="u").judged
    assert not bench.metrics.request(CANARY, user="u").judged
    bench.clock.now += 300.0
    assert bench.metrics.request(CANARY, user="u").judged
    assert not bench.metrics.request(CONTROL, user="u").judged


class Shared:
    """A shared memory, as Redis' ``SET key 1 NX EX …`` is one."""

    def __init__(self) -> None:
        self.keys: list[object] = []

    def first(self, key: object) -> bool:
        self.keys.append(key)
        return self.keys.count(key) == 1


def test_every_process_asks_a_shared_memory_for_the_same_text() -> None:
    """A text without the user's name: Python's `hash` is another one in each process."""
    shared = Shared()
    processes = [Bench(first_requests=shared) for _ in range(3)]
    assert [bench.metrics.request(CANARY, user="alice").judged for bench in processes] == [True, False, False]
    assert shared.keys == ["support-copilot:3:2bd806c97f0e00af1a1fc3328fa763a9"] * 3
    processes[2].clock.now += 300.0
    assert processes[2].metrics.request(CANARY, user="alice").judged


def test_periods_are_counted_on_unix_time_unless_a_clock_is_given() -> None:
    """Monotonic clocks of two machines have nothing in common."""
    shared = Shared()
    metrics = CohortMetrics(None, instruments=PrometheusInstruments.of(CollectorRegistry()), first_requests=shared)
    before = period_of("u", time.time())
    metrics.request(CANARY, user="u")
    assert int(str(shared.keys[0]).split(":")[1]) in (before, period_of("u", time.time()))


class LikeRedis(Shared):
    """redis-py's ``set(key, 1, nx=True)``: True, or None."""

    def first(self, key: object) -> Any:
        return super().first(key) or None


def test_a_shared_memory_that_answers_none_fails_no_request() -> None:
    bench = Bench(first_requests=LikeRedis(), used_tokens=LikeRedis())
    for _ in range(3):
        with bench.metrics.request(CANARY, user="u") as request:
            pass
    assert request.judged is False
    assert bench.outcomes() == {"ok": 3.0}
    assert bench.outcomes(prefix="llm_judged_") == {"ok": 1.0}
    assert [bench.metrics.thumbs_down(request.token) for _ in range(2)] == [True, True]
    token = request.token
    assert [bench.metrics.thumbs_down(token) for _ in range(2)] == [True, False]


class Unreachable:
    def first(self, key: object) -> bool:
        raise ConnectionError("shared memory is down")


def test_an_unreachable_memory_or_unhashable_user_fails_nothing() -> None:
    """A shared memory that is out of reach, or an unhashable user, fails no request."""
    bench = Bench(first_requests=Unreachable())
    assert bench.metrics.request(CANARY, user="u").judged
    assert not bench.metrics.request(CANARY, user="u").judged
    assert bench.metrics.request(CANARY, user=["unhashable"]).judged  # type: ignore[arg-type]
    assert bench.metrics.request(CANARY, user=Nameless()).judged


class Nameless:
    def __str__(self) -> str:
        raise ValueError("no name")


# --- feedback -----------------------------------------------------------------------------------


def thumbs(bench: Bench, route: Route = CANARY) -> tuple[float | None, float | None]:
    return bench.value("llm_thumbs_down_total", route), bench.value("llm_judged_thumbs_down_total", route)


def test_a_thumb_an_hour_later_counts_for_the_cohort_that_served(bench: Bench) -> None:
    """A thumb an hour later counts for the cohort that served the request, even after a trip."""
    with bench.metrics.request(CANARY, user="u") as request:
        token = request.token
    bench.held.current = tripped()
    bench.clock.now += 3600.0
    assert bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (1.0, 1.0)
    assert thumbs(bench, CONTROL) == (0.0, 0.0)


def test_a_thumb_on_an_unjudged_request_is_not_judged(bench: Bench) -> None:
    bench.metrics.request(CANARY, user="u")
    token = bench.metrics.request(CANARY, user="u").token
    assert bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (1.0, 0.0)


def test_one_token_counts_once_however_often_it_is_sent(bench: Bench) -> None:
    token = bench.metrics.request(CANARY, user="u").token
    answers = [bench.metrics.thumbs_down(token) for _ in range(10)]
    assert answers == [True] + [False] * 9
    bench.clock.now += 86_399.0
    assert not bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (1.0, 1.0)


@pytest.mark.parametrize("token", ["", "a.b", "x" * 10_000, None, 7, b"x"])
def test_a_forged_token_counts_for_nothing_and_does_not_raise(bench: Bench, token: Any) -> None:
    assert not bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (0.0, 0.0)


def test_an_expired_token_counts_for_nothing(bench: Bench) -> None:
    token = bench.metrics.request(CANARY, user="u").token
    bench.clock.now += 86_400.0
    assert not bench.metrics.thumbs_down(token)


def test_without_a_key_there_is_no_feedback_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, tokens are empty and feedback by token is not counted."""
    monkeypatch.delenv("KILLSWITCH_FEEDBACK_KEY", raising=False)
    monkeypatch.delenv("KILLSWITCH_FEEDBACK_KEY_FILE", raising=False)
    bench = Bench(tokens=None)
    assert bench.metrics.request(CANARY).token == ""
    assert not bench.metrics.thumbs_down("a.b")


def test_a_thumb_on_an_unknown_request_is_counted_not_judged(bench: Bench) -> None:
    """Another process served it. Judged thumbs without judged requests made a rate of 194 % of a healthy canary."""
    for user in ("u", "u", None):
        assert bench.metrics.thumbs_down(CANARY, user=user)
    assert thumbs(bench) == (3.0, 0.0)


def test_a_thumb_on_a_route_is_judged_where_its_only_request_was(bench: Bench) -> None:
    bench.metrics.request(CANARY, user="u")
    bench.metrics.request(CONTROL, user="u")  # in the same five minutes, so not judged
    for _ in range(3):
        assert bench.metrics.thumbs_down(CANARY, user="u")
        assert bench.metrics.thumbs_down(CONTROL, user="u")
    assert thumbs(bench) == (3.0, 1.0)
    assert thumbs(bench, CONTROL) == (3.0, 0.0)


def test_a_token_of_another_rollout_or_generation_is_ignored(bench: Bench) -> None:
    """With one key for all. After a re-arm the canary was charged with thumbs about the generation before."""
    other = CohortMetrics(
        router_over(armed(), rollout="search-copilot")[0],
        instruments=PrometheusInstruments.of(CollectorRegistry()),
        tokens=FeedbackTokens([KEY], clock=bench.clock),
        clock=bench.clock,
    )
    assert not bench.metrics.thumbs_down(other.request(CANARY, user="u").token)
    token = bench.metrics.request(CANARY, user="u").token
    for generation in (2, 3):
        bench.held.current = armed(generation=generation)
        assert not bench.metrics.thumbs_down(token)
    assert thumbs(bench) == (0.0, 0.0)
    bench.held.current = control_only(RouteReason.ERROR, generation=0)  # its document cannot be understood
    assert not bench.metrics.thumbs_down(token)
    bench.held.current = armed()
    assert bench.metrics.thumbs_down(token)


def test_an_unreadable_flag_keeps_its_last_generation(bench: Bench) -> None:
    """While the flag cannot be read, tokens of its last known generation count."""
    token = bench.metrics.request(CANARY, user="u").token
    assert bench.metrics.thumbs_down(bench.metrics.request(CANARY, user="u").token)
    bench.held.current = control_only(RouteReason.ERROR, generation=0)
    assert bench.metrics.thumbs_down(token)


def test_a_token_without_a_router_is_good_for_its_own_metrics(bench: Bench) -> None:
    """A token made without a router is good for the metrics that signed it."""

    def alone() -> CohortMetrics:
        return CohortMetrics(
            None,
            instruments=PrometheusInstruments.of(bench.registry),
            tokens=FeedbackTokens([KEY], clock=bench.clock),
            clock=bench.clock,
        )

    one, other = alone(), alone()
    first, second = one.request(CANARY).token, one.request(CANARY._replace(generation=2)).token
    assert not other.thumbs_down(second)
    assert one.thumbs_down(second)
    assert not one.thumbs_down(first)


def test_with_a_shared_memory_a_token_counts_once_in_the_service() -> None:
    """With a shared memory, a token counts once in the whole service."""
    shared = Shared()
    processes = [Bench(used_tokens=shared) for _ in range(4)]
    token = processes[0].metrics.request(CANARY, user="u").token
    assert [bench.metrics.thumbs_down(token) for bench in (*processes, *processes)].count(True) == 1
    assert shared.keys == [shared.keys[0]] * 4  # a process asks once a token
    assert str(shared.keys[0]).startswith("support-copilot:token:")


def test_without_the_shared_memory_a_token_counts_once_a_process() -> None:
    """While the shared memory is out of reach, a token counts once in each process."""
    processes = [Bench(used_tokens=Unreachable()) for _ in range(2)]
    token = processes[0].metrics.request(CANARY, user="u").token
    assert [bench.metrics.thumbs_down(token) for bench in (*processes, *processes)] == [True, True, False, False]


def test_a_thumb_while_the_request_is_served_is_judged_as_it(bench: Bench) -> None:
    """A thumb that comes while the request is served is judged if the request is."""
    for _ in range(2):
        with bench.metrics.request(CANARY, user="u") as request:
            request.thumbs_down()
            request.thumbs_down()  # it is the same answer
    assert thumbs(bench) == (2.0, 1.0)


# --- at nobody's expense ------------------------------------------------------------------------


class Broken:
    def series(self, cohort: Cohort, model: str) -> Any:
        raise OSError("disk full")

    def before_scrape(self, declare: Callable[[], None]) -> None:
        pass


def test_instruments_that_fail_do_not_fail_the_request(caplog: pytest.LogCaptureFixture) -> None:
    router, _ = router_over(armed())
    metrics = CohortMetrics(router, instruments=Broken(), tokens=FeedbackTokens([KEY]))
    for _ in range(3):
        with metrics.request(CANARY, user="u") as request:
            request.thumbs_down()
    assert metrics.thumbs_down(CANARY)
    assert len(caplog.records) == 1


def test_many_rollouts_of_one_process_share_one_registry() -> None:
    registry = CollectorRegistry()
    for _ in range(3):
        CohortMetrics(router_over(armed())[0], instruments=PrometheusInstruments.of(registry))


def test_a_route_without_a_model_declares_nothing(bench: Bench) -> None:
    bench.held.current = armed().between("", "model-new")
    bench.metrics.declare()
    assert ("control", "") not in {(str(c), m) for c, m in bench.metrics._series}
