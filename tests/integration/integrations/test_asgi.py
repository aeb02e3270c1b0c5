"""The ASGI middleware under real FastAPI, real Starlette and a real uvicorn: who serves, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from killswitch.router import CohortMetrics, Outcome
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.asgi import KillswitchMiddleware, cookie, header, path
from tests.doubles.held_split import HeldSplit, armed, router_over, tripped


class Service:
    """A FastAPI service with one path for each way a request may end."""

    def __init__(self, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.router, self.held = router_over(armed(100.0))
        metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(self.registry))
        self.app = app = FastAPI()
        options.setdefault("routing_key", header("x-user-id"))
        app.add_middleware(
            KillswitchMiddleware,
            router=self.router,
            metrics=metrics,
            **{"applies": path("/v1/"), **options},
        )
        self.started, self.release = threading.Event(), threading.Event()
        self._routes(app)

    def _routes(self, app: FastAPI) -> None:
        @app.get("/health")
        def health() -> str:
            return "ok"

        @app.get("/v1/model")
        def model(request: Request) -> dict[str, str]:
            return {"model": request.state.killswitch.route.model}

        @app.get("/v1/refuse")
        def refuse(request: Request) -> str:
            request.state.killswitch.refused()
            return "no"

        @app.get("/v1/raise")
        def break_down() -> None:
            raise RuntimeError("boom")

        @app.get("/v1/status/{status}")
        def status(status: int) -> Response:
            raise HTTPException(status)

        @app.get("/v1/said")
        def said(request: Request) -> Response:
            request.state.killswitch.ends_as(Outcome.TIMEOUT)
            return Response(status_code=500)

        @app.get("/v1/stream")
        def stream() -> StreamingResponse:
            async def body() -> AsyncIterator[bytes]:
                yield b"a"
                yield b"b"

            return StreamingResponse(body())

        @app.get("/v1/half")
        def half() -> StreamingResponse:
            async def body() -> AsyncIterator[bytes]:
                yield b"a"
                raise ConnectionResetError("the model went away")

            return StreamingResponse(body())

        @app.get("/v1/endless")
        def endless() -> StreamingResponse:
            async def body() -> AsyncIterator[bytes]:
                while True:
                    self.started.set()
                    yield b"x" * 1000
                    await asyncio.sleep(0.01)

            return StreamingResponse(body())

        @app.post("/v1/chat")
        def chat(request: Request, tasks: BackgroundTasks) -> str:
            if "x-user-id" not in request.headers:
                raise HTTPException(401)
            tasks.add_task(self.break_down_later)
            return "hello"

    def break_down_later(self) -> None:
        self.release.wait(10.0)
        raise RuntimeError("the task after the answer")

    def outcomes(self, cohort: str = "canary", model: str = "model-new") -> dict[str, float]:
        labels = {"cohort": cohort, "model": model}
        values = {
            str(o): self.registry.get_sample_value("llm_requests_total", {**labels, "outcome": str(o)}) for o in Outcome
        }
        return {outcome: value for outcome, value in values.items() if value}


@contextlib.contextmanager
def running(app: Any) -> Iterator[httpx.Client]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=10) as client:
                until(lambda: server.started)
                yield client
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.01)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with running(service.app) as client:
        yield client


def test_the_handler_is_told_the_model_and_the_client_its_cohort(service: Service, client: httpx.Client) -> None:
    answer = client.get("/v1/model", headers={"x-user-id": "u"})
    assert answer.json() == {"model": "model-new"}
    assert answer.headers["x-llm-cohort"] == "canary"
    service.held.current = tripped()
    answer = client.get("/v1/model", headers={"x-user-id": "u"})
    assert answer.json() == {"model": "model-old"}
    assert answer.headers["x-llm-cohort"] == "control"
    until(lambda: service.outcomes("control", "model-old") == {"ok": 1.0})
    assert service.outcomes() == {"ok": 1.0}


def test_other_paths_are_left_alone(service: Service, client: httpx.Client) -> None:
    assert "x-llm-cohort" not in client.get("/health").headers
    assert service.outcomes() == {}


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        *(
            ("/v1/refuse", "refused"),
            ("/v1/raise", "error"),
            ("/v1/status/503", "error"),
            ("/v1/status/504", "timeout"),
        ),
        *(("/v1/status/404", "ok"), ("/v1/status/429", "error"), ("/v1/said", "timeout"), ("/v1/stream", "ok")),
    ],
)
def test_each_way_of_answering_has_its_outcome(service: Service, client: httpx.Client, at: str, outcome: str) -> None:
    client.get(at, headers={"x-user-id": "u"})
    until(lambda: service.outcomes() == {outcome: 1.0})


def test_a_stream_whose_model_breaks_half_way_is_an_error(service: Service, client: httpx.Client) -> None:
    with pytest.raises(httpx.HTTPError):
        client.get("/v1/half", headers={"x-user-id": "u"})
    until(lambda: service.outcomes() == {"error": 1.0})


def test_a_client_that_leaves_a_stream_is_cancelled_and_no_error(service: Service, client: httpx.Client) -> None:
    with client.stream("GET", "/v1/endless", headers={"x-user-id": "u"}) as answer:
        next(answer.iter_raw())
    until(lambda: service.outcomes() == {"cancelled": 1.0})


def test_a_request_without_a_routing_key_goes_to_control(service: Service, client: httpx.Client) -> None:
    assert client.get("/v1/model").json() == {"model": "model-old"}
    assert client.get("/v1/model", headers={"x-user-id": ""}).json() == {"model": "model-old"}


def test_requests_that_no_model_was_asked_do_not_help_control() -> None:
    """Preflights and refused logins carry no user: they would all be quick successes of control."""
    service = Service()
    service.app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    # the middleware added last is asked first: put the preflight's answer below ours
    service.app.user_middleware.reverse()
    preflight = {"origin": "http://a", "access-control-request-method": "POST"}
    with running(service.app) as client:
        assert client.options("/v1/chat", headers=preflight).status_code == 200
        assert client.post("/v1/chat").status_code == 401
        assert client.get("/v1/chat").status_code == 405
        assert client.get("/v1/status/503").status_code == 503
        until(lambda: service.outcomes("control", "model-old") == {"error": 1.0})
        client.get("/v1/status/404", headers={"x-user-id": "u"})
    assert service.outcomes() == {"ok": 1.0}


def test_a_background_task_is_no_part_of_the_request(service: Service, client: httpx.Client) -> None:
    """Counted with the last byte of the answer, while the task still runs; that it fails says nothing about a model."""
    assert client.post("/v1/chat", headers={"x-user-id": "u"}).json() == "hello"
    until(lambda: service.outcomes() == {"ok": 1.0})
    service.release.set()
    httpx.get(f"{client.base_url}/v1/model", headers={"x-user-id": "u"})  # the task's failure ends the old connection
    until(lambda: service.outcomes() == {"ok": 2.0})


def test_a_routing_key_function_that_raises_fails_no_request() -> None:
    def raises(scope: Any) -> object:
        raise KeyError("session")

    service = Service(routing_key=raises)
    with running(service.app) as client:
        assert client.get("/v1/model").json() == {"model": "model-old"}


def test_a_cookie_pins_a_session_for_one_generation_until_a_trip() -> None:
    """A cookie keeps a session in its cohort within one generation. A trip ends the pin."""
    service = Service(routing_key=cookie("user"), pin_cookie="llm-cohort")
    with running(service.app) as client:
        client.cookies.set("user", "u")
        assert client.get("/v1/model").headers["set-cookie"].startswith("llm-cohort=canary.1;")
        service.held.current = armed(0.0)
        again = client.get("/v1/model")
        assert again.json() == {"model": "model-new"}
        assert "set-cookie" not in again.headers
        service.held.current = tripped()
        assert client.get("/v1/model").json() == {"model": "model-old"}
        service.held.current = armed(0.0, generation=2)  # re-armed: the pin of generation 1 is void
        client.cookies.set("llm-cohort", "canary.1")
        assert client.get("/v1/model").json() == {"model": "model-old"}


@pytest.mark.parametrize("value", ["canary", "canary.x", "a.b.c", ".", "canary.99", '"', "\\", "x" * 5000])
def test_a_forged_or_broken_pin_is_no_pin(value: str) -> None:
    service = Service(routing_key=lambda scope: "u", pin_cookie="llm-cohort")
    service.held.current = armed(0.0)
    with running(service.app) as client:
        answer = client.get("/v1/model", headers={"cookie": f"llm-cohort={value}"})
    assert answer.json() == {"model": "model-old"}


def test_where_nobody_says_requests_without_a_user_do_not_count() -> None:
    """Probes and scrapes counted as quick successes of control, so a healthy canary looked worse than it."""
    service = Service(applies=None)
    with running(service.app) as client:
        for _ in range(3):
            assert client.get("/health").text == '"ok"'
        assert client.get("/v1/model").json() == {"model": "model-old"}
        client.get("/v1/model", headers={"x-user-id": "u"})
    assert service.outcomes() == {"ok": 1.0}
    assert service.outcomes("control", "model-old") == {}


def test_websockets_and_lifespan_pass_through() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    router, _ = router_over(armed())
    registry = CollectorRegistry()
    metrics = CohortMetrics(router, instruments=PrometheusInstruments.of(registry))
    middleware = KillswitchMiddleware(app, router=router, metrics=metrics, routing_key=lambda scope: None)
    for kind in ("lifespan", "websocket"):
        asyncio.run(middleware({"type": kind, "headers": [], "path": "/"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


def test_an_application_that_answers_nothing_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    held = HeldSplit(armed(100.0))
    registry = CollectorRegistry()
    router, _ = router_over(held.current)
    metrics = CohortMetrics(router, instruments=PrometheusInstruments.of(registry))
    middleware = KillswitchMiddleware(app, router=router, metrics=metrics, routing_key=lambda scope: "u")
    asyncio.run(middleware({"type": "http", "headers": [], "path": "/"}, None, None))  # type: ignore[arg-type]
    labels = {"cohort": "canary", "model": "model-new", "outcome": "error"}
    assert registry.get_sample_value("llm_requests_total", labels) == 1.0
