"""Flags over HTTP for other languages: OFREP and flagd's flag file, read only, from what the store says now.

The daemon obeys here what every router obeys, by the very same rules (`killswitch.router.failsafe`): a trip is
obeyed for ever, an armed document of a tripped generation never, and an armed flag only while the store can be read and
a controller lives. Where it is not obeyed, all users are sent to control. No request waits for more than one read of
the store, and of all requests at a time only one waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.roles.references import PREFIX
from killswitch.router.failsafe import (
    OBEYS_ARMED,
    LinearizableRead,
    Memory,
    RouterState,
    StalePolicy,
    after_read,
    state_at,
)
from killswitch.stores import Store, keys
from killswitch.web import flagd, ofrep
from killswitch.web.ofrep import OfrepAnswer
from killswitch.web.pin_view import PinSnapshot, PinView
from killswitch.web.shared_look import SharedLook

log = logging.getLogger(__name__)
_NO_ROLES = PinSnapshot({}, stale=True)  # as long as the store says of none
_FOR_EVER = frozenset({RouterState.TRIPPED, RouterState.COMPLETE})  # obeyed, whatever becomes of the store
_EXPIRED = frozenset({RouterState.CUT_OFF, RouterState.UNWATCHED})


@dataclass(frozen=True, slots=True)
class FlagSnapshot:
    """``flags`` by rollout, as they are to be obeyed; ``stale``: armed ones are not to be trusted any more."""

    flags: Mapping[str, Flag]
    stale: bool


class FlagView:
    """The flags as the store has them, at most `FRESH_FOR` of `SharedLook` old while it answers. Thread-safe.

    ``monotonic`` in seconds. ``policy``: how long an armed flag outlives the store's silence, as for routers.
    """

    def __init__(self, store: Store, *, monotonic: Callable[[], float], policy: StalePolicy | None = None) -> None:
        self._store = store
        self._monotonic = monotonic
        self._policy = policy or StalePolicy()
        self._lock = threading.Lock()
        self._shared = SharedLook(self._look, monotonic=monotonic)
        self._memories: Mapping[str, Memory] = {}
        self._last_flags: dict[str, Flag] = {}
        self._revision = 0
        self._read_at: float | None = None
        self._failing = False

    @property
    def failing(self) -> bool:
        """Whether the store could not be read at the last look: a rollout that it had not then may have a flag now."""
        return self._failing

    def current(self) -> FlagSnapshot | None:
        """What to obey now; None when the store has never been read."""
        self._shared.refresh()
        with self._lock:
            return None if self._read_at is None else self._view()

    def _look(self) -> None:
        sent_at, known = self._monotonic(), self._revision
        try:
            found = self._store.list(keys.FLAGS)
            controllers = len(self._store.list(keys.CONTROLLERS).items)
        except KillswitchError as error:
            if not self._failing:
                log.warning("flags over HTTP: the flag store cannot be read, the last flags serve on: %s", error)
            self._failing = True
            return
        items = {item.key.removeprefix(keys.FLAGS): item for item in found.items}
        with self._lock:
            self._failing = False
            self._memories = {
                name: after_read(
                    self._memories.get(name, Memory(name)),
                    LinearizableRead(sent_at, known, items.get(name), found.revision, controllers),
                )
                for name in items.keys() | self._memories.keys()
            }
            self._last_flags |= {name: m.flag for name, m in self._memories.items() if m.flag is not None}
            self._revision = found.revision
            self._read_at = sent_at

    def _view(self) -> FlagSnapshot:
        now = self._monotonic()
        flags: dict[str, Flag] = {}
        expired = self._read_at is not None and now >= self._read_at + self._policy.stale_grace
        for name, memory in self._memories.items():
            state = state_at(memory, self._policy, now)
            if state is RouterState.NO_FLAG or name not in self._last_flags:
                continue
            flag = self._last_flags[name]
            expired = expired or state in _EXPIRED
            obeyed = state in OBEYS_ARMED or state in _FOR_EVER or state in _EXPIRED
            # restored from a backup, or unreadable now: shown as the tripped flag it is to be taken for
            flags[name] = flag if obeyed else _taken_for_tripped(flag)
        return FlagSnapshot(flags, expired)


def _taken_for_tripped(flag: Flag) -> Flag:
    tripped = replace(flag, state=State.TRIPPED, canary_percent=0.0, pin=None, completion=None)
    return replace(tripped, shadow_percent=0.0, shadow_classes={})


def flag_routes(view: FlagView, roles: PinView) -> list[Route]:
    """The endpoints, to be mounted next to the others."""

    async def one(request: Request) -> Response:
        body = await _body(request)
        return body if isinstance(body, Response) else await run_in_threadpool(evaluated, request, body)

    def evaluated(request: Request, body: bytes) -> Response:
        return _one_answer(view, roles, request.path_params["key"], body)

    async def every(request: Request) -> Response:
        body = await _body(request)
        return body if isinstance(body, Response) else await run_in_threadpool(all_evaluated, request, body)

    def all_evaluated(request: Request, body: bytes) -> Response:
        seen = view.current()
        if seen is None:
            return _unread({})
        return _all_answers(seen, _pins(view, roles), body, request.headers.get("if-none-match"))

    whole = _WholeFile()

    def file(request: Request) -> Response:
        seen = view.current()
        if seen is None:
            return _unread({})
        name, asked = request.path_params.get("rollout"), request.headers.get("if-none-match")
        if name is None:
            return whole.answer(seen, _pins(view, roles), asked)
        if name not in seen.flags and view.failing:
            return _unread({"key": str(name)})
        if name not in seen.flags:
            return JSONResponse({"error": f"no rollout is called {name!r:.80}", "known": sorted(seen.flags)}, 404)
        return _response(flagd.render({name: seen.flags[name]}, if_none_match=asked, stale=seen.stale))

    return [
        Route("/ofrep/v1/evaluate/flags", every, methods=["POST"]),
        Route("/ofrep/v1/evaluate/flags/{key}", one, methods=["POST"]),
        Route("/flagd/flags.json", file),
        Route("/flagd/rollouts/{rollout}.json", file),
    ]


class _WholeFile:
    """flagd's file of all flags, written once for each state of the flags. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[tuple[FlagSnapshot, PinSnapshot], bytes, str | None] | None = None

    def answer(self, seen: FlagSnapshot, pins: PinSnapshot, if_none_match: str | None) -> Response:
        with self._lock:
            if self._made is None or self._made[0] != (seen, pins):
                made = flagd.render(seen.flags, stale=seen.stale, roles=pins.models)
                self._made = (seen, pins), made.body, made.etag
            _, body, etag = self._made
        if etag is not None and ofrep.matches(if_none_match, etag):
            return _response(OfrepAnswer(304, None, etag))
        return Response(body, 200, {"Cache-Control": "no-cache", "ETag": etag or ""}, "application/json")


