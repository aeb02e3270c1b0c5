"""A `killswitch.router.router.Following` that holds whatever split a test puts there; no store, no thread."""

from __future__ import annotations

from dataclasses import dataclass, replace

from killswitch.model import Cohort
from killswitch.router.route_types import NOTHING_SHADOWED, Route, RouteReason, ShadowSplit
from killswitch.router.router import Router

CONTROL_MODEL = "model-old"
CANARY_MODEL = "model-new"


@dataclass(frozen=True, slots=True)
class FixedSplit:
    canary_percent: float
    salt: str
    control_route: Route
    canary_route: Route
    shadow: ShadowSplit = NOTHING_SHADOWED

    @property
    def exposes(self) -> bool:
        return self.canary_route is not self.control_route

    def between(self, control: str, canary: str) -> FixedSplit:
        """The same split between two other models."""
        return replace(
            self,
            control_route=self.control_route._replace(model=control),
            canary_route=self.canary_route._replace(model=canary),
        )


def armed(percent: float = 5.0, *, salt: str = "", generation: int = 1, revision: int = 10) -> FixedSplit:
    return FixedSplit(
        percent,
        salt,
        Route(Cohort.CONTROL, CONTROL_MODEL, RouteReason.SPLIT, generation, revision),
        Route(Cohort.CANARY, CANARY_MODEL, RouteReason.SPLIT, generation, revision),
    )


def control_only(reason: RouteReason, *, generation: int = 1, revision: int = 11) -> FixedSplit:
    route = Route(Cohort.CONTROL, CONTROL_MODEL, reason, generation, revision)
    return FixedSplit(0.0, "", route, route)


def shadowed(percent: float = 20.0, *, generation: int = 1, **classes: float) -> FixedSplit:
    """Stage ``shadow``: everyone to control, ``percent`` of requests also to the canary."""
    shadow = ShadowSplit(percent, classes, "shadow/", CONTROL_MODEL, CANARY_MODEL, generation)
    return replace(control_only(RouteReason.SPLIT, generation=generation, revision=10), shadow=shadow)


def tripped(generation: int = 1, revision: int = 11) -> FixedSplit:
    return control_only(RouteReason.DISABLED, generation=generation, revision=revision)


class HeldSplit:
    """Set ``current`` to change what every router over it does from the next request on."""

    def __init__(self, split: FixedSplit | None = None) -> None:
        self.current = split if split is not None else armed()
        self.closed = False

    def health(self) -> dict[str, object]:
        return {"canary_percent": self.current.canary_percent}

    def wait_until_read(self, timeout: float) -> bool:
        return timeout >= 0.0

    def close(self) -> None:
        self.closed = True


def router_over(
    split: FixedSplit, *, always_canary: tuple[str, ...] = (), rollout: str = "support-copilot"
) -> tuple[Router, HeldSplit]:
    held = HeldSplit(split)
    return Router(rollout, following=held, always_canary=always_canary), held
