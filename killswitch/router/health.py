"""What a follower knows about its flag, its store and itself, as `Router.health` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from killswitch.router.failsafe import RouterState


@dataclass(frozen=True, slots=True)
class Health:
    """A follower's health. ``read_age``: seconds since the last read that succeeded was sent, None before
    the first. ``controllers``: how many were alive at that read, None if the store keeps no heartbeats. ``error``: what
    last went wrong, None while all is well. ``counts``: how often each `Happening` happened.
    """

    rollout: str
    standing: RouterState
    sentence: str
    canary_percent: float
    generation: int
    revision: int
    stale: bool
    read_age: float | None
    controllers: int | None
    watching: bool
    reporting: bool
    router_id: str
    store: str
    error: str | None
    following: bool
    counts: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether the flag is followed as it should be; a tripped flag is as healthy as an armed one."""
        good = (RouterState.ARMED, RouterState.TRIPPED, RouterState.COMPLETE, RouterState.NO_FLAG)
        return self.following and self.standing in good
