"""`Router`: what a service asks, for every request, which cohort and which model serve it.

`Router.route` reads one immutable object and hashes; it does no I/O, takes no lock, never raises and
never blocks. Everything slow (reaching the store, noticing that it cannot be reached) happens in the
background thread of the follower, which replaces that object as a whole.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from struct import Struct
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from killswitch.flags.bucketing import UNROUTABLE, bucket
from killswitch.router.follow import follow
from killswitch.router.observers import Happening, Observer
from killswitch.router.readiness import has_read_within
from killswitch.router.route_types import Route, RouteReason, ShadowSplit, Split
from killswitch.router.snapshot import ObeyedFlag
from killswitch.stores.access import Access

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from killswitch.router.exposures import ExposureLog

_first_four_bytes = Struct(">I").unpack_from  # the same number as int(hexdigest[:8], 16), without the text


class SplitHolder(Protocol):
    """Whatever keeps the newest `Split` in one attribute; the real one is `killswitch.router.follow`."""

    @property
    def current(self) -> Split: ...
    def health(self) -> Any: ...
    def wait_until_read(self, timeout: float) -> bool: ...
    def close(self) -> None: ...


class Router:
    """Routes users of one rollout; one object a process, shared by all its threads, tasks and forked children.

    ``store``: the URL of the flag store (``etcd://host:2379,host2:2379``, ``etcds://…``, ``sqlite:///path``,
    ``file:///path.json``). ``control``: the model to route to before the store was ever reached; give it, or
    the first routes of a service that starts while the store is down have an empty model name.
    ``always_canary``: routing keys of testers, who get the canary while the flag is armed (at any percent,
    0 too) and control as soon as it is not. ``stale_grace``, ``stale_jitter`` (seconds), ``when_unwatched``
    (``"hold"`` or ``{"control_after": "5m"}``), ``access`` and ``report``: see `killswitch.router.follow.follow`.
    ``registry``: where the router's own state is exported: Prometheus' default registry, another, None for nowhere.
    ``exposures``: a `killswitch.router.exposures.ExposureLog`, where users are pinned by a cookie; default none.

    Returns at once, reached or not. Raises BadSettings or BadDocument for arguments that can never work.
    """

    __slots__ = ("_exposures", "_following", "_listeners", "_note", "_testers", "rollout")

    def __init__(
        self,
        rollout: str,
        store: str = "",
        *,
        control: str = "",
        always_canary: Iterable[str] = (),
        stale_grace: float = 60.0,
        stale_jitter: float = 30.0,
        when_unwatched: str | Mapping[str, object] | None = None,
        access: Access | None = None,
        report: bool = True,
        registry: CollectorRegistry | Literal["default"] | None = "default",
        exposures: ExposureLog | None = None,
        following: SplitHolder | None = None,
    ) -> None:
        self.rollout = rollout
        self._testers = frozenset([always_canary] if isinstance(always_canary, str) else always_canary)
        self._listeners = _Listeners()
        self._exposures = exposures
        self._note = None if exposures is None else exposures.notes_of(rollout).note
        if following is None:
            following = follow(
                rollout,
                store,
                control=control,
                stale_grace=stale_grace,
                stale_jitter=stale_jitter,
                when_unwatched={"control_after": "5m"} if when_unwatched is None else when_unwatched,
                access=access,
                report=report,
                observers=(self._listeners, *_exporters(rollout, registry)),
            )
        self._following = following

    def route(self, routing_key: object, cohort: object = None) -> Route:
        """Who serves this user now. Never raises, never blocks, at most a microsecond (median).

        ``routing_key``: what identifies the user for as long as the rollout lasts (see
        `killswitch.flags.bucketing.bucket` for what is taken); what is no key is routed to control.
        ``cohort``: a pin from a cookie or a session (``"control"``, ``"canary"``, anything else is no
        pin): it wins over the hash while the flag is armed, and never over a trip.
        """
        split = self._following.current
        try:
            if cohort is None and routing_key not in self._testers:
                # the formula of `bucket`, written out: a call would cost a tenth of the whole decision
                digest = sha256((split.salt + routing_key).encode()).digest()  # type: ignore[operator]
                if _first_four_bytes(digest)[0] % 10000 / 100 < split.canary_percent:
                    route = split.canary_route
                else:
                    route = split.control_route
                if self._note is not None:
                    self._note(split, route, routing_key)
                return route
        except Exception:  # noqa: BLE001, S110  # the request must be served, whatever the key is
            pass
        route = self._route_unusual(split, routing_key, cohort)
        if self._note is not None:
            self._note(split, route, routing_key)
        return route

    def _route_unusual(self, split: Split, routing_key: object, cohort: object) -> Route:
        """Pins, testers, and keys that are no plain text."""
        if split.canary_route is split.control_route:  # no user may reach the canary: no pin, no override
            return split.control_route
        pin = "canary" if self._is_tester(routing_key) else cohort
        try:
            if pin == "canary":
                return split.canary_route._replace(reason=RouteReason.TARGETING_MATCH)
            if pin == "control":
                return split.control_route._replace(reason=RouteReason.TARGETING_MATCH)
        except Exception:  # noqa: BLE001, S110  # a pin whose == raises is no pin
            pass
        place = bucket(split.salt, routing_key)
        if place < split.canary_percent:
            return split.canary_route
        if place == UNROUTABLE:
            return split.control_route._replace(reason=RouteReason.ERROR)
        return split.control_route

    def _is_tester(self, routing_key: object) -> bool:
        try:
            return routing_key in self._testers
        except Exception:  # noqa: BLE001  # unhashable
            return False

    def shadow_split(self) -> ShadowSplit:
        """Which finished requests are also sent to the canary, unseen. Never raises, never blocks.

        Its percents are 0 unless an armed flag in stage ``shadow`` is obeyed: ask again before each request that is
        sent, and a trip ends them.
        """
        return self._following.current.shadow

    def routes(self) -> tuple[Route, ...]:
        """Every route that can be given now (control, and the canary while it may be reached)."""
        split = self._following.current
        if split.canary_route is split.control_route:
            return (split.control_route,)
        return (split.control_route, split.canary_route)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` (a bound method, held weakly) when what is obeyed changes.

        It is called on a thread of its own. If it hangs, it delays other listeners, but not routing or a trip.
        """
        self._listeners.add(listener)

    def health(self) -> Any:
        """What is obeyed and why, the age of the last read, and problems: `killswitch.router.health.Health`."""
        return self._following.health()

    def wait_ready(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the first read of the store; whether there was one.

        For start-up probes: before it everyone is routed to ``control``. A store that holds no flag counts as read.
        False after `close`. `route` itself never waits. In a coroutine await `await_ready` instead.
        """
        return self._following.wait_until_read(timeout)

    wait_until_read = wait_ready  # what `SplitHolder` calls it

    async def await_ready(self, timeout: float) -> bool:  # noqa: ASYNC109  # a timeout here is an answer, not an error
        """`wait_ready` for asyncio: other tasks run while it waits."""
        return await has_read_within(timeout, lambda: self._following.wait_until_read(0.0))

    def close(self) -> None:
        """End the background threads. From here on everyone goes to control, because no trip would be seen."""
        self._following.close()
        if self._exposures is not None:
            self._exposures.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _exporters(rollout: str, registry: CollectorRegistry | Literal["default"] | None) -> tuple[Observer, ...]:
    if registry is None:
        return ()
    # prometheus_client costs as much to import as all the rest; it is imported only if metrics are made
    from prometheus_client import REGISTRY  # noqa: PLC0415

    from killswitch.router.standing_metrics import StandingMetrics  # noqa: PLC0415

    return (StandingMetrics(rollout, REGISTRY if registry == "default" else registry),)


class _Listeners:
    """Passes the follower's changes on to listeners that are added later."""

    def __init__(self) -> None:
        self._references: tuple[weakref.WeakMethod[Callable[[], None]], ...] = ()

    def add(self, listener: Callable[[], None]) -> None:
        kept = (reference for reference in self._references if reference() is not None)
        self._references = (*kept, weakref.WeakMethod(listener))

    def settled(self, snapshot: ObeyedFlag) -> None:  # noqa: ARG002  # listeners ask the router itself
        for reference in self._references:
            listener = reference()
            if listener is not None:
                listener()

    def happened(self, what: Happening) -> None:
        """Counted by `StandingMetrics`."""
