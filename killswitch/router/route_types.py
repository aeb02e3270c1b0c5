"""The types of a routing decision: the route, its reason, and the immutable split that it reads.

The decision itself is `killswitch.router.router.Router.route`; the formula of the hash is in
`killswitch.flags.bucketing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from killswitch.model import Cohort


class RouteReason(StrEnum):
    """Why a route is what it is, in OpenFeature's words."""

    SPLIT = "SPLIT"  # the hash decided, under an armed flag
    TARGETING_MATCH = "TARGETING_MATCH"  # a pin or an override decided, under an armed flag
    DISABLED = "DISABLED"  # the flag is tripped: control, for everyone
    STATIC = "STATIC"  # the rollout is complete: control is the new model, for everyone
    DEFAULT = "DEFAULT"  # there is no flag (never read yet, deleted, or none was armed): control
    STALE = "STALE"  # the store or every controller has been unreachable for too long: control
    ERROR = "ERROR"  # the document or the routing key cannot be understood: control


class Route(NamedTuple):
    """One decision: who serves this request, and why.

    ``generation`` is the flag's, ``revision`` the store's at the flag's last change; both are 0 before any
    flag was read. ``reason`` is one of `RouteReason`.
    """

    cohort: Cohort
    model: str
    reason: str
    generation: int
    revision: int


class ShadowSplit(NamedTuple):
    """Which finished requests are also sent to the canary, unseen, and to which model.

    ``percent`` (0 to 100) of requests, by a hash of ``salt`` and the request's id; ``classes`` are percents by prompt
    class instead of ``percent``. ``salt`` is not the one that the users' buckets are made with. The canary's model is
    named here and in no route; it is "" where nothing is shadowed. ``generation`` is the flag's.
    """

    percent: float
    classes: Mapping[str, float]
    salt: str
    control: str
    canary: str
    generation: int


NOTHING_SHADOWED = ShadowSplit(0.0, {}, "", "", "", 0)


class Split(Protocol):
    """What a routing decision reads: one immutable object, replaced as a whole.

    ``canary_route`` **is** ``control_route`` (the same object) whenever no user may reach the canary:
    tripped, absent, stale, unwatched, or a document that cannot be understood. Then ``canary_percent``
    is 0, pins and overrides are refused, and no code path can return the canary's model.
    ``shadow`` has percents only where an armed flag in stage ``shadow`` is obeyed. ``exposes``: whether the canary's
    users get another model: not while everyone goes to control, and not in stage ``aa``.
    """

    @property
    def canary_percent(self) -> float: ...  # 0 to 100
    @property
    def salt(self) -> str: ...
    @property
    def control_route(self) -> Route: ...
    @property
    def canary_route(self) -> Route: ...
    @property
    def shadow(self) -> ShadowSplit: ...
    @property
    def exposes(self) -> bool: ...
