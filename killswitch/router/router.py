"""`Router`: what a service asks, for every request, which cohort and which model serve it.

`Router.route` reads one immutable object and hashes; it does no I/O, takes no lock, never raises and
never blocks. Everything slow (reaching the store, noticing that it cannot be reached) happens in the
background thread of the follower, which replaces that object as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct
from types import TracebackType
from typing import Any, Protocol, Self

from killswitch.router.routing import UNROUTABLE, Route, RouteReason, Split, bucket

_first_four_bytes = Struct(">I").unpack_from  # the same number as int(hexdigest[:8], 16), without the text


class Following(Protocol):
    """Whatever keeps the newest `Split` in one attribute; the real one is `killswitch.router.follow`."""

    @property
    def current(self) -> Split: ...
    def health(self) -> Any: ...
    def close(self) -> None: ...


class Router:
    """Routes users of one rollout; one object a process, shared by all its threads and tasks.

    ``always_canary``: routing keys of testers, who get the canary while the flag is armed (at any
    percent, 0 too) and control as soon as it is not.
    """

    __slots__ = ("_following", "_testers", "rollout")

    def __init__(
        self,
        rollout: str,
        store: str = "",
        *,
        always_canary: Iterable[str] = (),
        following: Following | None = None,
    ) -> None:
        self.rollout = rollout
        self._following = following  # type: ignore[assignment]
        self._testers = frozenset(always_canary)

    def route(self, routing_key: object, cohort: object = None) -> Route:
        """Who serves this user now. Never raises, never blocks, at most a microsecond (median).

        ``routing_key``: what identifies the user for as long as the rollout lasts (see
        `killswitch.router.routing.bucket` for what is taken); what is no key is routed to control.
        ``cohort``: a pin from a cookie or a session (``"control"``, ``"canary"``, anything else is no
        pin): it wins over the hash while the flag is armed, and never over a trip.
        """
        split = self._following.current
        try:
            if cohort is None and routing_key not in self._testers:
                # the formula of `bucket`, written out: a call would cost a tenth of the whole decision
                digest = sha256((split.salt + routing_key).encode()).digest()  # type: ignore[operator]
                if _first_four_bytes(digest)[0] % 10000 / 100 < split.canary_percent:
                    return split.canary_route
                return split.control_route
        except Exception:  # noqa: BLE001, S110  # whatever came in as a key, the request must be served
            pass
        return self._route_unusual(split, routing_key, cohort)

    def _route_unusual(self, split: Split, routing_key: object, cohort: object) -> Route:
        """Pins, testers, and keys that are no plain text."""
        if split.canary_route is split.control_route:  # nobody may reach the canary: no pin, no override
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

    def routes(self) -> tuple[Route, ...]:
        """Every route that can be given now (control, and the canary while it may be reached)."""
        split = self._following.current
        if split.canary_route is split.control_route:
            return (split.control_route,)
        return (split.control_route, split.canary_route)

    def health(self) -> Any:
        """What the follower knows of the store, the controllers and itself."""
        return self._following.health()

    def close(self) -> None:
        """End the background thread; routes stay what they are."""
        self._following.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
