"""Live spend in each cycle: which rollouts are counted now, and what of their spend is not known.

One cycle counts at most `MOST_ROLLOUTS`, so that a thousand of them cost a handful of calls; the others are counted by
the next cycles, which read back the steps in between. A canary that is near one of its caps does not wait.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Final

from killswitch.controller.announcements import Announcements
from killswitch.controller.live_tokens import Billed, read_steps
from killswitch.deadline import Deadline
from killswitch.errors import BadDocument
from killswitch.flags.flag import SHADOW
from killswitch.model import Cohort
from killswitch.pages import spend_events
from killswitch.sources import Source
from killswitch.spend.live import LiveCost
from killswitch.spend.live_counting import SCOPES_A_COMMIT, LiveSpend, Uncounted
from killswitch.spend.prices import PriceList
from killswitch.spend.rule_files import ledger_scope
from killswitch.timestamps import to_iso
from killswitch.verdicts.armed_rollout import ArmedRollout

log = logging.getLogger(__name__)
MOST_STEPS: Final = 40  # that are read back in one cycle; an older gap is counted as unknown
MOST_COMMITS: Final = 8
MOST_ROLLOUTS: Final = MOST_COMMITS * SCOPES_A_COMMIT // 2  # each has two scopes
_SPANS: Final = (1, 8, MOST_STEPS)  # rollouts that are as far behind are read together
UNREAD_FOR: Final = 900.0  # seconds without billed tokens until a person is paged


def control_scope(rollout: str) -> str:
    return f"control:{rollout}"


@dataclass(frozen=True, slots=True)
class Due:
    """A rollout with steps that are not counted, and how many. ``near``: it has used half of one of its caps."""

    armed: ArmedRollout
    prices: PriceList
    behind: int
    near: bool = False

    @property
    def overdue(self) -> bool:
        """Whether it must be counted now, or steps grow too old to be read back."""
        return self.behind >= MOST_STEPS // 2

    @property
    def scopes(self) -> Mapping[Cohort, str]:
        name = self.armed.rollout.name
        return {Cohort.CANARY: ledger_scope("rollout", name), Cohort.CONTROL: control_scope(name)}


@dataclass(slots=True)
class LiveCounting:
    """Counts the armed rollouts' live spend. ``unknown``: why it is not known, by rollout, as of the last `count`."""

    source: Source
    live: LiveSpend
    announcements: Announcements
    step: float
    unknown: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)  # the first tick of a scope that is not counted yet

    def count(
        self,
        all_armed: Sequence[ArmedRollout],
        prices: Mapping[str, PriceList],
        newest: float,
        near: frozenset[str],
        deadline: Deadline,
    ) -> None:
        """Count up to the step that ends at ``newest`` (Unix seconds).

        ``near``: the rollouts that have used half of one of their caps. Raises as the store.
        """
        priced = [
            (armed, prices[armed.rollout.name])
            for armed in all_armed
            if armed.rollout.name in prices and armed.flag.stage != SHADOW
        ]
        self.unknown = {name: why for name, why in self.unknown.items() if name in {a.rollout.name for a, _ in priced}}
        if not priced:
            return
        self.live.read()
        due = [
            Due(armed, known, behind, armed.rollout.name in near)
            for armed, known in priced
            if (behind := self._behind(armed.rollout.name, newest)) > 0
        ]
        chosen = chosen_now(due)
        uncounted = list(self._uncounted(chosen, newest, deadline))
        counted = self.live.count(uncounted)
        for one in chosen:
            self._note(one, counted.costs, counted.problems, newest)

    def _behind(self, name: str, newest: float) -> int:
        """How many steps are not counted, of the cohort that is further behind."""
        ticks = []
        for scope in (ledger_scope("rollout", name), control_scope(name)):
            try:
                counted = self.live.counted(scope)
            except BadDocument:
                continue  # `count` names it
            if counted is None:
                ticks.append(self._seen.setdefault(scope, newest) - self.step)
            else:
                self._seen.pop(scope, None)
                ticks.append(counted.tick)
        return math.ceil((newest - min(ticks, default=newest - self.step)) / self.step - 1e-9)

    def _uncounted(self, chosen: Sequence[Due], newest: float, deadline: Deadline) -> Iterable[Uncounted]:
        for fewer, most in pairwise((0, *_SPANS)):
            together = [one for one in chosen if fewer < min(one.behind, MOST_STEPS) <= most]
            if not together:
                continue
            back = max(min(one.behind, MOST_STEPS) for one in together)
            ticks = [newest - number * self.step for number in range(back - 1, -1, -1)]
            asked = [
                Billed(
                    one.armed.rollout,
                    {Cohort.CANARY: one.armed.flag.canary, Cohort.CONTROL: one.armed.flag.control},
                )
                for one in together
            ]
            steps = read_steps(self.source, asked, ticks, self.step, deadline)
            for one in together:
                for cohort, scope in one.scopes.items():
                    # of a new rollout nothing is counted from before it was first seen
                    own = steps[one.armed.rollout.name][cohort][-one.behind :]
                    yield Uncounted(scope, own, one.prices)

    def _note(self, one: Due, costs: Mapping[str, LiveCost], problems: Mapping[str, str], newest: float) -> None:
        """What is not known of this rollout; a page where that lasts."""
        name = one.armed.rollout.name
        self.unknown.pop(name, None)
        for cohort, scope in one.scopes.items():
            model = one.armed.flag.canary if cohort is Cohort.CANARY else one.armed.flag.control
            if scope in problems:
                self.unknown[name] = problems[scope]
                log.error("%s: live spend is not counted: %s; repair or delete it", name, problems[scope])
            elif costs[scope].waits_for is not None:
                self._note_unknown(one, model, costs[scope], newest)

    def _note_unknown(self, one: Due, model: str, cost: LiveCost, newest: float) -> None:
        """A price that is missing is paged at once, counters that cannot be read after a while; once a day."""
        name, why = one.armed.rollout.name, cost.waits_for or ""
        if one.prices.price(model, newest) is not None and newest - cost.counted.tick < UNREAD_FOR:
            return
        self.unknown.setdefault(name, why)
        page = partial(spend_events.spend_unknown, one.armed.flag, why, at=newest, settings=one.armed.rollout.page)
        self.announcements.add(one.armed.flag, f"spend_unknown.{to_iso(newest)[:10]}", page)


def chosen_now(due: Sequence[Due]) -> Sequence[Due]:
    """Whatever is overdue; of the others those near a cap, and then those that have waited longest."""
    overdue = [one for one in due if one.overdue]
    others = sorted((one for one in due if not one.overdue), key=lambda one: (not one.near, -one.behind))
    return (*overdue, *others[:MOST_ROLLOUTS])
