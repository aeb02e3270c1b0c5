"""Control after a trip that gave it much traffic: it is read for half an hour, and people are paged if it drowns.

Nothing is ever flipped here: there is no other model to go to.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from killswitch.controller.announcements import Announcements
from killswitch.controller.known_flags import KnownFlags
from killswitch.deadline import Deadline
from killswitch.flags.flag import Flag
from killswitch.model import Measurement, Range, Readings, Rollout, Rule, Unreadable, Want
from killswitch.pages import drowning_events
from killswitch.sources import Source
from killswitch.verdicts.catch_up import PASSING, last_step, steps
from killswitch.verdicts.control_drowning import WATCHED_FOR, drowning, is_watched, watched_rules

log = logging.getLogger(__name__)
PART: Final = "control after a trip"
MOST: Final = 100  # rollouts watched at a time, those that were tripped last
_FRESH_AT_ONCE: Final = 10  # whose past is read in one cycle


@dataclass(slots=True)
class _Watched:
    """One trip. ``numbers``: control's, by tick and rule, of each step that was read."""

    flag: Flag
    rules: tuple[Rule, ...]
    numbers: dict[float, Mapping[str, Measurement]] = field(default_factory=dict)
    told: bool = False


class ControlAfterTrips:
    """What one replica knows of control after trips. ``step``: seconds between evidence ticks."""

    def __init__(self, source: Source, *, known: KnownFlags, announcements: Announcements, step: float) -> None:
        self._source = source
        self._known = known
        self._announcements = announcements
        self._step = step
        self._watched: dict[str, _Watched] = {}

    def look(self, rollouts: Mapping[str, Rollout], tick: float, deadline: Deadline) -> None:
        """Read what is missing as far as time allows, judge it, and page."""
        self._note_trips(rollouts, tick)
        open_ones = {name: one for name, one in self._watched.items() if not one.told}
        for ticks, names in self._missing(open_ones, last_step(tick, self._step)).items():
            if deadline.expired:
                return
            self._read({name: open_ones[name] for name in names}, rollouts, ticks, deadline)
        for name, one in open_ones.items():
            self._judge(one, rollouts[name], tick)

    def _note_trips(self, rollouts: Mapping[str, Rollout], tick: float) -> None:
        tripped = [
            flag
            for name, flag in self._known.flags.items()
            if name in rollouts and is_watched(flag, tick) and watched_rules(rollouts[name].rules)
        ]
        newest = sorted(tripped, key=lambda flag: flag.trip.at if flag.trip else 0.0)[-MOST:]
        kept: dict[str, _Watched] = {}
        for flag in newest:
            rules, before = watched_rules(rollouts[flag.rollout].rules), self._watched.get(flag.rollout)
            same = before is not None and (before.flag.trip, before.rules) == (flag.trip, rules)
            kept[flag.rollout] = before if before is not None and same else _Watched(flag, rules)
        self._watched = kept

    def _missing(self, open_ones: Mapping[str, _Watched], newest: float) -> Mapping[tuple[float, ...], list[str]]:
        """The rollouts by the ticks that are still to be read of them."""
        found: dict[tuple[float, ...], list[str]] = {}
        fresh = 0
        for name, one in open_ones.items():
            if not one.numbers:
                fresh += 1
                if fresh > _FRESH_AT_ONCE:
                    continue
            assert one.flag.trip is not None
            begin = last_step(one.flag.trip.at, self._step) - WATCHED_FOR
            ticks = tuple(at for at in steps(begin, newest, self._step) if at not in one.numbers)
            if ticks:
                found.setdefault(ticks, []).append(name)
        return found

    def _read(
        self,
        some: Mapping[str, _Watched],
        rollouts: Mapping[str, Rollout],
        ticks: Sequence[float],
        deadline: Deadline,
    ) -> None:
        wants = [self._want(rollouts[name], rule) for name, one in some.items() for rule in one.rules]
        if len(ticks) == 1:
            readings: Mapping[float, Readings] = {ticks[0]: self._source.read(wants, ticks[0], deadline)}
        else:
            readings = self._source.read_back(wants, ticks, deadline)
        for at in ticks:
            for name, one in some.items():
                numbers = {rule.name: readings[at][(name, rule.name, PART)].control for rule in one.rules}
                # what the source may answer later is asked again
                if not all(isinstance(side, Unreadable) and side.reason in PASSING for side in numbers.values()):
                    one.numbers[at] = numbers

    def _want(self, rollout: Rollout, rule: Rule) -> Want:
        return Want(
            rollout=rollout.name,
            rule=rule.name,
            part=PART,
            signal=rule.signal,
            cohorts=rollout.cohorts_of(rule),
            seconds=self._step,
            range=Range.STEP,
            absent_is_zero=rule.absent_is_zero,
            shown=rollout.window,
        )

    def _judge(self, one: _Watched, rollout: Rollout, tick: float) -> None:
        assert one.flag.trip is not None
        found = drowning(one.rules, one.numbers, tripped_at=one.flag.trip.at, step=self._step)
        if not found:
            return
        names, sentences = [each.rule for each in found], [each.sentence for each in found]
        log.warning("%s: control drowns: %s", rollout.name, "; ".join(sentences))
        page = partial(
            drowning_events.control_drowns, one.flag, names, sentences, at=tick, settings=rollout.page
        )  # fmt: skip
        self._announcements.add(one.flag, "control_drowns", page)
        one.told = True
