"""What the fleet sees: our heartbeat, the others', and the outages all replicas agree on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from killswitch.errors import OutcomeUnknown
from killswitch.flags.flag import AA, Flag
from killswitch.fleet import outages as blindness
from killswitch.fleet.heartbeat import Heartbeat, alive, to_document
from killswitch.fleet.outages import Blind, Clocks, Outage, OutageChange, StoredOutages, Target
from killswitch.fleet.session import Session
from killswitch.model import Finding, Mode, PageSettings, Reason
from killswitch.pages import events
from killswitch.pages.page import Page, PageKind, identified
from killswitch.stores import Committed, Compare, Item, Put, Store, keys
from killswitch.timestamps import to_iso
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.decide import Decision, DecisionKind

log = logging.getLogger(__name__)
# of writing outages down; others write heartbeats meanwhile, and the next tick goes on
_ATTEMPTS = 5
# A store takes 128 comparisons a transaction, and some are needed for what is written.
MOST_GUARDED = 60
_UNREAD = frozenset({
    Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT, Reason.SOURCE_REFUSED, Reason.GARBAGE, Reason.PARTIAL_ANSWER,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class LongBlind:
    """A rollout its rule file says to trip by now: nobody has seen it since ``since``, as of tick ``at``."""

    case: ArmedRollout
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class Known:
    """Of every rollout with a flag, watched here or not: its flag, and who is paged of it."""

    flags: Mapping[str, Flag]
    settings: Callable[[str], PageSettings]


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
        self._clocks = Clocks(interval)

    def read(self) -> None:
        """The other replicas' heartbeats."""
        self._others = alive(self._items())

    def nobody_sees(self, blind: LongBlind) -> tuple[Compare, ...] | None:
        """Comparisons that hold until another replica reports again; None when one has reported sight already.

        Read anew for each attempt: every replica writes a heartbeat each cycle, seeing or not.
        """
        items = self._items()
        good_at = self._good_at(blind.case.rollout.name, 0.0, alive(items), blind.at)
        return None if good_at > self._horizon(blind.at) else _unchanged(items)

    def _good_at(self, rollout: str, own: float, others: Mapping[str, Heartbeat], tick: float) -> float:
        return blindness.fleet_good_at(
            own, (self._clocks.good_at(key, beat, rollout, tick) for key, beat in others.items())
        )

    def _items(self) -> list[Item]:
        own = keys.controller(self._id)
        return [item for item in self._store.list(keys.CONTROLLERS).items if item.key != own]

    def beat(self, cases: Sequence[ArmedRollout], last_good: Mapping[str, float], *, tick: float, digest: str) -> None:
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
        cases: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Mapping[str, tuple[Finding, ...]],
        last_good: Mapping[str, float],
        watched_since: Mapping[str, float],
        tick: float,
        known: Known,
    ) -> list[LongBlind]:
        """Open, grow or close outages, with their pages; the rollouts that are to be tripped for blindness.

        ``known``: also of rollouts that are not watched here. ``last_good``: 0 for what we have never seen. Whoever has
        just begun to watch gives the source two ticks before calling it an outage, and calls none over before it has
        seen.
        """
        self._clocks.note(self._others, tick)
        horizon = self._horizon(tick)
        maybe = {
            name: decision
            for name, decision in decisions.items()
            if decision.action is DecisionKind.BLIND and max(last_good[name], watched_since[name]) <= horizon
        }
        by_name = {case.rollout.name: case for case in cases}
        for _ in range(_ATTEMPTS):
            before = self._outages.read()
            outages = before.outages
            if not maybe and not before.teams:
                return []
            # the heartbeats of the cycle's start are as old as a source that hangs is slow
            items = self._items()
            self._others = alive(items)
            good_at = {name: self._good_at(name, own, self._others, tick) for name, own in last_good.items()}
            blind = {
                name: Blind(
                    since=good_at[name] or watched_since[name],
                    why=decision.sentence,
                    target=_target(by_name[name].rollout.page),
                    family=_family(findings[name]),
                )
                for name, decision in maybe.items()
                if good_at[name] <= horizon
            }
            change = blindness.next_outages(
                outages, blind=blind, good_at=good_at, watched=self.watched(cases), tick=tick, interval=self._interval
            )
            guards = _unchanged(items) if change.started else ()
            try:
                if self._outages.write(change, before, _pages(change, by_name, blind, tick, known), guards):
                    break
            except OutcomeUnknown:
                break  # the next tick reads what became of it
        return _long_blind(change.open, by_name, blind, tick)

    def watched(self, cases: Sequence[ArmedRollout]) -> frozenset[str]:
        """By any replica: while rule files are being rolled out, one may not have another's rollouts yet."""
        theirs = (beat.judged for beat in self._others.values())
        return frozenset(case.rollout.name for case in cases).union(*theirs)

    def _horizon(self, tick: float) -> float:
        """A rollout is blind at ``tick`` if nobody has seen it since."""
        return tick - blindness.MISSED_TICKS * self._interval


