"""What the wants of a call need asked, at first and then secondly, and their readings; kept from cycle to cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from killswitch.model import Buckets, Reading, Unreadable, Want
from killswitch.sources.absence import is_doubtful, seen_asks
from killswitch.sources.asked import Asked
from killswitch.sources.asks import Ask, QueryLanguage, Same, Sum
from killswitch.sources.closer_looks import CLOSER, Closer, fell_lately, is_odd
from killswitch.sources.columns import Answers, Column, points_of, summed
from killswitch.sources.readings import readings_of


class Assembly:
    """What the wants of a call need asked, at first and, once that is known, secondly; and their readings.

    It depends on the wants alone, so it is kept from cycle to cycle. ``before`` is an earlier one that may share
    some of them.
    """

    def __init__(self, wants: Sequence[Want], language: QueryLanguage, before: Assembly | None = None) -> None:
        self.wants = tuple(wants)
        self.language = language
        known = before.asked if before is not None and before.language == language else {}
        self.asked: dict[tuple[str, str, str], Asked] = {}
        # a rollout's rules share most asks: equal asks are one object, or those of thousands of rules would take 30 MB
        same = Same()
        for want in wants:
            asked = known.get(want.key)
            as_before = asked is not None and (asked.want is want or asked.want == want)
            self.asked[want.key] = asked if asked is not None and as_before else Asked.of(want, language, same)
        self.asks: tuple[Ask, ...] = tuple(
            dict.fromkeys(ask for asked in self.asked.values() for need in asked.needs.values() for ask in need.at_once)
        )
        every = [need for asked in self.asked.values() for need in asked.needs.values()]
        self._falls: tuple[Sum, ...] = ()
        self._falls_of: dict[tuple[Ask, ...], tuple[Sum, ...]] = {}
        for need in every:
            others = self._falls_of.get(need.trials, ())
            # rules that share their trials nearly all bring the same falls: one object, not one a rule
            self._falls_of[need.trials] = tuple(dict.fromkeys((*others, *need.falls))) if others else need.falls
        self.histograms = tuple(need for need in every if need.layout)
        self.layouts: tuple[Sum, ...] = tuple(dict.fromkeys(ask for need in self.histograms for ask in need.layout))
        self.every_live: tuple[Ask, ...] = tuple(dict.fromkeys(ask for need in self.histograms for ask in need.live))
        self._ratios: dict[tuple[tuple[Ask, ...], ...], dict[Ask, None]] = {}
        for asked in self.asked.values():
            both = tuple(need.trials for need in asked.needs.values())
            self._ratios.setdefault(both, {}).update(
                (ask, None) for need in asked.needs.values() for ask in need.events
            )
        trials = {ask for need in every for ask in need.trials}
        self.events: frozenset[Ask] = frozenset(ask for need in every for ask in need.events if ask not in trials)
        # rules share their trials: what is looked at in each tick is computed once
        self._unknown = tuple(asked for asked in self.asked.values() if not asked.known)
        self._steps: dict[tuple[tuple[Ask, ...], tuple[Ask, ...]], float] = {
            (need.trials, need.recent): asked.want.seconds
            for asked in self.asked.values()
            for need in asked.needs.values()
            if need.trials_are_recent
        }

    def idle(self, answers: Answers) -> frozenset[Ask]:
        """The events that say nothing at one tick, because neither cohort has trials.

        In a service without judged counters, these are the events of all judged signals.
        """
        found: set[Ask] = set()
        needed: set[Ask] = set()
        for trials, events in self._ratios.items():
            there = any(None not in summed(each, answers, 1) for each in trials)
            (needed if there else found).update(events)
        return frozenset(found - needed)

    def lives(self, answers: Answers) -> list[Ask]:
        """How many histograms there are, of one tick, where there are any."""
        there = (need for need in self.histograms if isinstance(points_of(answers[need.trials[0]], 1)[0], Buckets))
        return list(dict.fromkeys(ask for need in there for ask in need.live))

    def absent(self, answers: Answers, ticks: int) -> dict[Ask, float]:
        """The asks that distinguish a stale cohort from an absent one, if it has no trials.

        For each ask, the seconds of the step without a number: there was no sample in them.
        """
        found: dict[Ask, float] = {}
        for (trials, recent), seconds in self._steps.items():
            if None in summed(trials, answers, ticks):
                found.update(dict.fromkeys(recent, seconds))
        return found

    def doubts(self, answers: Answers, ticks: int) -> list[Ask]:
        """The counters whose existence must be looked up: absent while there are trials, and never seen before."""
        doubtful: dict[Ask, None] = {}
        for asked in self._unknown:
            if is_doubtful(asked, answers, ticks):
                doubtful.update(dict.fromkeys(seen_asks(asked)))
        return list(doubtful)

    def closer(self, answers: Answers, falls: Answers, ticks: int) -> dict[Ask, Closer]:
        """The closer looks that are needed, by the ask whose answer they replace.

        If a counter fell or is new, the answer itself says so. For an hour after a fall that was no restart, the
        counter may come back.
        """
        found: dict[Ask, Closer] = {}
        odd = {
            ask for ask, column in answers.items() if not isinstance(column, Unreadable) and any(map(is_odd, column))
        }
        if not odd and not falls:
            return found
        for asked in self.asked.values():
            for need in asked.needs.values():
                lately = fell_lately(need, falls, ticks)
                for ask in (*need.trials, *need.events):
                    if ask in found or not isinstance(ask, Sum) or need.basis is None:
                        continue
                    if not lately and ask not in odd:
                        continue
                    where = [is_odd(point) for point in points_of(answers[ask], ticks)]
                    where = [one or other for one, other in zip(where, lately, strict=True)] if lately else where
                    if any(where):
                        found[ask] = Closer(replace(ask, shape=CLOSER[ask.shape], basis=need.basis), where)
        return found

    def falls(self, answers: Answers) -> Sequence[Sum]:
        """How often counters fell within an hour, of those that have trials at some tick; asked every few minutes only.

        Without trials there is no number that a fall could spoil. The same object is returned while it is the same.
        """
        there = (trials for trials in self._falls_of if any(_is_there(answers[ask]) for ask in trials))
        found = tuple(dict.fromkeys(ask for trials in there for ask in self._falls_of[trials]))
        if found != self._falls:
            self._falls = found
        return self._falls

    def readings(
        self, answers: Answers, seen: Answers, falls: Answers, ticks: int
    ) -> Iterator[dict[tuple[str, str, str], Reading]]:
        """One mapping a tick. ``seen`` answers `doubts`, at the first tick."""
        columns = [readings_of(asked, answers, seen, falls, ticks) for asked in self.asked.values()]
        for row in zip(*columns, strict=True) if columns else ((),) * ticks:
            yield dict(zip(self.asked, row, strict=True))


def _is_there(column: Column) -> bool:
    return isinstance(column, Unreadable) or any(point is not None for point in column)


class Assemblies:
    """The assemblies of the last few calls: each cycle asks for steps, windows and tokens, nearly always as before."""

    _REMEMBERED: Final = 5  # calls; for a thousand rollouts each takes tens of megabytes

    def __init__(self) -> None:
        self._kept: list[tuple[int, Assembly]] = []  # with the number of the call that used it last, newest first
        self._calls = 0

    def of(self, wants: Sequence[Want], language: QueryLanguage) -> Assembly:
        wants = tuple(wants)
        same = (one for _, one in self._kept if one.language == language and one.wants == wants)
        found = next(same, None) or Assembly(wants, language, before=self._nearest(wants))
        self._calls += 1
        others = [kept for kept in self._kept if kept[1] is not found and self._calls - kept[0] < self._REMEMBERED]
        self._kept = [(self._calls, found), *others]
        return found

    def _nearest(self, wants: Sequence[Want]) -> Assembly | None:
        """The newest one with the same parts: windows may have grown, or a rollout may have come or gone."""
        parts = {want.part for want in wants}
        return next((one for _, one in self._kept if parts == {want.part for want in one.wants}), None)
