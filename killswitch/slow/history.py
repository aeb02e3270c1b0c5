"""Who was exposed to the canary from when on: waves of users, by their place on the split, from the flag's history.

A wave is the users whom a raise of the percent brought to the canary for the first time. They stay in the canary's
cohort, also after a trip (intention to treat); whoever was in no wave is control. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from killswitch.flags.flag import AA, SHADOW, Flag, StageEntry
from killswitch.flags.incident import Incident

BUCKETS = 10_000  # places on the split, as in flags.bucketing


@dataclass(frozen=True, slots=True)
class Wave:
    """Users with a place from ``low`` to below ``high`` percent under ``salt``, exposed ``at`` (Unix seconds).

    ``of_all``: the share of all users that it has, 0 to 1.
    """

    at: float
    salt: str
    low: float
    high: float
    generation: int
    of_all: float


@dataclass(frozen=True, slots=True)
class ExposureHistory:
    """The waves, the oldest first. ``judged_from``: days before this time decide nothing; 0.0 for all of them."""

    rollout: str
    waves: tuple[Wave, ...]
    judged_from: float = 0.0

    @property
    def salts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(wave.salt for wave in self.waves))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days ``first`` to ``last`` (since 1970) in which no user changes cohort; ``share``: the canary's of users."""

    first: int
    last: int
    share: float


def stretches_of(history: ExposureHistory, days: Sequence[tuple[int, int]], last: int) -> tuple[Stretch, ...]:
    """The stretches up to ``last`` in which both cohorts have users.

    ``days``: of each wave the day of its exposure, and the first day on which it counts as canary. In between its users
    count in neither cohort.
    """
    edges = sorted({day for pair in days for day in pair if day <= last} | {last + 1})
    found = []
    for begin, end in pairwise(edges):
        canary = sum(wave.of_all for wave, (_, counted) in zip(history.waves, days, strict=True) if counted <= begin)
        exposed = sum(wave.of_all for wave, (day, _) in zip(history.waves, days, strict=True) if day <= begin)
        control = max(1.0 - exposed, 0.0)
        if canary > 0.0:
            found.append(Stretch(begin, end - 1, canary / (canary + control)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class EarlierGeneration:
    """What is known of a generation that was tripped: with which salt, and its stages."""

    generation: int
    salt: str
    stages: tuple[StageEntry, ...]


def earlier_generations(flag: Flag, incidents: Iterable[Incident]) -> tuple[EarlierGeneration, ...]:
    """The generations of this canary before the flag's, from their incidents.

    A generation of another canary model says nothing about this one.
    """
    return tuple(
        EarlierGeneration(one.generation, one.salt, one.stages)
        for one in incidents
        if one.generation < flag.generation and one.canary == flag.rollout_canary
    )


def history_of(flag: Flag, earlier: Iterable[EarlierGeneration] = ()) -> ExposureHistory:
    """The waves of a flag and of the generations before it."""
    raised: dict[str, float] = {}  # salt -> the highest percent so far
    found: list[Wave] = []
    for at, salt, percent, generation in sorted(_exposures(flag, earlier)):
        before = raised.get(salt, 0.0)
        if percent > before:
            others = 1.0
            for other, most in raised.items():
                others *= 1.0 if other == salt else 1.0 - most / 100.0
            found.append(Wave(at, salt, before, percent, generation, (percent - before) / 100.0 * others))
            raised[salt] = percent
    return ExposureHistory(flag.rollout, tuple(found), flag.unpinned_at or 0.0)


def places_below(percent: float) -> int:
    """How many places of the split are below ``percent``, as `flags.bucketing` compares them."""
    return next((place for place in range(BUCKETS) if place / 100 >= percent), BUCKETS)


def _exposures(flag: Flag, earlier: Iterable[EarlierGeneration]) -> Iterator[tuple[float, str, float, int]]:
    for one in (*earlier, EarlierGeneration(flag.generation, flag.salt, flag.stages)):
        for entry in one.stages:
            if entry.stage not in (AA, SHADOW):  # there the control model answers everyone
                yield entry.at, one.salt, entry.percent, one.generation
