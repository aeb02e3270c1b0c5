"""A wrapper of the OpenAI client (sync or async): the route names the model, the answer is counted.

::

    llm = RoutedOpenAI(OpenAI(), router=router, metrics=metrics)
    answer = llm.for_user(user_id).chat.completions.create(messages=[…])
    answer = llm.for_user(user_id).responses.create(input="…", stream=True)

Each call is routed by itself, also where what `for_user` returned is kept for a whole session: a trip holds for its
next call. Any OpenAI-compatible server will do (vLLM, LiteLLM proxy, Azure). A ``model=`` given by the caller is
replaced, and names of models in ``extra_body`` (``model``, ``models``, ``fallbacks``) are left out: nothing routes
around the switch. What a gateway does behind one name is the gateway's: guard it there. The client's own objects and
exceptions come back unchanged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from inspect import isawaitable
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

from killswitch.model import Cohort
from killswitch.router.counting import CohortMetrics
from killswitch.router.request import ServedRequest
from killswitch.router.route_types import Route
from killswitch.router.router import Router

_NAME_MODELS = frozenset({"model", "models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks"})


class RoutedOpenAI:
    """``client`` serves both cohorts, or control alone where the canary has a ``canary_client`` of its own."""

    def __init__(self, client: Any, *, router: Router, metrics: CohortMetrics, canary_client: Any = None) -> None:
        self._clients = {Cohort.CONTROL: client, Cohort.CANARY: client if canary_client is None else canary_client}
        self._router = router
        self._metrics = metrics

    def for_user(self, routing_key: str, cohort: object = None) -> UserClient:
        """The endpoints for one user; ``cohort`` pins as in `Router.route`."""

        def begin() -> tuple[Any, ServedRequest]:
            route = self._router.route(routing_key, cohort)
            # in stage `aa` the canary's cohort gets the control model, which the canary's provider need not know
            controls = route.model == self._router.routes()[0].model
            client = self._clients[Cohort.CONTROL if controls else route.cohort]
            return client, self._metrics.request(route, user=routing_key)

        return UserClient(lambda: self._router.route(routing_key, cohort), begin)


Begin = Callable[[], tuple[Any, ServedRequest]]  # the client that serves one more request, and the request


class UserClient:
    """``chat.completions``, ``responses``, ``completions`` of whichever client serves this user at each call."""

    def __init__(self, route: Callable[[], Route], begin: Begin) -> None:
        self._route = route
        self.chat = _Chat(_Endpoint(attrgetter("chat.completions"), begin))
        self.responses = _Endpoint(attrgetter("responses"), begin)
        self.completions = _Endpoint(attrgetter("completions"), begin)

    @property
    def route(self) -> Route:
        """Who would serve a call made now."""
        return self._route()


class _Chat:
    def __init__(self, completions: _Endpoint) -> None:
        self.completions = completions


class _Endpoint:
    """One resource of the client. ``create`` and ``parse`` take what the client's own take, ``model`` aside."""

    def __init__(self, resource: Callable[[Any], Any], begin: Begin) -> None:
        self._resource = resource
        self._begin = begin

    def create(self, **arguments: Any) -> Any:
        return self._call("create", arguments)

    def parse(self, **arguments: Any) -> Any:
        return self._call("parse", arguments)

    def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        client, served = self._begin()
        method = getattr(self._resource(client), name)
        arguments["model"] = served.route.model
        extra = arguments.get("extra_body")
        if isinstance(extra, Mapping):  # the client merges it over the body, and gateways read more names from it
            arguments["extra_body"] = {name: value for name, value in extra.items() if name not in _NAME_MODELS}
        streamed = bool(arguments.get("stream"))
        try:
            answer = method(**arguments)
        except BaseException as error:
            served.end(error)
            raise
        if isawaitable(answer):
            return self._finish_async(answer, served, streamed=streamed)
        if streamed:
            return CountedStream(answer, served)
        served.answer(answer)
        served.end()
        return answer

    async def _finish_async(self, coming: Awaitable[Any], served: ServedRequest, *, streamed: bool) -> Any:
        try:
            answer = await coming
        except BaseException as error:
            served.end(error)
            raise
        if streamed:
            return CountedAsyncStream(answer, served)
        served.answer(answer)
        served.end()
        return answer


class CountedStream:
    """The client's stream, looked at in passing; closing it early counts as cancelled."""

    def __init__(self, stream: Any, served: ServedRequest) -> None:
        self._stream = stream
        self._served = served
        self._chunks = _counted(served, stream)

    def __iter__(self) -> Iterator[Any]:
        return self._chunks

    def __next__(self) -> Any:
        return next(self._chunks)

    def close(self) -> None:
        self._served.end(GeneratorExit())  # counts for nothing when the stream has ended before
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.end(error if error is not None else GeneratorExit())
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class CountedAsyncStream:
    """`CountedStream` for the asynchronous client."""

    def __init__(self, stream: Any, served: ServedRequest) -> None:
        self._stream = stream
        self._served = served
        self._chunks = _counted_async(served, stream)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks

    async def __anext__(self) -> Any:
        return await anext(self._chunks)

    async def close(self) -> None:
        self._served.end(GeneratorExit())
        await self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._served.end(error if error is not None else GeneratorExit())
        await self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _counted(served: ServedRequest, stream: Any) -> Iterator[Any]:
    try:
        yield from served.stream(stream)
    except BaseException as error:
        served.end(error)
        raise
    served.end()


async def _counted_async(served: ServedRequest, stream: Any) -> AsyncIterator[Any]:
    try:
        async for chunk in served.astream(stream):
            yield chunk
    except BaseException as error:
        served.end(error)
        raise
    served.end()
