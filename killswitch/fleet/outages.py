"""Blindness is a state of the fleet, and an outage is one thing for each team however many rollouts it blinds.

One document a team in the store lists its outages. A replica that cannot see adds to it only when no replica's
heartbeat reports a good evaluation; the compare makes the page one page.

Rollouts that go blind at about the same time, in the same way and with the same people to page share an
outage. Each of them keeps the time of its own last good evaluation, from which its policy counts. An outage
is over after some good ticks in a row; what goes blind again soon after reopens it without another page.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from killswitch.fleet.page_target import NO_TARGET, Target
from killswitch.timestamps import to_iso

# Two ticks in a row: one may be a hiccup, and the page must go out within three intervals of the outage's start.
MISSED_TICKS = 2
# A metric store that comes and goes is not back.
GOOD_TICKS = 3
# A rollout that goes blind within this many ticks of an outage's start belongs to it.
JOINING_TICKS = 3
# Blind again within this many seconds of RECOVERED is the same outage, paged again only if it lasts this many ticks
# longer than a hiccup.
REOPEN_WITHIN = 600.0
STAYED_TICKS = 1
# After this many returns the required stretch of good ticks no longer grows.
_PATIENCE = 2
# Heartbeats of replicas differ by a tick or two; a good evaluation this far ahead (seconds) was never made.
_AHEAD = 600.0


@dataclass(frozen=True, slots=True)
class Blind:
    """A rollout that no replica sees now. ``since``: its last good evaluation, or when it was first watched.

    ``family``: in what way it is blind, where one cause is not likely to blind in two ways.
    """

    since: float
    why: str
    target: Target = NO_TARGET
    family: str = ""


@dataclass(frozen=True, slots=True)
class BlindRollout:
    """A rollout of an outage. ``since``: its last good evaluation; ``seen_from``: the first of those in a row."""

    since: float
    seen_from: float | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """Times in Unix seconds. ``since``: the first member's last good evaluation; ``opened``: the tick of its page.

    ``ended``: the tick it was over; it is kept for a while, because it may come back. ``reopened``: how often it did.
    ``untold_since``: the tick of a return that has not been paged.
    """

    id: str
    since: float
    opened: float
    members: Mapping[str, BlindRollout]
    target: Target = NO_TARGET
    family: str = ""
    ended: float | None = None
    reopened: int = 0
    untold_since: float | None = None


@dataclass(frozen=True, slots=True)
class OutageChange:
    """What became of the outages at one tick. ``outages``: all to be remembered; each of ``started`` is to be paged.

    ``left``: open ones whose rollouts no replica watches any more; their page is closed without a verdict.
    ``renamed``: the id that an outage paged again had before, by its new one.
    """

    outages: tuple[Outage, ...]
    started: tuple[Outage, ...] = ()
    ended: tuple[Outage, ...] = ()
    left: tuple[Outage, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> tuple[Outage, ...]:
        return tuple(outage for outage in self.outages if outage.ended is None)


@dataclass(slots=True)
class _Step:
    """One tick's work on the outages."""

    tick: float
    interval: float
    good_at: Mapping[str, float]
    watched: frozenset[str]
    kept: list[Outage] = field(default_factory=list)
    started: list[Outage] = field(default_factory=list)
    ended: list[Outage] = field(default_factory=list)
    left: list[Outage] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def look_after(self, outage: Outage) -> None:
        """Who sees again, who is gone, and whether that ends it."""
        if outage.ended is not None:
            if self.tick - outage.ended <= REOPEN_WITHIN:
                self.kept.append(outage)
            return
        members = {name: self._looked_at(one) for name, one in self._watched(outage, self.good_at)}
        if not members:
            if outage.untold_since is None:  # else RECOVERED was the last page
                self.left.append(outage)
            return
        # the more often an outage has returned, the more good ticks in a row end it
        enough = GOOD_TICKS * 2 ** min(outage.reopened, _PATIENCE) - 1
        if all(self._in_a_row(one) >= enough * self.interval for one in members.values()):
            over = replace(outage, members=members, ended=self.tick, untold_since=None)
            self.kept.append(over)
            self.ended.append(over)
            return
        # Seen for long while others stay blind: should it go blind again, that is news.
        members = {name: one for name, one in members.items() if self._in_a_row(one) <= REOPEN_WITHIN}
        self.kept.append(replace(outage, members=members))

    def take_in(self, blind: Mapping[str, Blind]) -> None:
        """A blind rollout that is in no outage yet reopens one, joins one, or starts one."""
        covered = {name for outage in self.kept if outage.ended is None for name in outage.members}
        fresh = {name: one for name, one in blind.items() if name not in covered}
        for index, outage in enumerate(self.kept):
            if outage.ended is not None:
                back = {name for name, one in fresh.items() if name in outage.members and one.target == outage.target}
                if back:
                    self.kept[index] = self._reopened(outage, {name: fresh.pop(name) for name in back})
            elif self.tick - outage.opened <= JOINING_TICKS * self.interval:
                same = {n: b for n, b in fresh.items() if (b.target, b.family) == (outage.target, outage.family)}
                members = {**outage.members, **{name: BlindRollout(fresh.pop(name).since) for name in same}}
                self.kept[index] = replace(outage, members=members)
        groups: dict[tuple[Target, str], dict[str, Blind]] = {}
        for name, one in sorted(fresh.items()):
            groups.setdefault((one.target, one.family), {})[name] = one
        for (target, family), together in groups.items():
            started = Outage(
                id=self._id(target, family),
                since=min(one.since for one in together.values()),
                opened=self.tick,
                members={name: BlindRollout(one.since) for name, one in together.items()},
                target=target,
                family=family,
            )
            self.kept.append(started)
            self.started.append(started)

    def page_what_stayed_away(self, blind: Mapping[str, Blind]) -> None:
        """A return that lasts longer than a hiccup: the people who were paged RECOVERED must know."""
        for index, outage in enumerate(self.kept):
            away = [self.good_at.get(name, blind[name].since) for name in outage.members.keys() & blind.keys()]
            if outage.untold_since is None or not away:
                continue
            began = min(away)
            if self.tick - began >= (MISSED_TICKS + STAYED_TICKS) * self.interval:
                identity = self._id(outage.target, outage.family)
                again = replace(outage, id=identity, since=began, opened=self.tick, untold_since=None)
                self.kept[index] = again
                self.started.append(again)
                self.renamed[again.id] = outage.id

    def _reopened(self, outage: Outage, back: Mapping[str, Blind]) -> Outage:
        members = {**outage.members, **{name: BlindRollout(one.since) for name, one in back.items()}}
        return replace(outage, members=members, ended=None, reopened=outage.reopened + 1, untold_since=self.tick)

    def _watched(
        self, outage: Outage, good_at: Mapping[str, float]
    ) -> Iterable[tuple[str, tuple[BlindRollout, float]]]:
        for name, member in outage.members.items():
            if name in self.watched:
                yield name, (member, good_at.get(name, 0.0))

    def _looked_at(self, known: tuple[BlindRollout, float]) -> BlindRollout:
        member, good = known
        if member.since > self.tick + _AHEAD:
            member = BlindRollout(self.tick)  # a document that was tampered with must not hold an outage open for ever
        if good > member.since:
            in_a_row = member.seen_from is not None and good - member.since <= 1.5 * self.interval
            return BlindRollout(good, member.seen_from if in_a_row else good)
        if member.seen_from is not None and self.tick - member.since >= MISSED_TICKS * self.interval:
            return BlindRollout(member.since)
        return member

    @staticmethod
    def _in_a_row(member: BlindRollout) -> float:
        """Seconds between the first and the last of the good ticks in a row; negative for none."""
        return -1.0 if member.seen_from is None else member.since - member.seen_from

    def _id(self, target: Target, family: str) -> str:
        identity = f"blind.{to_iso(self.tick)}.{target.digest(family)[:8]}"
        if not self.ids:
            self.ids = {outage.id for outage in self.kept}
        number = next(n for n in itertools.count(1) if self._numbered(identity, n) not in self.ids)
        self.ids.add(self._numbered(identity, number))
        return self._numbered(identity, number)

    @staticmethod
    def _numbered(identity: str, number: int) -> str:
        """Two outages of one team may come back at one tick."""
        return identity if number == 1 else f"{identity}.{number}"


def next_outages(
    outages: Iterable[Outage],
    *,
    blind: Mapping[str, Blind],
    good_at: Mapping[str, float],
    watched: frozenset[str],
    tick: float,
    interval: float,
) -> OutageChange:
    """Pure. ``blind``: rollouts no replica sees; ``good_at``: the fleet's last good evaluation of each; ``watched``:
    rollouts that any replica watches.

    A rollout leaves its outage when no replica watches it any more, or when it has been seen for long while others are
    blind.
    """
    step = _Step(tick, interval, good_at, watched)
    for outage in outages:
        step.look_after(outage)
    step.take_in(blind)
    step.page_what_stayed_away(blind)
    return OutageChange(tuple(step.kept), tuple(step.started), tuple(step.ended), tuple(step.left), step.renamed)
