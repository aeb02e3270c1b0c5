"""What the fleet sees: our heartbeat, the others', and the outages all replicas agree on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from killswitch import blindness, message
from killswitch.blindness import Change, Outage, OutageBook
from killswitch.case import Case
from killswitch.heartbeat import Heartbeat, alive, to_document
from killswitch.judge import Action, Decision
from killswitch.message import Page, PageKind
from killswitch.session import Session
from killswitch.stores import Committed, Compare, Item, Put, Store, keys

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LongBlind:
    """A rollout its rule file says to trip by now: nobody has seen it since ``since``, as of tick ``at``."""

    case: Case
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
        self._outages = OutageBook(store, wall=wall)
        self._others: Mapping[str, Heartbeat] = {}

    def read(self) -> None:
        """The other replicas' heartbeats."""
        self._others = alive(self._items())

    def nobody_sees(self, blind: LongBlind) -> tuple[Compare, ...] | None:
        """Comparisons that hold until another replica reports again; None when one has reported sight already.

        Read anew for each attempt: every replica writes a heartbeat each cycle, seeing or not.
        """
        items = self._items()
        good_at = blindness.fleet_good_at(blind.case.rollout.name, 0.0, alive(items).values())
        if good_at > blind.at - blindness.MISSED_TICKS * self._interval:
            return None
        return tuple(Compare(item.key, item.mod_revision) for item in items)

    def _items(self) -> list[Item]:
        own = keys.controller(self._id)
        return [item for item in self._store.list(keys.CONTROLLERS).items if item.key != own]

    def beat(self, cases: Sequence[Case], last_good: Mapping[str, float], *, tick: float, digest: str) -> None:
        """Report what we could judge at ``tick``. Raises as the store does."""
        heartbeat = Heartbeat(
            id=self._id,
            version=self._version,
            at=self._wall(),
            tick=tick,
            rules_digest=digest,
            judged=frozenset(case.rollout.name for case in cases),
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
        cases: Sequence[Case],
        decisions: Mapping[str, Decision],
        last_good: Mapping[str, float],
        watched_since: Mapping[str, float],
        tick: float,
    ) -> list[LongBlind]:
        """Open, grow or close outages, with their pages; the rollouts that are to be tripped for blindness.

        ``last_good``: 0 for what we have never seen. Whoever has just begun to watch gives the source two ticks
        before calling it an outage, and calls none over before it has seen.
        """
        good_at = {name: blindness.fleet_good_at(name, own, self._others.values()) for name, own in last_good.items()}
        horizon = tick - blindness.MISSED_TICKS * self._interval
        blind = {
            name: decision.sentence
            for name, decision in decisions.items()
            if decision.action is Action.BLIND and max(good_at[name], watched_since[name]) <= horizon
        }
        outages, revision = self._outages.read()
        if not blind and not outages:
            return []
        change = blindness.next_outages(
            outages,
            blind=blind,
            seen=frozenset(name for name, good in good_at.items() if good > horizon),
            watched=self.watched(cases),
            since=min((good_at[name] or watched_since[name] for name in blind), default=tick),
            tick=tick,
        )
        by_name = {case.rollout.name: case for case in cases}
        if change.open != outages:
            self._outages.write(change, revision, _pages(change, by_name, outages, tick))
        return _long_blind(change.open, by_name, blind, tick)

    def watched(self, cases: Sequence[Case]) -> frozenset[str]:
        """By any replica: while rule files are being rolled out, one may not have another's rollouts yet."""
        theirs = (beat.judged for beat in self._others.values())
        return frozenset(case.rollout.name for case in cases).union(*theirs)


def _long_blind(
    outages: Sequence[Outage], by_name: Mapping[str, Case], blind: Mapping[str, str], tick: float
) -> list[LongBlind]:
    found: list[LongBlind] = []
    for outage in outages:
        for name in sorted(outage.rollouts.keys() & blind.keys()):
            after = by_name[name].rollout.trip_when_blind_after
            # an outage that older rollouts opened says nothing of a generation armed since
            since = max(outage.since, by_name[name].armed_at)
            if after is not None and tick - since >= after:
                found.append(LongBlind(by_name[name], since, tick))
    return found


def _pages(change: Change, by_name: Mapping[str, Case], before: Sequence[Outage], tick: float) -> list[Page]:
    pages: list[Page] = []
    if change.started is not None:
        concerned = [by_name[name] for name in change.started.rollouts]
        policies = [c.rollout.trip_when_blind_after for c in concerned if c.rollout.trip_when_blind_after]
        page = message.blind(
            [case.flag for case in concerned],
            why="; ".join(sorted(set(change.started.rollouts.values()))),
            since=change.started.since,
            at=tick,
            settings=concerned[0].rollout.page,
            trip_at=change.started.since + min(policies) if policies else None,
        )
        pages.append(message.identified(page, change.started.id))
    rollouts = {outage.id: outage.rollouts for outage in before}
    for outage in change.ended:
        names = [name for name in rollouts[outage.id] if name in by_name]
        if names:  # none is watched any more: there is nothing to recover
            page = message.recovered(
                PageKind.BLIND,
                [by_name[name].flag for name in names],
                follows=outage.id,
                since=outage.since,
                at=tick,
                settings=by_name[names[0]].rollout.page,
            )
            pages.append(page)
    return pages
