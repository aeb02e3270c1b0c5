"""Which model serves a user of a role: the rollout of its candidate, its watch after a promotion, or its prod.

Between a promotion and the arming of its watch, and wherever no rollout is armed, that is the role's prod. A rollout
that names a model which no slot pins any more has been overtaken by a rollback or a promotion, and decides nothing.
"""

from __future__ import annotations

from typing import Protocol

from killswitch.model import Cohort
from killswitch.roles.role import Slot
from killswitch.router.pinned.role_errors import EmptySlot
from killswitch.router.route_types import Route, RouteReason
from killswitch.router.router import Router

_ARMED = (RouteReason.SPLIT, RouteReason.TARGETING_MATCH)


class AsksRoles(Protocol):
    """Satisfied by `killswitch.router.roles.Roles`."""

    def model_for(self, role: str, slot: str = "prod") -> str: ...


def role_route(
    roles: AsksRoles,
    role: str,
    routing_key: object,
    *,
    upgrade: Router | None = None,
    watch: Router | None = None,
    cohort: object = None,
) -> Route:
    """Who serves this user now. Never blocks; raises as `Roles.model_for` does for slot prod.

    ``upgrade``: of the rollout that compares prod and candidate. ``watch``: of the one that compares previous and prod.
    ``routing_key`` and ``cohort`` as in `Router.route`. Where no rollout decides, the reason is STATIC.
    """
    pins = {slot: _pinned(roles, role, slot) for slot in (Slot.CANDIDATE, Slot.PREVIOUS)}
    prod = roles.model_for(role)
    if upgrade is not None:
        route = upgrade.route(routing_key, cohort)
        if route.reason in _ARMED and route.model in (prod, pins[Slot.CANDIDATE]):
            return route
    if watch is not None:
        route = watch.route(routing_key, cohort)
        if route.reason in _ARMED and route.model in (prod, pins[Slot.PREVIOUS]):
            return route
        if route.reason == RouteReason.DISABLED and route.model == pins[Slot.PREVIOUS]:
            return route  # it has tripped a moment ago, and the role is not rolled back yet
    return Route(Cohort.CONTROL, prod, RouteReason.STATIC, 0, 0)


def _pinned(roles: AsksRoles, role: str, slot: Slot) -> str | None:
    try:
        return roles.model_for(role, slot)
    except EmptySlot:
        return None