async def _body(request: Request) -> bytes | Response:
    try:
        return await request.body()
    except ClientDisconnect:  # gone, or cut off for sending more than a body may have
        details = f"a body may have {ofrep.MAX_BODY_BYTES} bytes"
        return JSONResponse({"errorCode": "INVALID_CONTEXT", "errorDetails": details}, 413)


def _response(answer: OfrepAnswer) -> Response:
    headers = {"Cache-Control": "no-cache"}  # may be kept, and is asked about each time
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    media = "application/json" if answer.document is not None else None
    return Response(answer.body, answer.status, headers, media)


def _one_answer(view: FlagView, roles: PinView, key: str, body: bytes) -> Response:
    if key.startswith(PREFIX):
        pins = roles.current()
        if pins is None:
            return _unread({"key": key})
        return _response(ofrep.evaluate_role(pins.models, key, body, stale=pins.stale))
    seen = view.current()
    if seen is None or (view.failing and key not in seen.flags):
        return _unread({"key": key})
    return _response(ofrep.evaluate(seen.flags, key, body, stale=seen.stale))


def _all_answers(seen: FlagSnapshot, pins: PinSnapshot, body: bytes, if_none_match: str | None) -> Response:
    return _response(
        ofrep.evaluate_all(
            seen.flags,
            body,
            if_none_match=if_none_match,
            stale=seen.stale,
            roles=pins.models,
            roles_stale=pins.stale,
        )
    )


def _pins(view: FlagView, roles: PinView) -> PinSnapshot:
    """No request waits for two reads of a store that is silent."""
    return roles.current(look=not view.failing) or _NO_ROLES


def _unread(document: Mapping[str, str]) -> Response:
    details = "the flag store cannot be read, so this is not known; use the control model until it can"
    return JSONResponse({**document, "errorCode": "GENERAL", "errorDetails": details}, 503, {"Retry-After": "1"})
