"""Which model serves a user of a role, at every moment of a promotion and of its rollback."""

from __future__ import annotations

import pytest

from killswitch.model import Cohort
from killswitch.roles.role import Role, RoleChange, Slot
from killswitch.router.pinned.role_errors import EmptySlot
from killswitch.router.role_routing import role_route
from killswitch.router.route_types import Route, RouteReason
from killswitch.router.router import Router

OLD, NEW = "model-old", "model-new"


class _Pins:
    def __init__(self, prod: str, candidate: str | None, previous: str | None) -> None:
        self._role = Role("support", prod, candidate, previous, 1, RoleChange.PROMOTED, 0.0, "ann")

    def model_for(self, role: str, slot: str = "prod") -> str:
        model = self._role.model(Slot(slot))
        if model is None:
            raise EmptySlot(role, slot)
        return model


class _Rollout(Router):
    """Gives every user the same route."""

    def __init__(self, model: str, reason: RouteReason) -> None:
        self._route = Route(Cohort.CONTROL, model, reason, 1, 1)

    def route(self, _routing_key: object, _cohort: object = None) -> Route:
        return self._route


SPLIT, DISABLED, STATIC, DEFAULT = RouteReason.SPLIT, RouteReason.DISABLED, RouteReason.STATIC, RouteReason.DEFAULT
BEFORE, AFTER, BACK = _Pins(OLD, NEW, None), _Pins(NEW, None, OLD), _Pins(OLD, None, None)
MOMENTS = {
    "nothing is armed": (BEFORE, (OLD, DEFAULT), (OLD, DEFAULT), OLD),
    "the candidate has this user": (BEFORE, (NEW, SPLIT), (OLD, DEFAULT), NEW),
    "control of the upgrade": (BEFORE, (OLD, SPLIT), (OLD, DEFAULT), OLD),
    "the upgrade has tripped": (BEFORE, (OLD, DISABLED), (OLD, DEFAULT), OLD),
    "promoted, the watch is not armed yet": (AFTER, (NEW, STATIC), (OLD, DEFAULT), NEW),
    "promoted, a watch of an earlier life has tripped": (AFTER, (NEW, STATIC), ("older", DISABLED), NEW),
    "the watch compares: prod": (AFTER, (NEW, STATIC), (NEW, SPLIT), NEW),
    "the watch compares: previous": (AFTER, (NEW, STATIC), (OLD, SPLIT), OLD),
    "the watch has tripped, no rollback yet": (AFTER, (NEW, STATIC), (OLD, DISABLED), OLD),
    "rolled back": (BACK, (NEW, STATIC), (OLD, DISABLED), OLD),
    "rolled back by hand, the watch is armed still": (BACK, (NEW, STATIC), (NEW, SPLIT), OLD),
    "rolled back by hand, an upgrade is armed": (_Pins(OLD, "next", None), (NEW, SPLIT), (OLD, DEFAULT), OLD),
    "promoted by hand while the upgrade is armed": (AFTER, (OLD, SPLIT), (OLD, DEFAULT), NEW),
    "the next candidate next to a watch": (_Pins(NEW, "next", OLD), ("next", SPLIT), (OLD, SPLIT), "next"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_right_model_serves_at_every_moment(moment: str) -> None:
    pins, upgrade, watch, model = MOMENTS[moment]
    route = role_route(pins, "support", "user-1", upgrade=_Rollout(*upgrade), watch=_Rollout(*watch))
    assert route.model == model


def test_without_rollouts_prod_serves() -> None:
    assert role_route(BEFORE, "support", "user-1").model == OLD
