"""ASGI middleware (FastAPI, Starlette, any ASGI 3 application): routes each request and counts how it ended.

::

    app.add_middleware(
        KillswitchMiddleware, router=router, metrics=metrics, routing_key=header("x-user-id"), applies=path("/v1/chat")
    )

    @app.post("/v1/chat")
    async def chat(request: Request):
        served = request.state.killswitch          # a ServedRequest: .route.model, .refused(), .tokens(n), .token
        …

How the request ended is read off the response: its status, whether the whole body was sent, whether the
client left before. What the handler says (``served.ends_as(…)``, ``served.refused()``) wins over the status.
A request is over with the last byte of its response: a background task is not part of it.

Not counted, because the canary never gets them and control would look better than it is: preflights (``OPTIONS``,
which carry no user), and answers of 4xx to requests without a routing key (a login that has ended, a scanner).

A service that is itself an endpoint of OpenAI's or Anthropic's form gives ``shadow=``: the bodies of sampled requests
and answers are kept by reference as they pass. Any other service calls ``request.state.killswitch.shadow(…)`` where it
asks the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from killswitch.router.counting import CohortMetrics
from killswitch.router.integrations.asgi_bodies import Bodies
from killswitch.router.outcomes import Outcome, outcome_of_status
from killswitch.router.request import ServedRequest, Shadows
from killswitch.router.route_types import Route
from killswitch.router.router import Router

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_KEY_CHARACTERS = 1024  # of a routing key out of a request
# The ends of the paths of known endpoints; `chat/completions` comes before `completions`.
_APIS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/responses": "responses",
    "/messages": "messages",
}


class ClientDisconnect(Exception):  # the name that `outcomes` and starlette know it by
    """The client left before its answer was complete."""


def header(name: str) -> Callable[[Scope], str | None]:
    """Takes the routing key from a request header."""
    wanted = name.lower().encode("latin-1")

    def routing_key(scope: Scope) -> str | None:
        for key, value in scope["headers"]:
            if key == wanted:
                return str(value.decode("utf-8", "replace"))[:MAX_KEY_CHARACTERS]
        return None

    return routing_key


def cookie(name: str) -> Callable[[Scope], str | None]:
    """Takes the routing key from a cookie."""

    def routing_key(scope: Scope) -> str | None:
        return _cookies(scope).get(name)

    return routing_key


def path(*prefixes: str) -> Callable[[Scope], bool]:
    """Applies to the paths that begin so."""

    def applies(scope: Scope) -> bool:
        return str(scope["path"]).startswith(prefixes)

    return applies


class KillswitchMiddleware:
    """Puts a `ServedRequest` into ``scope["state"]["killswitch"]`` and counts it when the response is over.

    ``routing_key``: the user, from the scope; what it raises, or None, means no key: control, and judged each
    time. ``applies``: which requests go to a model. Without it all count that have a routing key: probes and
    ``/metrics`` have none, and would be quick successes of control alone. ``pin_cookie``: where given, a session
    keeps its cohort by this cookie for as long as the flag's generation lasts; a user who forges it moves only
    himself, and never past a trip. ``cohort_header``: tells the client its cohort; None sends no header.

    ``shadow``: a `killswitch.router.shadow.mirror.Shadow`, or None. It is offered requests to known endpoints whose
    bodies have what the endpoint demands, and where ``applies`` is given all to which it applies. Its sample is drawn
    by ``request_id``, from the scope, by default the header ``x-request-id``; a request without one gets a new one.
    ``prompt_class``: what kind of question it is, from the scope. ``side_effects``: whether an answer makes the service
    or its client act; None: if the request has tools.
    """

    def __init__(
        self,
        app: Application,
        *,
        router: Router,
        metrics: CohortMetrics,
        routing_key: Callable[[Scope], object],
        applies: Callable[[Scope], bool] | None = None,
        pin_cookie: str | None = None,
        cohort_header: str | None = "x-llm-cohort",
        shadow: Shadows | None = None,
        request_id: Callable[[Scope], object] | None = None,
        prompt_class: Callable[[Scope], object] | None = None,
        side_effects: bool | None = None,
    ) -> None:
        self._app = app
        self._router = router
        self._metrics = metrics
        self._routing_key = routing_key
        self._applies = applies or (lambda _: True)
        self._counts_keyless = applies is not None
        self._pin_cookie = pin_cookie
        self._cohort_header = None if cohort_header is None else cohort_header.lower().encode("latin-1")
        self._shadow = shadow
        self._request_id = request_id if request_id is not None else header("x-request-id")
        self._prompt_class = prompt_class
        self._side_effects = side_effects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("method") == "OPTIONS" or not self._applies(scope):
            await self._app(scope, receive, send)
            return
        user = self._user(scope)
        route, pinned = self._route(scope, user)
        served = self._metrics.request(route, user=user)
        scope.setdefault("state", {})["killswitch"] = served
        if user is None and not self._counts_keyless:
            served.forget()
        response = _Response(served, receive, send, self._headers(route, pinned=pinned), keyless=user is None)
        if self._shadow is not None and scope.get("method") == "POST":
            response.bodies = self._bodies(self._shadow, scope, served, user)
        try:
            await self._app(scope, response.receive, response.send)
        except BaseException as error:
            served.end(ClientDisconnect() if response.client_left and isinstance(error, OSError) else error)
            raise
        response.over()

    def _user(self, scope: Scope) -> str | None:
        return _text(self._routing_key, scope) or None

    def _bodies(self, shadow: Shadows, scope: Scope, served: ServedRequest, user: str | None) -> Bodies | None:
        """Where the bodies of this request are kept, if it is in the shadow's sample."""
        api = next((api for end, api in _APIS.items() if str(scope["path"]).endswith(end)), "")
        if not api and not self._counts_keyless:  # nothing says that it goes to a model: it may be a login
            return None
        asked: list[bytes] = []
        shadowed = served.shadow(
            shadow,
            asked,
            api=api or "asgi",
            user=user,
            request_id=_text(self._request_id, scope)[:MAX_KEY_CHARACTERS],
            prompt_class=_text(self._prompt_class, scope),
            side_effects=self._side_effects,
        )
        return None if shadowed is None else Bodies(shadowed, asked, "" if self._counts_keyless else api)

    def _route(self, scope: Scope, user: str | None) -> tuple[Route, bool]:
        """The route, and whether the session's pin says the same already."""
        if self._pin_cookie is None:
            return self._router.route(user), True
        pin = _cookies(scope).get(self._pin_cookie, "")
        cohort, _, generation = pin.partition(".")
        route = self._router.route(user, cohort or None)
        if cohort and generation != str(route.generation):  # a pin of an earlier generation is void
            route = self._router.route(user)
        return route, pin == _pin(route)

    def _headers(self, route: Route, *, pinned: bool) -> list[tuple[bytes, bytes]]:
        headers = []
        if self._cohort_header is not None:
            headers.append((self._cohort_header, route.cohort.value.encode()))
        if self._pin_cookie is not None and not pinned:
            value = f"{self._pin_cookie}={_pin(route)}; Path=/; HttpOnly; SameSite=Lax"
            headers.append((b"set-cookie", value.encode("latin-1")))
        return headers


