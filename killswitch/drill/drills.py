"""What one replica does about drills: those that people ask for, those that are due, and those whose replica died.

Called every second. Of several replicas one runs a drill: its transaction holds only while no drill of the rollout is
under way. Drills of one replica are made one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from killswitch.drill import keeping
from killswitch.drill.keeping import OpenDrill
from killswitch.drill.live import Restored, restored
from killswitch.drill.looking import look_at_weather
from killswitch.drill.record import DrillOutcome, DrillRecord
from killswitch.drill.rehearsal import Means, Prepared, Rehearsal
from killswitch.drill.request import DrillRequest
from killswitch.drill.request import from_document as request_from_document
from killswitch.drill.results import left_in_words, pages_of_result
from killswitch.drill.schedule import LATE, first_due, is_sound, next_due, schedule_in_words
from killswitch.drill.standing import Claim, DrillStanding
from killswitch.drill.verdict import VerdictRehearsal
from killswitch.drill.weather import Weather, bad_weather
from killswitch.errors import AccessDenied, BadDocument, KillswitchError
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings, Rollout
from killswitch.pages import drill_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.status.reports import CycleReport
from killswitch.stores import Committed, Compare, Delete, Item, Put, keys
from killswitch.timestamps import to_iso
from killswitch.wording import date_and_time

log = logging.getLogger(__name__)
LOOK_AT_SCHEDULES: Final = 30.0  # seconds between two looks at what is due
TRY_AGAIN: Final = 300.0  # seconds until a scheduled drill that bad weather kept back is tried again
LOOK_AGAIN: Final = 5.0  # seconds after which a store that failed is asked again
REST: Final = 300.0  # seconds in which a store that refuses us is not asked
SCHEDULE: Final = "schedule"


@dataclass(frozen=True, slots=True)
class DrillTiming:
    """Of the daemon's ticks, in seconds."""

    interval: float
    step: float


