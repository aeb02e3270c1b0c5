"""A request noted for the shadow while control serves it: what is offered, when, and how little the path does."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from killswitch.model import Cohort
from killswitch.router import CohortMetrics, Outcome
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.route_types import Route
from killswitch.router.shadow import Shadow, shadowed_request
from killswitch.router.shadow.asking import Finished
from killswitch.router.shadow.drops import Drop
from killswitch.router.shadow.request_ids import new_request_id
from killswitch.router.shadow.shadowed_request import ShadowedRequest
from tests.doubles.held_split import router_over, shadowed

CONTROL = Route(Cohort.CONTROL, "model-old", "SPLIT", 1, 10)
MESSAGES = [{"role": "user", "content": "hello"}]


class Recording:
    """Stands for the mirror: keeps what it is offered."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []
        self.drops: list[Drop] = []
        self.failures: list[BaseException] = []

    def begin(
        self,
        route: Route,
        arguments: Any,
        *,
        api: str,
        user: object,
        request_id: str,
        prompt_class: str,
        side_effects: bool | None,
    ) -> ShadowedRequest:
        said = (api, user, request_id, prompt_class, side_effects)
        return ShadowedRequest(self, route, arguments, *said, calendar=lambda: 1000.0)

    def offer(self, finished: Finished) -> None:
        self.finished.append(finished)

    def drop(self, reason: Drop) -> None:
        self.drops.append(reason)

    def control_failed(self, error: BaseException) -> None:
        self.failures.append(error)

    @property
    def one(self) -> Finished:
        (finished,) = self.finished
        return finished


@pytest.fixture
def mirror() -> Recording:
    return Recording()


@pytest.fixture
def metrics() -> CohortMetrics:
    router, _ = router_over(shadowed(100.0))
    return CohortMetrics(router, instruments=PrometheusInstruments.of(CollectorRegistry()))


def test_a_service_without_an_integration_shadows_in_one_line(mirror: Recording, metrics: CohortMetrics) -> None:
    arguments, answer = {"messages": [*MESSAGES]}, {"choices": [{"message": {"content": "hi"}}]}
    with metrics.request(CONTROL, user="u") as request:
        request.shadow(mirror, arguments, user="u", request_id="r", prompt_class="c", side_effects=False)
        request.answer(answer)
        arguments["messages"].append({"role": "assistant", "content": "hi"})
        assert mirror.finished == []
    offered = mirror.one
    assert offered.arguments is arguments
    assert offered.answer is answer
    assert offered.messages is not None
    assert [one is MESSAGES[0] for one in offered.messages] == [True]
    assert (offered.request_id, offered.user, offered.prompt_class, offered.api) == ("r", "u", "c", "chat")
    assert (offered.started, offered.served_outcome, offered.side_effects) == (1000.0, Outcome.OK, False)


def test_chunks_of_a_stream_are_kept_by_reference(mirror: Recording, metrics: CohortMetrics) -> None:
    chunks = [
        {"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]},
        {"choices": [{"finish_reason": "stop"}]},
    ]
    with metrics.request(CONTROL) as request:
        request.shadow(mirror, {"messages": MESSAGES})
        assert list(request.stream(chunks)) == chunks
    offered = mirror.one
    assert isinstance(offered.answer, list)
    assert all(kept is chunk for kept, chunk in zip(offered.answer, chunks, strict=True))
    assert len(offered.chunk_seconds or ()) == 2


def test_a_stream_left_after_its_finish_mark_is_whole(mirror: Recording, metrics: CohortMetrics) -> None:
    chunks = [{"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}, {"choices": [], "usage": {}}]
    request = metrics.request(CONTROL)
    request.shadow(mirror, {"messages": MESSAGES})
    next(request.stream(chunks))
    request.end(GeneratorExit())
    assert (mirror.one.served_outcome, mirror.one.answer) == (Outcome.OK, chunks[:1])


def test_a_stream_over_its_bound_is_let_go_at_once(
    mirror: Recording, metrics: CohortMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory: what is too large is freed while the stream still runs, and counted once."""
    monkeypatch.setattr(shadowed_request, "MAX_CHUNKS", 3)

    class Chunk:
        pass

    alive: weakref.WeakSet[Chunk] = weakref.WeakSet()

    def chunks() -> Iterator[Chunk]:
        for _ in range(10):
            chunk = Chunk()
            alive.add(chunk)
            yield chunk

    with metrics.request(CONTROL) as request:
        request.shadow(mirror, {"messages": MESSAGES})
        for number, _ in enumerate(request.stream(chunks())):
            assert len(alive) <= 3 or number == 3
        assert len(alive) <= 1
    assert (mirror.drops, mirror.finished) == ([Drop.TOO_LARGE], [])


def test_a_failure_of_control_says_its_status_and_headers(mirror: Recording, metrics: CohortMetrics) -> None:
    class RateLimitError(Exception):
        status_code = 429
        response = type("Response", (), {"headers": {"retry-after": "7"}})

    request = metrics.request(CONTROL)
    request.shadow(mirror, {"messages": MESSAGES})
    request.end(RateLimitError())
    assert (mirror.one.served_outcome, mirror.one.control_status) == (Outcome.ERROR, 429)
    assert mirror.one.control_headers == {"retry-after": "7"}
    assert len(mirror.failures) == 1


def test_a_request_ends_and_is_offered_once(mirror: Recording, metrics: CohortMetrics) -> None:
    request = metrics.request(CONTROL)
    request.shadow(mirror, {"messages": MESSAGES})
    request.end()
    request.end(RuntimeError())
    assert len(mirror.finished) == 1
    forgotten = metrics.request(CONTROL)
    forgotten.shadow(mirror, {"messages": MESSAGES})
    forgotten.forget()
    forgotten.end()
    assert len(mirror.finished) == 1


def test_request_ids_are_unique_in_forked_children_too() -> None:
    mine = {new_request_id() for _ in range(1000)}
    assert len(mine) == 1000
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(new_request_id() for _ in range(5)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = set(os.read(reading, 10_000).decode().split())
    mine |= {new_request_id() for _ in range(5)}
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 5
    assert not theirs & mine


class HostileError(Exception):
    @property
    def status_code(self) -> int:
        raise RuntimeError("no status")

    @property
    def response(self) -> object:
        raise RuntimeError("The response property has not been set.")


def test_an_exception_whose_properties_raise_reaches_the_service_as_it_is(
    mirror: Recording, metrics: CohortMetrics, tmp_path: Path
) -> None:
    """The shadow looks at it on the request's path, so nothing of it may raise."""
    request = metrics.request(CONTROL)
    request.shadow(mirror, {"messages": MESSAGES}, request_id="r")
    request.end(HostileError())
    assert (mirror.one.control_status, mirror.one.served_outcome) == (None, Outcome.ERROR)
    assert mirror.one.answer is None  # an exception would keep the frames of the service alive
    router, _ = router_over(shadowed(100.0))
    with Shadow(router, ask=lambda asking: None, spool=tmp_path) as shadow:
        shadow.control_failed(HostileError())