class _Response:
    """Watches one response go by."""

    def __init__(
        self,
        served: ServedRequest,
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        *,
        keyless: bool,
    ) -> None:
        self._served = served
        self._keyless = keyless
        self._receive = receive
        self._send = send
        self._headers = headers
        self._status: int | None = None
        self._complete = False
        self.client_left = False
        self.bodies: Bodies | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._complete:
            self.client_left = True
        elif self.bodies is not None:
            self.bodies.received(message)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True
        if self.bodies is not None:
            self.bodies.sent(message)
        try:
            await self._send(message)
        except OSError:
            self.client_left = True
            self._complete = False
            raise
        if self._complete:
            self.over()

    def over(self) -> None:
        """The response is complete, or the application has returned without completing it; the first call counts."""
        if self._complete and self._status is not None:
            outcome = outcome_of_status(self._status)
            if self._keyless and outcome is Outcome.OK and self._status >= 400:
                self._served.forget()
            self._served.ends_as_unless_said(outcome)
            if self.bodies is not None:
                self.bodies.complete()
            self._served.end()
        elif self.client_left:
            self._served.end(ClientDisconnect())
        else:  # no response, or half of one
            self._served.ends_as_unless_said(Outcome.ERROR)
            self._served.end()


def _text(function: Callable[[Scope], object] | None, scope: Scope) -> str:
    """What the service's own function says of a request, as text; "" where it says or knows nothing."""
    try:
        found = None if function is None else function(scope)
        return "" if found is None else str(found)
    except Exception:  # noqa: BLE001  # a request without what the service's own function expects
        return ""


def _pin(route: Route) -> str:
    return f"{route.cohort.value}.{route.generation}"


def _cookies(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key == b"cookie":
            try:
                jar: SimpleCookie = SimpleCookie(value.decode("latin-1")[:8192])
            except CookieError:
                continue
            found.update((name, morsel.value[:MAX_KEY_CHARACTERS]) for name, morsel in jar.items())
    return found
