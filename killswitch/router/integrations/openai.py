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

In stage ``shadow``, control's finished requests are asked of the canary as well, by a client with a key of its own::

    shadow = Shadow(router, ask=shadow_ask(OpenAI(api_key=key_of_the_shadow)), spool="/var/spool/killswitch")
    llm = RoutedOpenAI(OpenAI(), router=router, metrics=metrics, shadow=shadow)
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from inspect import isawaitable
from itertools import count
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from killswitch.model import Cohort
from killswitch.router.counting import CohortMetrics
from killswitch.router.model_fields import MODEL_FIELDS
from killswitch.router.request import ServedRequest, Shadows
from killswitch.router.route_types import Route
from killswitch.router.router import Router

if TYPE_CHECKING:
    from killswitch.router.shadow.client_ask import ClientAsk


def shadow_ask(client: Any, *, control_client: Any = None) -> ClientAsk:
    """What `Shadow` asks by: ``client`` (sync or async, OpenAI's, Anthropic's or one of their form) with its own key.

    ``control_client``: asked for the control model's second answer, where the two models have different providers.
    """
    from killswitch.router.shadow.client_ask import ClientAsk  # noqa: PLC0415  # a service without shadow loads none

    return ClientAsk(client, control_client)


class RoutedOpenAI:
    """``client`` serves both cohorts, or control alone where the canary has a ``canary_client`` of its own.

    ``shadow``: a `killswitch.router.shadow.mirror.Shadow`, or None. Raises BadSettings if it asks by one of these very
    clients: it would use up production's quota.
    """

    def __init__(
        self,
        client: Any,
        *,
        router: Router,
        metrics: CohortMetrics,
        canary_client: Any = None,
        shadow: Shadows | None = None,
    ) -> None:
        self._clients = {Cohort.CONTROL: client, Cohort.CANARY: client if canary_client is None else canary_client}
        self._router = router
        self._metrics = metrics
        self._shadow = shadow
        apart = getattr(getattr(shadow, "ask", None), "keep_apart", None)
        if apart is not None:
            apart(*self._clients.values())

    def for_user(
        self,
        routing_key: str,
        cohort: object = None,
        *,
        prompt_class: str = "",
        request_id: str = "",
        side_effects: bool | None = None,
    ) -> UserClient:
        """The endpoints for one user; ``cohort`` pins as in `Router.route`.

        The rest is for a shadow. ``prompt_class``: what kind of question it is, by which the report is split.
        ``request_id``: by which the sample is drawn, a new one a call unless given; the second call of one object has
        ``-2`` after it. ``side_effects``: whether an answer makes the service act; None: if the call has tools.
        """
        numbers = count(1)

        def begin(api: str, arguments: dict[str, Any]) -> tuple[Any, str, ServedRequest, Any]:
            route = self._router.route(routing_key, cohort)
            # in stage `aa` the canary's cohort gets the control model, which the canary's provider need not know
            controls = route.model == self._router.routes()[0].model
            client = self._clients[Cohort.CONTROL if controls else route.cohort]
            served = self._metrics.request(route, user=routing_key)
            if self._shadow is None:
                return client, route.model, served, None
            number = next(numbers)
            shadowed = served.shadow(
                self._shadow,
                arguments,
                api=api,
                user=routing_key,
                request_id=request_id if number == 1 or not request_id else f"{request_id}-{number}",
                prompt_class=prompt_class,
                side_effects=side_effects,
            )
            return client, route.model, served, shadowed

        return UserClient(lambda: self._router.route(routing_key, cohort), begin)


class ServedCall(Protocol):
    """One call while it is served: what looks at its answer."""

    def answer(self, payload: object) -> None: ...
    def stream(self, chunks: Iterable[Any]) -> Iterator[Any]: ...
    def astream(self, chunks: AsyncIterable[Any]) -> AsyncIterator[Any]: ...
    def end(self, error: BaseException | None = None) -> None: ...