def _unchanged(items: Sequence[Item]) -> tuple[Compare, ...]:
    return tuple(Compare(item.key, item.mod_revision) for item in items[:MOST_GUARDED])


def _target(settings: PageSettings) -> Target:
    return Target(settings.slack, settings.mention)


def _family(findings: Sequence[Finding]) -> str:
    """One metric store that is down blinds in one way, a label that is gone in another."""
    unread = any(finding.reason in _UNREAD for finding in findings)
    return "unread" if unread else "no data"


def _long_blind(
    outages: Sequence[Outage], by_name: Mapping[str, ArmedRollout], blind: Mapping[str, Blind], tick: float
) -> list[LongBlind]:
    found: list[LongBlind] = []
    for outage in outages:
        for name in sorted(outage.members.keys() & blind.keys()):
            after = _policy(by_name[name])
            # its own time, not the outage's; and what went before says nothing of a generation armed since
            since = max(outage.members[name].since, by_name[name].armed_at)
            if after is not None and tick - since >= after:
                found.append(LongBlind(by_name[name], since, tick))
    return found


def _policy(case: ArmedRollout) -> float | None:
    """After how many seconds of blindness the rule file says to trip; None also where no user has the canary."""
    without_canary = case.flag.stage == AA or case.flag.canary_percent == 0.0
    return None if without_canary else case.rollout.trip_when_blind_after


def _pages(
    change: OutageChange, by_name: Mapping[str, ArmedRollout], blind: Mapping[str, Blind], tick: float, known: Known
) -> dict[str, Page]:
    """By the outage's id."""
    built = {outage.id: _blind_page(outage, by_name, blind, tick) for outage in change.started}
    built |= {outage.id: _recovered_page(outage, known, tick) for outage in change.ended}
    built |= {outage.id: _left_page(outage, known, tick) for outage in change.left}
    return {outage: page for outage, page in built.items() if page is not None}


def _blind_page(
    outage: Outage, by_name: Mapping[str, ArmedRollout], blind: Mapping[str, Blind], tick: float
) -> Page | None:
    names = sorted(outage.members.keys() & blind.keys())
    if not names:
        return None
    trips = {
        name: outage.members[name].since + after
        for name in names
        if by_name[name].rollout.mode is not Mode.DRY_RUN and (after := _policy(by_name[name])) is not None
    }
    came_back = f" (it came back {outage.reopened} times before)" if outage.reopened else ""
    page = events.blind(
        [by_name[name].flag for name in names],
        why="; ".join(sorted({blind[name].why for name in names})) + came_back,
        since=outage.since,
        at=tick,
        settings=by_name[names[0]].rollout.page,
        trips=trips,
    )
    return identified(page, outage.id)


def _recovered_page(outage: Outage, known: Known, tick: float) -> Page | None:
    flags, settings = _concerned(outage, known)
    if not flags:
        return None
    page = events.recovered(
        PageKind.BLIND,
        flags,
        follows=outage.id,
        since=outage.since,
        at=tick,
        settings=settings,
        why=_came_and_went(outage),
    )
    return _each_return(page, outage)


def _left_page(outage: Outage, known: Known, tick: float) -> Page | None:
    flags, settings = _concerned(outage, known)
    if not flags:
        return None
    page = events.no_longer_watched(flags, follows=outage.id, since=outage.since, at=tick, settings=settings)
    return _each_return(page, outage)


def _each_return(page: Page, outage: Outage) -> Page:
    """Each return of one outage has an end of its own."""
    return identified(page, f"{page.id}.{outage.reopened}") if outage.reopened else page


def _concerned(outage: Outage, known: Known) -> tuple[list[Flag], PageSettings]:
    names = sorted(outage.members.keys() & known.flags.keys())
    settings = known.settings(names[0]) if names else PageSettings()
    return [known.flags[name] for name in names], replace(
        settings, slack=outage.target.slack, mention=outage.target.mention
    )


def _came_and_went(outage: Outage) -> str:
    if not outage.reopened:
        return ""
    times = "once" if outage.reopened == 1 else f"{outage.reopened} times"
    return (
        f"blind since {to_iso(math.floor(outage.since))}, off and on: it came back {times} after a RECOVERED, unpaged"
    )