class Drills:
    """``rollouts``: the rule files in force. ``latest``: this replica's newest cycle, and the seconds since it ended.

    ``trips``: rollouts whose trips are under way. ``settings`` gives a rollout's page settings. ``show`` gets the
    standings of all rollouts, for metrics.
    """

    def __init__(
        self,
        means: Means,
        *,
        rollouts: Callable[[], Mapping[str, Rollout]],
        latest: Callable[[], tuple[CycleReport, float] | None],
        trips: Callable[[], tuple[str, ...]],
        settings: Callable[[str], PageSettings],
        show: Callable[[Mapping[str, DrillStanding]], None],
        timing: DrillTiming,
    ) -> None:
        self._means = means
        self._store = means.store
        self._rollouts = rollouts
        self._latest = latest
        self._trips = trips
        self._settings = settings
        self._show = show
        self._timing = timing
        self._schedules_at = self._rests_until = 0.0
        self._not_before: dict[str, float] = {}

    def look(self) -> None:
        """Do what is to be done now. Errors of the store are logged: the next look tries again."""
        if self._means.monotonic() < self._rests_until:
            return
        try:
            self._finish_orphans()
            for item in self._store.list(keys.DRILL_REQUESTS).items:
                with _alone(item.key.removeprefix(keys.DRILL_REQUESTS)):
                    self._answer(item)
            now = self._means.monotonic()
            if now >= self._schedules_at:
                self._schedules_at = now + LOOK_AT_SCHEDULES
                self._look_at_schedules()
        except AccessDenied as error:
            self._rests_until = self._means.monotonic() + REST
            log.error("drills are not made: %s; see etcd's roles in docs/security.md", error)  # noqa: TRY400  ours
        except KillswitchError as error:
            self._rests_until = self._means.monotonic() + LOOK_AGAIN
            log.warning("drills are not looked at: %s", error)

    # --- what a person asks for -------------------------------------------------------------------

    def _answer(self, item: Item) -> None:
        rollout = item.key.removeprefix(keys.DRILL_REQUESTS)
        try:
            request = request_from_document(item.value, rollout=rollout)
        except BadDocument as error:
            log.warning("%s", error)
            self._store.commit((Compare(item.key, item.mod_revision),), (Delete(item.key),))
            return
        record = self._make(request, ends=item)
        if record is not None and record.outcome is DrillOutcome.REFUSED:
            log.warning("%s: no drill: %s", rollout, "; ".join(record.problems))

    # --- one drill --------------------------------------------------------------------------------

    def _make(
        self, request: DrillRequest, *, ends: Item | None = None, claim: Claim | None = None
    ) -> DrillRecord | None:
        """Make the drill; its record, also of one that was refused. None: another replica has it.

        ``ends``: the request that it answers; ``claim``: of a scheduled one, whose refusal is returned and not kept.
        Raises what the store raises before anything is begun.
        """
        means, rollout = self._means, request.rollout
        rules = self._rollouts().get(rollout)
        item = self._store.get(keys.flag(rollout))
        weather = look_at_weather(
            self._store, rollout, rules, item,
            latest=self._latest(), trips=self._trips(), live=request.live, now=means.wall(),
            interval=self._timing.interval,
        )  # fmt: skip
        record = self._record(request, weather)
        problems = bad_weather(weather)
        if problems:
            refused = replace(record, outcome=DrillOutcome.REFUSED, problems=tuple(problems), finished_at=means.wall())
            return refused if claim is not None else self._kept(refused, ends)
        assert rules is not None
        assert weather.flag is not None
        assert item is not None
        latest = self._latest()
        proven = VerdictRehearsal(
            rules, weather.flag, interval=self._timing.interval, step=self._timing.step,
            now=means.wall(), monotonic=means.monotonic,
        ).prove()  # fmt: skip
        if isinstance(proven, str):
            failed = record.settled((proven,), at=means.wall())
            return self._kept(failed, ends, claim, pages_of_result(failed, weather.flag, rules.page))
        cycle = 0.0 if latest is None else latest[0].seconds
        prepared = Prepared(record, rules, weather.flag, item, weather.routers, proven, cycle, ends, claim)
        return Rehearsal(prepared, means, others=lambda: self._finish_orphans(besides=rollout)).run()

    def _record(self, request: DrillRequest, weather: Weather) -> DrillRecord:
        flag = weather.flag
        return DrillRecord(
            rollout=request.rollout,
            number=keeping.next_number(self._store, request.rollout),
            live=request.live,
            by=request.by,
            origin=request.origin,
            controller=self._means.controller_id,
            began_at=self._means.wall(),
            generation=0 if flag is None else flag.generation,
            stage="" if flag is None else flag.stage,
            percent=0.0 if flag is None else flag.canary_percent,
            nonce=request.nonce,
        )

    def _kept(
        self, record: DrillRecord, ends: Item | None, claim: Claim | None = None, pages: Sequence[Page] = ()
    ) -> DrillRecord | None:
        kept = keeping.refuse(self._store, record, ends, claim, pages, at=self._means.wall())
        return record if kept else None

    # --- drills whose process has died --------------------------------------------------------------

    def _finish_orphans(self, *, besides: str = "") -> None:
        """``besides``: the rollout whose drill this replica makes."""
        for under_way in keeping.open_drills(self._store):
            if under_way.rollout == besides or self._store.get(keys.drill_runner(under_way.rollout)) is not None:
                continue
            with _alone(under_way.rollout):
                self._finish_orphan(under_way)

    def _finish_orphan(self, under_way: OpenDrill) -> None:
        rollout, now = under_way.rollout, self._means.wall()
        try:
            found = keeping.drill_called(self._store, rollout, under_way.number)
        except BadDocument as error:
            log.warning("%s", error)
            found = None
        if found is None:
            key = keys.drill_open(rollout)
            self._store.commit((Compare(key, under_way.revision),), (Delete(key),))
            return
        record = found[0]
        back = restored(self._store, record, wall=self._means.wall) if record.live else None
        problems = [f"controller {record.controller} stopped during it, or lost the store, so it was not timed"]
        if back is Restored.TOO_LATE:
            problems.append(left_in_words(record, back))
        record = record.settled(tuple(problems), at=now)
        record = replace(record, revision=record.revision or found[1])
        pages = pages_of_result(record, self._flag(rollout), self._settings(rollout))
        if keeping.finish(self._store, record, under_way, pages, at=now):
            log.warning("%s: drill %d is over: %s", rollout, record.number, "; ".join(problems))

    def _flag(self, rollout: str) -> Flag | None:
        item = self._store.get(keys.flag(rollout))
        try:
            return None if item is None else flag_from_document(item.value, rollout=rollout)
        except BadDocument:
            return None

    # --- what is due ------------------------------------------------------------------------------

    def _look_at_schedules(self) -> None:
        stored = keeping.standings_of_all(self._store)
        for name, rules in sorted(self._rollouts().items()):
            if not rules.drill.every and name not in stored:
                continue
            standing, revision = stored.get(name, (DrillStanding(name), 0))
            with _alone(name):
                self._look_at(rules, standing, revision)
        self._show({name: one for name, (one, _) in keeping.standings_of_all(self._store).items()})

    def _look_at(self, rules: Rollout, standing: DrillStanding, revision: int) -> None:
        now, schedule = self._means.wall(), schedule_in_words(rules.drill)
        if standing.schedule != schedule or not is_sound(rules.drill, standing.due, now):
            due = first_due(rules.drill, rules.name, now)
            self._put(replace(standing, schedule=schedule, due=due, why="", missed=False), revision)
            return
        if standing.due is None or now < standing.due:
            return
        if now - standing.due > LATE:
            self._missed(rules, standing, revision)
            return
        if self._means.monotonic() < self._not_before.get(rules.name, 0.0):
            return
        self._not_before[rules.name] = self._means.monotonic() + TRY_AGAIN
        after = next_due(rules.drill, standing.due, now)
        claim = Claim(replace(standing, due=after, why="", missed=False), revision)
        made = self._make(DrillRequest(rules.name, False, SCHEDULE, "", to_iso(standing.due)), claim=claim)
        if made is not None and made.outcome is DrillOutcome.REFUSED:
            why = "; ".join(made.problems)
            log.warning("%s: the drill that is due waits: %s", rules.name, why)
            self._put(replace(standing, why=why), revision)  # it stays due: tried again, or missed in the end

    def _missed(self, rules: Rollout, standing: DrillStanding, revision: int) -> None:
        """Its time is over: page, unless there is nothing that a drill could have rolled back."""
        assert standing.due is not None
        flag, now = self._flag(rules.name), self._means.wall()
        after = replace(standing, due=next_due(rules.drill, standing.due, now), why="")
        if flag is None or not flag.armed:
            self._put(after, revision)
            return
        page = drill_events.drill_missed(
            flag, why=standing.why or "no controller was running at that time", due=date_and_time(standing.due),
            identity=f"{standing.due:.0f}", at=now, settings=rules.page,
        )  # fmt: skip
        if self._put(replace(after, missed=True), revision, into_outbox(page, at=now)):
            log.error("%s: a drill was missed: %s", rules.name, page.why)

    def _put(self, standing: DrillStanding, revision: int, *more: Put) -> bool:
        claim = Claim(standing, revision)
        return isinstance(self._store.commit((claim.compare(),), (claim.put(), *more)), Committed)


@contextmanager
def _alone(rollout: str) -> Iterator[None]:
    """What one rollout's drill cannot do yet keeps no other back: the next look tries again. AccessDenied ends all."""
    try:
        yield
    except AccessDenied:
        raise
    except KillswitchError as error:
        log.warning("%s: its drill is looked at again: %s", rollout, error)
