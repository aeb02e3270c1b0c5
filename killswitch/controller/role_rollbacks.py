"""After a promotion: a tripped rollout of prod against previous rolls its role back, by itself and once.

The trip has sent the users of routers back already, and waits for nothing here: this runs on a thread of its own. It
looks at what the store says, not at what this process has done. So the rollback follows a trip by a person too, and a
trip whose controller was killed right after it. Each replica may do it: the registry compares the role, so one does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from killswitch.errors import BadRules, KillswitchError, Refused
from killswitch.flags.completion import COMPLETE
from killswitch.flags.flag import Flag, drilled
from killswitch.flags.transitions import STOPPED
from killswitch.model import Rollout
from killswitch.pages import role_watch_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.registry.registry import Registry
from killswitch.roles.armed_pair import ArmedPair
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import PairKind, RolePair, role_pair
from killswitch.roles.retirement import RetirementDate
from killswitch.roles.role import Role, RoleChange
from killswitch.rules.retirement_files import load_retirements
from killswitch.stores import Compare, Put, Store, keys
from killswitch.trips.armed_pairs import stored_pair
from killswitch.trips.stored_flags import StoredFlags

log = logging.getLogger(__name__)
MOVES_PROD = frozenset({RoleChange.CREATED, RoleChange.PROMOTED, RoleChange.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class _Tripped:
    """A tripped rollout whose trip takes the role's prod back. ``incident``: that trip's."""

    rollout: Rollout
    flag: Flag
    role: Role

    @property
    def incident(self) -> str:
        assert self.flag.trip is not None
        return self.flag.trip.incident


class RoleRollbacks:
    """Call `look` every few seconds, on a thread of its own. ``wall`` gives Unix seconds; ``by`` names this replica.

    ``rollouts`` gives the rule files in force, ``roles`` the role files. Without a watch among them nothing is read.
    """

    def __init__(
        self,
        store: Store,
        *,
        rollouts: Callable[[], Mapping[str, Rollout]],
        wall: Callable[[], float],
        by: str,
        roles: Callable[[], Mapping[str, RoleConfig]] = dict,
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._roles = roles
        self._wall = wall
        self._flags = StoredFlags(store)
        self._registry = Registry(store, wall=wall, by=by)
        self._settled: dict[str, int] = {}  # trips that need nothing more, and the role's number then
        self._failing = False

    def look(self) -> None:
        """Roll back what tripped watches say. Errors are logged, and the next look tries again."""
        watches = {
            name: (rollout, slots)
            for name, rollout in self._rollouts().items()
            if (slots := role_pair(rollout.control, rollout.canary)) is not None
            and slots.kind is not PairKind.SHADOW_WATCH
        }
        if not watches:
            return
        try:
            roles, damaged = self._registry.everything()
            flags, _ = self._flags.everything()
        except KillswitchError as error:
            if not self._failing:
                log.warning("tripped watches of roles are not looked at: %s", error)
            self._failing = True
            return
        self._failing = False
        for name, (rollout, slots) in watches.items():
            stored = flags.get(name)
            flag = None if stored is None else stored.flag
            if flag is None or flag.state not in STOPPED or drilled(flag):
                continue
            try:
                self._look_at(rollout, slots, flag, roles[slots.role].role if slots.role in roles else None, damaged)
            except KillswitchError as error:
                log.warning("%s: whether its trip takes back role %s is looked at again: %s", name, slots.role, error)
            except Exception:
                log.exception("%s: its role is not rolled back: unexpected error; it is tried again", name)

    def _look_at(
        self, rollout: Rollout, slots: RolePair, flag: Flag, role: Role | None, damaged: Mapping[str, str]
    ) -> None:
        assert flag.trip is not None
        if slots.role in damaged:
            last = self._registry.readable(slots.role)[0].role  # as its history says
            followed = last is not None and (flag.control, flag.rollout_canary) != (last.previous, last.prod)
            if slots.kind is PairKind.WATCH and not followed:
                self._page(rollout, flag, slots.role, damaged[slots.role])
            return
        if role is None or (flag.control, flag.rollout_canary) != (role.previous, role.prod):
            return
        if self._settled.get(flag.trip.incident) == role.number or not self._is_about(slots, flag, role):
            self._settled[flag.trip.incident] = role.number
            return
        found = _Tripped(rollout, flag, role)
        try:
            changed = self._registry.rollback(
                role.name,
                reason=f"{flag.rollout} has tripped: {flag.trip.reason}",
                settings=rollout.page,
                incident=found.incident,
                expect=role,
                dates=self._dates(role.name),
            )
        except Refused as error:
            now = self._registry.stored(role.name).role
            if now is None or (now.prod, now.previous, now.origin) == (role.prod, role.previous, role.origin):
                self._page(rollout, flag, role.name, str(error))
            return  # else another replica or a person was first
        log.warning("role %s: prod is %s again, after the trip %s", role.name, changed.role.prod, found.incident)

    def _dates(self, role: str) -> Sequence[RetirementDate]:
        """Of the file that the role's file names. One that cannot be read is no reason to keep a bad model."""
        config = self._roles().get(role)
        try:
            return () if config is None or config.retirements is None else load_retirements(config.retirements)
        except BadRules as error:
            log.warning("role %s: its retirement dates cannot be read: %s", role, error.problems[0])
            return ()

    def _is_about(self, slots: RolePair, flag: Flag, role: Role) -> bool:
        """Whether the trip is about the promotion that made the role's prod what it is.

        A watch is armed after it, and the rollout that promoted the role before it; such a one was complete when it
        tripped. A trip from an earlier life of the rollout must not take back a promotion that came after it.
        """
        pair = stored_pair(self._store, flag.rollout, flag.generation)
        if pair is None or pair.role != role.name or pair.kind is not slots.kind:
            return False
        moves = self._moves_since(pair, role)
        if pair.kind is PairKind.WATCH:
            return not moves
        assert flag.trip is not None
        return flag.trip.stage_before == COMPLETE and moves == [RoleChange.PROMOTED]

    def _moves_since(self, pair: ArmedPair, role: Role) -> list[RoleChange]:
        """The changes of prod since the pair was armed, at most two."""
        moves: list[RoleChange] = []
        for entry in self._registry.newest_first(role.name, last=role.number):
            if entry.role.number <= pair.number or len(moves) > 1:
                break
            if _moved_prod(entry.role):
                moves.append(entry.role.change)
        return moves

    def _page(self, rollout: Rollout, flag: Flag, role: str, why: str) -> None:
        """Page once a trip that the role could not be rolled back. It is tried again at each look."""
        assert flag.trip is not None
        log.error("role %s is NOT rolled back after the trip %s: %s", role, flag.trip.incident, why)
        key = keys.role_notice(role, f"not-rolled-back.{flag.trip.incident.replace('/', '.')}")
        if self._store.get(key) is not None:
            return
        page = role_watch_events.not_rolled_back(role, flag, why, at=self._wall(), settings=rollout.page)
        body = json.dumps({"incident": flag.trip.incident}).encode()
        self._store.commit((Compare(key, 0),), (Put(key, body), into_outbox(page, at=self._wall())))


def _moved_prod(role: Role) -> bool:
    """Whether the role's newest change gave it another prod. Most imports edit other slots, and leave its origin."""
    if role.change is RoleChange.IMPORTED:
        return role.origin is not None and (role.origin.change, role.origin.at) == (role.change, role.updated_at)
    return role.change in MOVES_PROD
