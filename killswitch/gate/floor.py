"""The floor of agreement: how often prod disagrees with itself, and how much more often the candidate disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.gate.intervals import difference_high, difference_low, share_high, share_low
from killswitch.gate.look_schedule import Look
from killswitch.gate.observations import Observation
from killswitch.gate.percentages import high_end, low_end, percent
from killswitch.wording import counted

MARGIN = 0.02  # a candidate may disagree with prod on this share of rows more than prod does with itself
REPEATED_FIRST = 50  # rows of which prod is asked twice in any case
REPEATED_LATER = 5  # afterwards each 5th row, while prod's own disagreement does not matter
MOST_OWN = 0.25  # where prod contradicts itself more often, agreement with it says nothing
SHOWN = 0.025  # each end of the interval that is shown


@dataclass(frozen=True, slots=True)
class Floor:
    """How often prod disagrees with itself, and the candidate with prod, on the rows of which prod was asked twice.

    ``rows``: how many; with none, all else is None. ``disagreement``, ``low`` and ``high``: prod's own, with its 95 %
    interval. ``more``, ``more_low`` and ``more_high``: how much more often the candidate disagrees; it may be
    ``margin``. The ends of ``more`` are those that decide.
    """

    rows: int
    disagreement: float | None
    low: float | None
    high: float | None
    more: float | None
    more_low: float | None
    more_high: float | None
    margin: float
    sentence: str

    @property
    def is_near_enough(self) -> bool:
        """Whether it is shown that the candidate disagrees at most ``margin`` more often than prod does."""
        if self.more_high is None or self.disagreement is None:
            return False
        return self.more_high <= self.margin and self.disagreement <= MOST_OWN

    @property
    def is_too_far(self) -> bool:
        """Whether the opposite is shown. Without a second answer of prod nothing speaks for the candidate."""
        return self.more_low is None or self.more_low > self.margin


def repeats(row: int, observations: Sequence[Observation]) -> bool:
    """Whether prod is asked twice on row ``row`` (from 0), given the rows that the newest look judged (none before it).

    The first 50 rows: yes. Then each 5th row, or every row while prod has disagreed with itself on 2 % or more: then
    the floor may decide, and it is known as well as the agreement itself.
    """
    if row < REPEATED_FIRST or row % REPEATED_LATER == 0:
        return True
    marks = [one.prod_agrees_with_itself for one in observations if one.prod_agrees_with_itself is not None]
    return not marks or marks.count(False) >= MARGIN * len(marks)


def floor_of(observations: Sequence[Observation], look: Look) -> Floor:
    """The floor, with ends for ``more`` of the look's errors; half of the error of passing is for this comparison."""
    twice = [one for one in observations if one.prod_agrees_with_itself is not None]
    if not twice:
        return Floor(0, None, None, None, None, None, None, MARGIN, "prod was asked once, so its floor is not known")
    size = len(twice)
    own = sum(one.prod_agrees_with_itself is False for one in twice)
    candidates = sum(not one.agrees for one in twice)
    both = sum(not one.agrees and one.prod_agrees_with_itself is False for one in twice)
    alone, own_alone = candidates - both, own - both
    low, high = share_low(own, size, SHOWN), share_high(own, size, SHOWN)
    return Floor(
        rows=size,
        disagreement=own / size,
        low=low,
        high=high,
        more=(candidates - own) / size,
        more_low=difference_low(alone, own_alone, size, look.against_it),
        more_high=difference_high(alone, own_alone, size, look.for_it / 2),
        margin=MARGIN,
        sentence=f"prod disagrees with itself on {own} of {counted(size, 'row')} ({percent(own / size)}, between "
        f"{low_end(low)} and {high_end(high)}); the candidate disagrees with prod on {candidates} of them; "
        f"{MARGIN * 100:g} percentage points more than prod with itself are allowed",
    )
