"""The ASGI middleware with a shadow: an endpoint of OpenAI's form, whose bodies are kept as they pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from killswitch.router import CohortMetrics
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations import asgi_bodies
from killswitch.router.integrations.asgi import KillswitchMiddleware, header, path
from killswitch.router.integrations.openai import shadow_ask
from killswitch.router.shadow.mirror import Shadow
from tests.doubles.held_split import router_over, shadowed
from tests.doubles.llm_server import LLMServer
from tests.doubles.raw_pairs import Written

SECRET = "sk-of-a-user"


class Service:
    """A gateway of OpenAI's form: ``how`` the prompt says to answer."""

    def __init__(self, other: LLMServer, folder: Path) -> None:
        self.router, self.held = router_over(shadowed(100.0))
        self.metrics = CohortMetrics(self.router, instruments=PrometheusInstruments.of(CollectorRegistry()))
        ask = shadow_ask(openai.OpenAI(base_url=other.url, api_key="sk-key-of-the-shadow"))
        self.folder = folder
        self.shadow = Shadow(self.router, ask=ask, spool=folder, noise=0.0)
        paths = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/login")
        self.application = Starlette(routes=[Route(path, self.answer, methods=["POST"]) for path in paths])

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        how = json.loads(body).get("how", "whole") if body.startswith(b"{") else "whole"
        text = f"answered by {request.state.killswitch.route.model}"
        message = {"role": "assistant", "content": text}
        whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        if how == "bad":
            return JSONResponse({"error": "which messages?"}, 400)
        if how == "words":
            return Response(text)
        if how != "stream":
            return JSONResponse(whole, headers={"x-ratelimit-remaining-requests": "9"})

        async def events() -> AsyncIterator[bytes]:
            for word in (*text.partition(" "), None):
                delta = {} if word is None else {"content": word}
                choice = {"index": 0, "delta": delta, "finish_reason": None if word else "stop"}
                event = f"data: {json.dumps({'choices': [choice]})}\n\n".encode()
                yield event[:20]  # parts of a body end anywhere
                yield event[20:]
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    def post(self, at: str, content: Any, app: Any = None, **options: Any) -> httpx.Response:
        headers = {"x-user-id": "alice", "authorization": f"Bearer {SECRET}", **options.pop("headers", {})}
        given = {"router": self.router, "metrics": self.metrics, "routing_key": header("x-user-id"), **options}
        app = KillswitchMiddleware(app or self.application, **given)

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                return await client.post(at, content=body, headers=headers)

        return asyncio.run(run())


@pytest.fixture
def other() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def service(other: LLMServer, tmp_path: Path) -> Iterator[Service]:
    service = Service(other, tmp_path / "spool")
    yield service
    service.shadow.close(0.5)


CHAT = {"model": "support-copilot", "messages": [{"role": "user", "content": "ok"}]}


def test_a_body_that_passed_is_asked_again(service: Service, other: LLMServer) -> None:
    more: dict[str, Any] = {"request_id": header("x-trace"), "prompt_class": lambda scope: scope["path"]}
    asked = {**CHAT, "user": "alice", "top_k": 3}
    headers = {"x-trace": "trace-7"}
    service.post("/v1/chat/completions", asked, shadow=service.shadow, headers=headers, **more)
    written = Written(service.shadow, service.folder)
    pair = written.pair
    assert (pair.id, pair.prompt_class) == ("trace-7", "/v1/chat/completions")
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "answered by model-new")
    assert (pair.control.status, pair.control.streamed) == (200, False)
    # what the client does not know as an argument is sent in the body all the same
    assert other.bodies == [{"model": "model-new", "messages": CHAT["messages"], "top_k": 3}]
    assert SECRET.encode() not in written.raw
    assert b"alice" not in written.raw


def test_a_stream_is_read_from_its_events(service: Service) -> None:
    """The parts of a body end anywhere, also in the middle of an event."""
    asked = {**CHAT, "how": "stream", "stream": True}
    with_shadow = service.post("/v1/chat/completions", asked, shadow=service.shadow)
    assert with_shadow.content == service.post("/v1/chat/completions", asked).content
    pair = Written(service.shadow, service.folder).pair
    assert (pair.control.text, pair.other.text) == ("answered by model-old", "Hello there")
    assert pair.control.streamed
    assert pair.other.streamed


