"""Whether the candidate of a role may have users, for the gate of a plan: what its generation rests on now."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.errors import KillswitchError, Refused, Unavailable
from killswitch.flags.flag import Flag
from killswitch.model import Rollout
from killswitch.ramps.gate_inputs import CandidateNow, Missing
from killswitch.registry.arming import Armable, armable, as_armed
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import RolePair, role_pair
from killswitch.stores import Store
from killswitch.trips.armed_pairs import stored_pair


@dataclass(frozen=True, slots=True)
class CandidateLook:
    """``now``: for the gate; None where the canary is no candidate. ``armable``: what a step is to rest on."""

    now: CandidateNow | Missing | None
    armable: Armable | None = None


def look_at_candidate(
    store: Store, rollout: Rollout, flag: Flag, *, config: RoleConfig | None, now: float, by: str
) -> CandidateLook:
    """Raises Unavailable where the store does not answer: the thread that judges would wait once for each rollout."""
    slots = role_pair(rollout.control, rollout.canary)
    if slots is None:
        return CandidateLook(None)
    return _looked(store, slots, flag, config=config, now=now, by=by)


def look_as_armed(store: Store, flag: Flag, *, now: float, by: str) -> CandidateLook:
    """`look_at_candidate` of a rollout whose rule file names two models now, by what its generation was armed with.

    A reference that was taken out of the file after the arming is no way around the gate. Asked before a step alone.
    """
    return _looked(store, None, flag, config=None, now=now, by=by)


def _looked(
    store: Store, slots: RolePair | None, flag: Flag, *, config: RoleConfig | None, now: float, by: str
) -> CandidateLook:
    try:
        pair = as_armed(stored_pair(store, flag.rollout, flag.generation), slots, flag)
        if pair is None or not pair.is_candidate:
            return CandidateLook(None)
        of_pair = RolePair(pair.role, pair.kind)
        found = armable(
            store, of_pair, rollout=flag.rollout, users=True, config=config, now=now, by=by, before=pair
        )  # fmt: skip
    except Unavailable:
        raise
    except Refused as error:
        return CandidateLook(CandidateNow(None, str(error)))
    except KillswitchError as error:
        return CandidateLook(Missing(str(error)))
    return CandidateLook(CandidateNow(True, found.pair.sentence), found)
