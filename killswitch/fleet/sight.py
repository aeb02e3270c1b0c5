"""What the fleet sees: our heartbeat, the others', and the outages all replicas agree on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from killswitch.errors import OutcomeUnknown
from killswitch.fleet.heartbeat import Heartbeat, alive, to_document
from killswitch.fleet.outage_pages import Concerned, pages_of, trips_after
from killswitch.fleet.outages import MISSED_TICKS, Blind, Outage, next_outages
from killswitch.fleet.page_target import Target
from killswitch.fleet.replica_clocks import ReplicaClocks, fleet_good_at
from killswitch.fleet.session import Session
from killswitch.fleet.stored_outages import StoredOutages
from killswitch.model import Finding, Reason
from killswitch.stores import Committed, Compare, Item, Put, Store, keys
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.decide import Decision, DecisionKind

log = logging.getLogger(__name__)
# To write outages: others write heartbeats meanwhile, and the next tick goes on.
_ATTEMPTS = 5
# A store takes 128 comparisons a transaction, and some are needed for what is written.
MOST_GUARDED = 60
_UNREAD = frozenset({
    Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT, Reason.SOURCE_REFUSED, Reason.GARBAGE, Reason.PARTIAL_ANSWER,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class LongBlind:
    """A rollout its rule file says to trip by now: no replica has seen it since ``since``, as of tick ``at``."""

    armed: ArmedRollout
    since: float
    at: float


class FleetSight:
    """``interval`` in seconds. Raises what the store raises, except from `beat`."""

    def __init__(
        self,
        store: Store,
        session: Session,
        *,
        controller_id: str,
        version: str,
        interval: float,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._session = session
        self._id = controller_id
        self._version = version
        self._interval = interval
        self._wall = wall
        self._outages = StoredOutages(store, wall=wall)
        self._others: Mapping[str, Heartbeat] = {}
        self._clocks = ReplicaClocks(interval)

    def read(self) -> None:
        """The other replicas' heartbeats."""
        self._others = alive(self._items())

    def no_replica_sees(self, blind: LongBlind) -> tuple[Compare, ...] | None:
        """Comparisons that hold until another replica reports again; None when one has reported sight already.

        Read again for each attempt: every replica writes a heartbeat each cycle, seeing or not.
        """
        items = self._items()
        good_at = self._good_at(blind.armed.rollout.name, 0.0, alive(items), blind.at)
        return None if good_at > self._horizon(blind.at) else _unchanged(items)

    def _good_at(self, rollout: str, own: float, others: Mapping[str, Heartbeat], tick: float) -> float:
        return fleet_good_at(own, (self._clocks.good_at(key, beat, rollout, tick) for key, beat in others.items()))

    def _items(self) -> list[Item]:
        own = keys.controller(self._id)
        return [item for item in self._store.list(keys.CONTROLLERS).items if item.key != own]

    def beat(
        self, all_armed: Sequence[ArmedRollout], last_good: Mapping[str, float], *, tick: float, digest: str
    ) -> None:
        """Report what we could judge at ``tick``. Raises as the store does."""
        heartbeat = Heartbeat(
            id=self._id,
            version=self._version,
            at=self._wall(),
            tick=tick,
            rules_digest=digest,
            judged=frozenset(armed.rollout.name for armed in all_armed),
            last_good={name: good for name, good in last_good.items() if good < tick},
        )
        put = Put(keys.controller(self._id), to_document(heartbeat), self._session.lease())
        # the guard keeps a heartbeat from being put under a session that has just ended
        if not isinstance(self._store.commit((self._session.guard(),), (put,)), Committed):
            self._session.doubt()
        others = {beat.rules_digest for beat in self._others.values()} - {digest}
        if others:
            log.warning("replicas have different rule files: ours %s, others %s", digest, ", ".join(sorted(others)))

    def look_for_outages(
        self,
        all_armed: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Mapping[str, tuple[Finding, ...]],
        last_good: Mapping[str, float],
        watched_since: Mapping[str, float],
        tick: float,
        concerned: Concerned,
    ) -> list[LongBlind]:
        """Open, grow or close outages, with their pages; the rollouts that are to be tripped for blindness.

        ``concerned``: also rollouts that are not watched here. ``last_good``: 0 for what we have never seen. A replica
        that has just begun to watch gives the source two ticks before it calls that an outage, and calls no outage
        over before it has seen.
        """
        self._clocks.note(self._others, tick)
        horizon = self._horizon(tick)
        maybe = self._perhaps_blind(decisions, last_good, watched_since, tick)
        armed = {one.rollout.name: one for one in all_armed}
        for _ in range(_ATTEMPTS):
            before = self._outages.read()
            if not maybe and not before.teams:
                return []
            # the heartbeats of the cycle's start are as old as a source that hangs is slow
            items = self._items()
            self._others = alive(items)
            good_at = {name: self._good_at(name, own, self._others, tick) for name, own in last_good.items()}
            blind = {
                name: _blind(armed[name], decision, findings[name], since=good_at[name] or watched_since[name])
                for name, decision in maybe.items()
                if good_at[name] <= horizon
            }
            change = next_outages(
                before.outages,
                blind=blind,
                good_at=good_at,
                watched=self.watched(all_armed),
                tick=tick,
                interval=self._interval,
            )
            guards = _unchanged(items) if change.started else ()
            try:
                if self._outages.write(change, before, pages_of(change, armed, blind, tick, concerned), guards):
                    break
            except OutcomeUnknown:
                break  # the next tick reads what became of it
        return _long_blind(change.open, armed, blind, tick)

    def _perhaps_blind(
        self,
        decisions: Mapping[str, Decision],
        last_good: Mapping[str, float],
        watched_since: Mapping[str, float],
        tick: float,
    ) -> dict[str, Decision]:
        """The rollouts that this replica has not seen for long enough; another may have seen them."""
        horizon = self._horizon(tick)
        return {
            name: decision
            for name, decision in decisions.items()
            if decision.action is DecisionKind.BLIND and max(last_good[name], watched_since[name]) <= horizon
        }

    def watched(self, all_armed: Sequence[ArmedRollout]) -> frozenset[str]:
        """By any replica: while rule files are being rolled out, one may not have another's rollouts yet."""
        theirs = (beat.judged for beat in self._others.values())
        return frozenset(armed.rollout.name for armed in all_armed).union(*theirs)

    def _horizon(self, tick: float) -> float:
        """A rollout is blind at ``tick`` if no replica has seen it since."""
        return tick - MISSED_TICKS * self._interval


def _unchanged(items: Sequence[Item]) -> tuple[Compare, ...]:
    return tuple(Compare(item.key, item.mod_revision) for item in items[:MOST_GUARDED])


def _blind(armed: ArmedRollout, decision: Decision, findings: Sequence[Finding], *, since: float) -> Blind:
    settings = armed.rollout.page
    return Blind(since, decision.sentence, Target.of(settings), _family(findings))


def _family(findings: Sequence[Finding]) -> str:
    """One metric store that is down blinds in one way, a label that is gone in another."""
    unread = any(finding.reason in _UNREAD for finding in findings)
    return "unread" if unread else "no data"


def _long_blind(
    outages: Sequence[Outage], armed: Mapping[str, ArmedRollout], blind: Mapping[str, Blind], tick: float
) -> list[LongBlind]:
    found: list[LongBlind] = []
    for outage in outages:
        for name in sorted(outage.members.keys() & blind.keys()):
            after = trips_after(armed[name])
            # its own time, not the outage's; and what went before says nothing of a generation armed since
            since = max(outage.members[name].since, armed[name].armed_at)
            if after is not None and tick - since >= after:
                found.append(LongBlind(armed[name], since, tick))
    return found