def test_a_request_that_comes_in_parts_is_put_together_later(service: Service) -> None:
    body = json.dumps(CHAT).encode()
    parts = iter([body[:10], body[10:30], body[30:]])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        answer = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def receive() -> dict[str, Any]:
        part = next(parts)
        return {"type": "http.request", "body": part, "more_body": not body.endswith(part)}

    async def send(message: Any) -> None:
        pass

    given: dict[str, Any] = {"router": service.router, "metrics": service.metrics, "shadow": service.shadow}
    middleware = KillswitchMiddleware(application, routing_key=header("x-user-id"), **given)
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [(b"x-user-id", b"u")]}
    asyncio.run(middleware(scope, receive, send))
    pair = Written(service.shadow, service.folder).pair
    assert pair.request["messages"] == CHAT["messages"]
    assert pair.control.text == "hi"


@pytest.mark.parametrize("content", [b"not json", b"[1, 2]", b'{"how": "bad"}', b"\xff\xfe", b""])
def test_what_is_no_request_is_answered_and_not_compared(service: Service, content: bytes) -> None:
    with_shadow = service.post("/v1/chat/completions", content, shadow=service.shadow)
    assert with_shadow.content == service.post("/v1/chat/completions", content).content
    written = Written(service.shadow, service.folder)
    assert written.pairs == []
    # a 4xx is counted; what asks no model was never in the sample
    assert sum(written.drops.values()) == (b"bad" in content)


@pytest.mark.parametrize("at", ["/v1/responses", "/v1/messages"])
@pytest.mark.parametrize(
    "content",
    [
        {"how": "whole", "responses": [{"question": "your password?", "answer": "hunter2"}], "survey": 4},
        {"how": "whole", "model": "Volvo", "messages": [{"to": "bob", "text": "hunter2"}]},
        {"how": "whole", "input": "hunter2"},
    ],
)
def test_a_survey_or_a_chat_of_people_is_not_spooled(service: Service, at: str, content: dict[str, Any]) -> None:
    """A path that ends as an endpoint's does may be of any application."""
    service.post(at, content, shadow=service.shadow)
    written = Written(service.shadow, service.folder)
    assert written.pairs == []
    assert b"hunter2" not in written.raw


def test_a_compressed_answer_cannot_be_compared(service: Service) -> None:
    compressed = GZipMiddleware(service.application, minimum_size=1)
    headers = {"accept-encoding": "gzip"}
    answer = service.post("/v1/chat/completions", CHAT, compressed, shadow=service.shadow, headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert Written(service.shadow, service.folder).drops == {"not_comparable": 1}


@pytest.mark.parametrize("bound", ["MAX_REQUEST_BYTES", "MAX_ANSWER_BYTES"])
def test_bodies_over_their_bound_are_served_and_dropped(
    service: Service, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_bodies, bound, 30)
    assert service.post("/v1/chat/completions", CHAT, shadow=service.shadow).status_code == 200
    assert Written(service.shadow, service.folder).drops == {"too_large": 1}


def test_bodies_of_other_paths_are_kept_only_where_said(service: Service) -> None:
    """A login carries a password: only known endpoints are kept, unless ``applies`` says what goes to a model."""
    service.post("/login", {"password": "hunter2"}, shadow=service.shadow)
    service.post("/login", {"prompt": "hi"}, shadow=service.shadow, applies=path("/login"))
    written = Written(service.shadow, service.folder)
    assert (written.pairs, written.drops) == ([], {"not_comparable": 1})  # no endpoint of a client is of this form


def test_messages_of_anthropics_form_are_asked_by_their_endpoint(service: Service) -> None:
    """Without Anthropic's library: any function that sends one request will do."""
    asked: list[Any] = []

    def ask(asking: Any) -> dict[str, Any]:
        asked.append(asking)
        return {"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}

    service.shadow.close(0.5)
    service.shadow = Shadow(service.router, ask=ask, spool=service.folder, noise=0.0)
    service.post("/v1/messages", {**CHAT, "max_tokens": 9, "metadata": {"user_id": "alice"}}, shadow=service.shadow)
    pair = Written(service.shadow, service.folder).pair
    assert (pair.other.text, pair.other.finish_reason) == ("hi", "end_turn")
    assert (asked[0].api, asked[0].model) == ("messages", "model-new")
    assert set(asked[0].request) == {"model", "messages", "max_tokens"}


def test_a_request_that_is_not_sampled_keeps_nothing(service: Service) -> None:
    service.held.current = shadowed(0.0)
    seen: list[Any] = []

    def begin(*arguments: Any, **named: Any) -> Any:
        seen.append(Shadow.begin(service.shadow, *arguments, **named))
        return seen[-1]

    service.shadow.begin = begin  # type: ignore[method-assign]
    assert service.post("/v1/chat/completions", CHAT, shadow=service.shadow).status_code == 200
    assert seen == [None]
