"""Proves that a LiteLLM release asks our guard before it calls a model, whichever way it was asked.

LiteLLM has had several routing cores, and releases differ in which hooks a call reaches. A guard that is not
reached fails in silence: after a trip, users would be served by the canary. So nothing is assumed. A second router
of the installed release is asked through each endpoint for a canary of its own: by its group, by its deployment's id
and through a fallback. Its deployments are a server of ours on loopback, and no request may arrive at that canary.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.metadata
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, Self

from killswitch.errors import Refused
from killswitch.router.integrations.litellm_calls import retries_kept

# Named as a provider's models are: LiteLLM's sync text completions accept no other names.
CONTROL, CANARY, CANARY_ID = "openai/killswitch-proof-control", "openai/killswitch-proof-canary", "killswitch-proof-id"
_MESSAGES = [{"role": "user", "content": "x"}]
# Each endpoint that a language model is called through, with arguments that it takes.
PROVED: Mapping[str, Mapping[str, object]] = {
    "completion": {"messages": _MESSAGES},
    "acompletion": {"messages": _MESSAGES},
    "text_completion": {"prompt": "x"},
    "atext_completion": {"prompt": "x"},
    "embedding": {"input": "x"},
    "aembedding": {"input": "x"},
    "responses": {"input": "x"},
    "aresponses": {"input": "x"},
    "aanthropic_messages": {"messages": _MESSAGES, "max_tokens": 1},
    "agenerate_content": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
}
_STREAMED = frozenset({"completion", "acompletion"})
_PROVED_BY: set[tuple[object, ...]] = set()  # what was proved in this process


class GuardNotReached(Refused):
    """The installed LiteLLM calls models past our guard, so a trip would not hold. Nothing was installed."""


class Attempt:
    """One request that must not reach the canary. ``refused``: the guard was asked and said no."""

    __slots__ = ("refused",)

    def __init__(self) -> None:
        self.refused = False


class Guard(Protocol):
    """What is to be proved."""

    def guard_picks(self, litellm_router: Any) -> None: ...

    def guard_entries(self, litellm_router: Any) -> None: ...

    def proving(self, attempt: Attempt) -> AbstractContextManager[None]:
        """Requests made in this context are those of a user who may not reach `CANARY`."""


def prove(guard: Guard) -> None:
    """Raise GuardNotReached unless the guard keeps every endpoint from the canary.

    Asked once for each LiteLLM that the process has, which takes seconds. Async endpoints run in a loop and a thread of
    their own, because the caller may be in a loop.
    """
    import litellm  # noqa: PLC0415  # the package is half loaded while the proxy imports its callbacks

    version = importlib.metadata.version("litellm")
    asked_of = (type(guard), litellm.Router, version)
    if asked_of in _PROVED_BY:
        return
    with _Upstream() as upstream, _logging_untouched(), retries_kept():
        routers = _Routers(guard, upstream.url)
        try:
            unguarded = _unguarded_sync(routers, guard, upstream)
            with concurrent.futures.ThreadPoolExecutor(1, "killswitch-litellm-proof") as thread:
                unguarded |= thread.submit(asyncio.run, _unguarded_async(routers, guard, upstream)).result()
        finally:
            routers.close()
    if unguarded:
        raise GuardNotReached(
            f"LiteLLM {version} serves {', '.join(sorted(unguarded))} past the kill switch's guard: a tripped canary "
            "would still be reached. Install a release that docs/router.md names as tested, or report this one"
        )
    _PROVED_BY.add(asked_of)


@contextlib.contextmanager
def _logging_untouched() -> Iterator[None]:
    """In older releases the logging belongs to the first event loop that uses it: never to the proof's."""
    try:
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER  # noqa: PLC0415  # see above
    except ImportError:
        yield
        return
    found = dict(vars(GLOBAL_LOGGING_WORKER))
    try:
        yield
    finally:
        vars(GLOBAL_LOGGING_WORKER).update(found)


@dataclass(frozen=True)
class _Question:
    """One way to ask for the canary. ``direct``: the guard itself must have refused, or nothing was proved."""

    endpoint: str
    method: Callable[..., Any]
    arguments: Mapping[str, object]
    direct: bool


class _Upstream:
    """A server on loopback that fails every request, so that fallbacks are tried, and remembers the canary's."""

    def __init__(self) -> None:
        upstream = self
        self.canary_requests = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                upstream.canary_requests += self.path.startswith("/canary/")
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b'{"error": {"message": "a proof, no failure", "type": "server_error"}}'
                self.send_response(500)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Routers:
    """One that is asked for the canary itself, one whose entries are guarded, one whose control fails over to it."""

    def __init__(self, guard: Guard, url: str) -> None:
        import litellm  # noqa: PLC0415  # the package is half loaded while the proxy imports its callbacks

        def deployment(group: str, identity: str, path: str) -> dict[str, object]:
            reached = {
                "model": group,
                "api_key": "none",
                "api_base": f"{url}/{path}/v1",
                "timeout": 5,
                "max_retries": 0,
            }
            return {"model_name": group, "litellm_params": reached, "model_info": {"id": identity}}

        def router(*fallbacks: dict[str, list[str]]) -> Any:
            models = [deployment(CONTROL, "killswitch-proof-other", "control"), deployment(CANARY, CANARY_ID, "canary")]
            made = litellm.Router(model_list=models, num_retries=0, disable_cooldowns=True, fallbacks=list(fallbacks))
            guard.guard_picks(made)
            return made

        self._picking = router()
        self._entered = router()
        guard.guard_entries(self._entered)
        self._falling = router({CONTROL: [CANARY, CANARY_ID]})

    def questions(self) -> Iterator[_Question]:
        for endpoint, arguments in PROVED.items():
            for stream in ({}, {"stream": True}) if endpoint in _STREAMED else ({},):
                for router, model, direct in (
                    (self._picking, CANARY, True),
                    (self._entered, CANARY_ID, True),
                    (self._falling, CONTROL, False),
                ):
                    method = getattr(router, endpoint, None)
                    if method is not None:
                        yield _Question(endpoint, method, {**arguments, "model": model, **stream}, direct)

    def close(self) -> None:
        """Take back what a router registers in LiteLLM's global lists."""
        for router in (self._picking, self._entered, self._falling):
            release = getattr(router, "retire", None) or getattr(router, "discard", None)
            if release is not None:
                release()


def _unguarded_sync(routers: _Routers, guard: Guard, upstream: _Upstream) -> set[str]:
    unguarded = set()
    for question in routers.questions():
        if question.endpoint.startswith("a"):
            continue
        before, attempt = upstream.canary_requests, Attempt()
        # LiteLLM decides what a refusal raises; all that counts is that no request arrived
        with guard.proving(attempt), contextlib.suppress(Exception):
            answer = question.method(**question.arguments)
            if "stream" in question.arguments:
                list(answer)
        if upstream.canary_requests != before or (question.direct and not attempt.refused):
            unguarded.add(question.endpoint)
    return unguarded


async def _unguarded_async(routers: _Routers, guard: Guard, upstream: _Upstream) -> set[str]:
    unguarded = set()
    for question in routers.questions():
        if not question.endpoint.startswith("a"):
            continue
        before, attempt = upstream.canary_requests, Attempt()
        with guard.proving(attempt), contextlib.suppress(Exception):
            answer = await question.method(**question.arguments)
            if "stream" in question.arguments:
                async for _ in answer:
                    pass
        if upstream.canary_requests != before or (question.direct and not attempt.refused):
            unguarded.add(question.endpoint)
    return unguarded