# For one more request of an API with these arguments: the client, the model, the request, where its shadow is noted.
Begin = Callable[[str, dict[str, Any]], tuple[Any, str, ServedCall, Any]]


class ClientEndpoints:
    """The endpoints of whichever client serves each call; ``messages`` are those of Anthropic's client."""

    def __init__(self, begin: Begin) -> None:
        self.chat = _Chat(ClientEndpoint("chat", attrgetter("chat.completions"), begin))
        self.responses = ClientEndpoint("responses", attrgetter("responses"), begin)
        self.completions = ClientEndpoint("completions", attrgetter("completions"), begin)
        self.messages = ClientEndpoint("messages", attrgetter("messages"), begin)


class UserClient(ClientEndpoints):
    """The endpoints for one user."""

    def __init__(self, route: Callable[[], Route], begin: Begin) -> None:
        super().__init__(begin)
        self._route = route

    @property
    def route(self) -> Route:
        """Who would serve a call made now."""
        return self._route()


class _Chat:
    def __init__(self, completions: ClientEndpoint) -> None:
        self.completions = completions


class ClientEndpoint:
    """One resource of the client. ``create`` and ``parse`` take what the client's own take, ``model`` aside."""

    def __init__(self, api: str, resource: Callable[[Any], Any], begin: Begin) -> None:
        self._api = api
        self._resource = resource
        self._begin = begin

    def create(self, **arguments: Any) -> Any:
        return self.call("create", arguments)

    def parse(self, **arguments: Any) -> Any:
        return self.call("parse", arguments)

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        extra = arguments.get("extra_body")
        if isinstance(extra, Mapping):  # the client merges it over the body, and gateways read more names from it
            arguments["extra_body"] = {name: value for name, value in extra.items() if name not in MODEL_FIELDS}
        client, model, served, shadowed = self._begin(self._api, arguments)
        method = getattr(self._resource(client), name)
        arguments["model"] = model
        streamed = bool(arguments.get("stream"))
        try:
            answer = method(**arguments)
        except BaseException as error:
            served.end(error)
            raise
        if isawaitable(answer):
            return self._finish_async(answer, served, shadowed, streamed=streamed)
        if streamed:
            _note_headers(shadowed, answer)
            return CountedStream(answer, served)
        served.answer(answer)
        served.end()
        return answer

    async def _finish_async(self, coming: Awaitable[Any], served: ServedCall, shadowed: Any, *, streamed: bool) -> Any:
        try:
            answer = await coming
        except BaseException as error:
            served.end(error)
            raise
        if streamed:
            _note_headers(shadowed, answer)
            return CountedAsyncStream(answer, served)
        served.answer(answer)
        served.end()
        return answer


def _note_headers(shadowed: Any, stream: Any) -> None:
    """A stream has its response's headers, which say how much of the rate limit is left; a parsed answer has none."""
    if shadowed is not None:
        shadowed.headers = getattr(getattr(stream, "response", None), "headers", None)


class CountedStream:
    """The client's stream, looked at in passing; closing it early counts as cancelled."""

    def __init__(self, stream: Any, served: ServedCall) -> None:
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
        if name == "_stream":  # of a copy that is being made and has no fields yet
            raise AttributeError(name)
        return getattr(self._stream, name)


class CountedAsyncStream:
    """`CountedStream` for the asynchronous client."""

    def __init__(self, stream: Any, served: ServedCall) -> None:
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
        if name == "_stream":  # of a copy that is being made and has no fields yet
            raise AttributeError(name)
        return getattr(self._stream, name)


def _counted(served: ServedCall, stream: Any) -> Iterator[Any]:
    try:
        yield from served.stream(stream)
    except BaseException as error:
        served.end(error)
        raise
    served.end()


async def _counted_async(served: ServedCall, stream: Any) -> AsyncIterator[Any]:
    try:
        async for chunk in served.astream(stream):
            yield chunk
    except BaseException as error:
        served.end(error)
        raise
    served.end()
