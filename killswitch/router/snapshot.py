"""What a routing decision reads: one immutable object, replaced as a whole when anything changes."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.flags.bucketing import serves_canary
from killswitch.flags.flag import AA, Flag
from killswitch.model import Cohort
from killswitch.router import failsafe
from killswitch.router.failsafe import OBEYS_ARMED, Memory, RouterState, StalePolicy
from killswitch.router.route_types import NOTHING_SHADOWED, Route, RouteReason, ShadowSplit

_CONTROL_REASON = {
    RouterState.TRIPPED: RouteReason.DISABLED,
    RouterState.COMPLETE: RouteReason.STATIC,
    RouterState.OUTDATED: RouteReason.DISABLED,
    RouterState.NO_FLAG: RouteReason.DEFAULT,
    RouterState.UNREAD: RouteReason.DEFAULT,
    RouterState.CORRUPT: RouteReason.ERROR,
    RouterState.CUT_OFF: RouteReason.STALE,
    RouterState.UNWATCHED: RouteReason.STALE,
    RouterState.CLOSED: RouteReason.STALE,
}


@dataclass(frozen=True, slots=True)
class ObeyedFlag:
    """Satisfies `killswitch.router.route_types.Split`.

    ``canary_percent`` (0 to 100) is what is obeyed, not what the document says. ``canary_route`` *is*
    ``control_route`` whenever no user may reach the canary. ``flag`` is the newest document understood, or None;
    ``generation`` and ``revision`` are its own (a deletion has a revision, too). ``sentence`` says why. ``shadow``
    names the canary's model only while an armed flag that shadows requests is obeyed.
    """

    canary_percent: float
    salt: str
    control_route: Route
    canary_route: Route
    standing: RouterState
    sentence: str
    flag: Flag | None
    generation: int
    revision: int
    shadow: ShadowSplit = NOTHING_SHADOWED

    @property
    def exposes(self) -> bool:
        """Whether the canary's users get another model than control's."""
        in_aa = self.flag is not None and self.flag.stage == AA
        return self.canary_route is not self.control_route and not in_aa

    @property
    def state(self) -> str:
        """The router's state as text."""
        return self.standing.value

    @property
    def stale(self) -> bool:
        """Whether the store, or every controller, has been unreachable for some time."""
        return self.standing in (RouterState.HELD, RouterState.CUT_OFF, RouterState.UNWATCHED, RouterState.CLOSED)


def build(memory: Memory, policy: StalePolicy, now: float) -> ObeyedFlag:
    """What ``memory`` means at ``now``; equal while nothing changes."""
    standing = failsafe.state_at(memory, policy, now)
    flag = memory.flag
    generation = flag.generation if flag is not None else memory.tripped_generation
    reason = _CONTROL_REASON.get(standing, RouteReason.SPLIT)
    control_route = Route(Cohort.CONTROL, memory.control_model, reason, generation, memory.changed_at)
    canary_route, percent = control_route, 0.0
    obeyed = flag if standing in OBEYS_ARMED else None
    if obeyed is not None and serves_canary(obeyed):
        percent = obeyed.canary_percent
        canary_route = Route(Cohort.CANARY, obeyed.canary, reason, generation, memory.changed_at)
    return ObeyedFlag(
        canary_percent=percent,
        salt=flag.salt if flag is not None else "",
        control_route=control_route,
        canary_route=canary_route,
        standing=standing,
        sentence=failsafe.sentence(memory, policy, standing),
        flag=flag,
        generation=generation,
        revision=memory.changed_at,
        shadow=NOTHING_SHADOWED if obeyed is None or obeyed.shadow_share.nothing else _shadow_split(obeyed),
    )


def _shadow_split(flag: Flag) -> ShadowSplit:
    """What ``flag`` shadows, while it is obeyed as armed."""
    return ShadowSplit(
        percent=flag.shadow_percent,
        classes=flag.shadow_classes,
        # a request's id may be its user's: the same hash would shadow only users of low buckets
        salt=f"shadow/{flag.salt}",
        control=flag.control,
        canary=flag.canary,
        generation=flag.generation,
    )
