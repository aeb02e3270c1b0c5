"""One cycle: read both cohorts at one tick, judge every rule, decide, and act before anyone is paged.

It reads top to bottom in `Controller.run_cycle` and ends in one sentence a rollout. Nothing that the
metric store or the flag store does raises out of it; a failure becomes an UNKNOWN and a sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from killswitch.controller.acting import Acting
from killswitch.controller.announcements import Announcements
from killswitch.controller.armings import Armings
from killswitch.controller.control_after_trips import ControlAfterTrips
from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.ramping import Ramping
from killswitch.controller.recipients import Recipients
from killswitch.controller.slow_standings import SlowStandings
from killswitch.controller.spending import Spending
from killswitch.controller.store_health import StoreHealth
from killswitch.controller.tick_clock import TickClock
from killswitch.controller.tick_reader import Findings, TickReader
from killswitch.deadline import Deadline
from killswitch.errors import BadTransaction, KillswitchError
from killswitch.flags.flag import SHADOW
from killswitch.fleet.outage_pages import Concerned
from killswitch.fleet.session import Session
from killswitch.fleet.sight import FleetSight
from killswitch.fleet.store_outage import StoreOutage
from killswitch.model import Rollout
from killswitch.pages.notices import Notices
from killswitch.pages.page import Page
from killswitch.roles.config import RoleConfig
from killswitch.rules.loading import Rules
from killswitch.sources import Source
from killswitch.spend.prices import PriceList
from killswitch.status import reports
from killswitch.status.reports import CycleReport, FlagsRead, RolloutReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import Store
from killswitch.trips.switch import Switch
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.decide import Decision, decide
from killswitch.verdicts.evaluator import Evaluator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds throughout; see settings.py for what each means and which combinations are refused."""

    interval: float = 30.0
    step: float = 30.0
    lag: float = 5.0
    cycle_deadline: float = 10.0
    max_evidence_age: float = 60.0
    session_ttl: float = 15.0
    store_patience: float = 15.0


class Controller:
    """Runs cycles; one thread calls `run_cycle`, others may call `renew`, `retry` and read `latest`.

    ``rules`` gives the rules in force. ``send`` delivers a page without the flag store; ``flipped`` gets
    rollout, generation and store revision of every flip of ours, once it is committed. ``prices`` gives what tokens
    cost, by rollout, where a rule file says it; ``roles`` the role files. ``monotonic`` and
    ``wall`` are clocks in seconds; verdicts depend on neither.
    """

    def __init__(  # long: it builds the parts that the cycle is made of, and each needs some of the others
        self,
        *,
        controller_id: str,
        version: str,
        source: Source,
        store: Store,
        switch: Switch,
        session: Session,
        rules: Callable[[], Rules],
        send: Callable[[Page], None],
        flipped: Callable[[str, int, int], None],
        timing: Timing,
        metrics: SelfMetrics,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        prices: Callable[[], Mapping[str, PriceList]] = dict,
        roles: Callable[[], Mapping[str, RoleConfig]] = dict,
    ) -> None:
        def rollouts() -> Mapping[str, Rollout]:
            return rules().rollouts

        self._source, self._session, self._rules = source, session, rules
        self._timing, self._metrics, self._monotonic = timing, metrics, monotonic
        self._clock = TickClock(interval=timing.interval, lag=timing.lag, monotonic=monotonic, wall=wall)
        self._evaluator = Evaluator(interval=timing.interval, step=timing.step)
        self._sight = FleetSight(
            store, session, controller_id=controller_id, version=version, interval=timing.interval, wall=wall
        )
        self._known = KnownFlags(switch, wall=wall)
        self._armings = Armings(self._known, self._clock, interval=timing.interval)
        self._tick_reader = TickReader(
            source, self._evaluator, self._armings, interval=timing.interval, metrics=metrics
        )
        self._recipients = Recipients(rollouts, self._known)
        self._health = StoreHealth(
            StoreOutage(
                controller_id=controller_id, patience=timing.store_patience, send=send, monotonic=monotonic, wall=wall
            ),
            session,
            controller_id=controller_id,
            known=self._known,
            recipients=self._recipients,
            rollouts=rollouts,
            send=send,
            metrics=metrics,
            wall=wall,
        )
        self._announcements = Announcements(
            Notices(store, wall=wall),
            switch,
            known=self._known,
            recipients=self._recipients,
            health=self._health,
            interval=timing.interval,
        )
        self._acting = Acting(
            switch,
            session,
            controller_id=controller_id,
            version=version,
            clock=self._clock,
            evaluator=self._evaluator,
            known=self._known,
            announcements=self._announcements,
            health=self._health,
            flipped=flipped,
            metrics=metrics,
            monotonic=monotonic,
            max_evidence_age=timing.max_evidence_age,
            session_ttl=timing.session_ttl,
        )
        self._spending = Spending(
            store,
            source,
            announcements=self._announcements,
            recipients=self._recipients,
            health=self._health,
            step=timing.step,
            wall=wall,
            monotonic=monotonic,
        )
        self._ramping = Ramping(
            store,
            session,
            self._evaluator,
            controller_id=controller_id,
            clock=self._clock,
            known=self._known,
            announcements=self._announcements,
            health=self._health,
            interval=timing.interval,
            wall=wall,
            roles=roles,
        )
        self._control_after_trips = ControlAfterTrips(
            source, known=self._known, announcements=self._announcements, step=timing.step
        )
        self._slow_standings = SlowStandings(store, health=self._health)
        self._wall = wall
        self._prices = prices
        self._missed_before = 0
        self.latest: CycleReport | None = None

    # --- the cycle ------------------------------------------------------------------------------

    def seconds_until_due(self) -> float:
        """How long until the next tick can be judged; 0 when it is due."""
        return self._clock.seconds_until_due()

    def run_cycle(self) -> CycleReport | None:
        """One cycle at the newest tick; None when that tick has been judged already."""
        started = self._monotonic()
        deadline = Deadline(self._timing.cycle_deadline, self._monotonic)
        rules = self._rules()
        store_problem = self._read_store()
        self._recipients.note(rules.rollouts)
        source_problem = self._clock.read(self._source, deadline)
        previous_tick, tick = self._clock.tick, self._clock.advance()
        if tick is None:
            return None
        if previous_tick is not None and tick < previous_tick:
            self._step_back(tick)
        all_armed = self._all_armed(rules, tick, fresh=store_problem is None)
        findings = self._tick_reader.read_and_judge(all_armed, tick, deadline, source_problem)
        decisions = {
            armed.rollout.name: decide(findings[armed.rollout.name], armed.flag, armed.rollout) for armed in all_armed
        }
        self._armings.note_decisions(decisions, tick)
        for armed in all_armed:
            name = armed.rollout.name
            self._acting.act(armed, decisions[name], findings[name], tick)
            self._announcements.note_findings(armed, findings[name], tick)
        self._announcements.note_blind_rules(all_armed, decisions, findings, tick)
        if store_problem is None:
            self._announcements.note_flags(rules.rollouts.keys(), self._sight.watched(all_armed), tick)
            self._spend(rules, all_armed, findings, tick, deadline if source_problem is None else None)
            self._ramp(rules, all_armed, findings, tick)
            if source_problem is None:
                self._look_at_control(rules, tick, deadline)
        self._announcements.send()
        if store_problem is None:
            self._share(rules, all_armed, decisions, findings, tick)
        self._health.check(self._acting.trips.under_way)
        report = CycleReport(
            tick=tick,
            finished=self._monotonic(),
            seconds=self._monotonic() - started,
            reports=self._reports(rules, all_armed, decisions, findings, tick, fresh=store_problem is None),
            store_problem=store_problem,
            source_problem=source_problem or self._clock.problem,
            flags_read_at=self._known.read_at,
        )
        previous, self.latest = self.latest, report
        self._publish(report, previous, source_up=source_problem is None)
        return report

    def renew(self) -> None:
        """Keep the session alive; also how an outage of the store is noticed between cycles."""
        try:
            self._session.renew()
        except KillswitchError as error:
            self._health.failed(error)
        else:
            self._health.answered()
        self._health.check(self._acting.trips.under_way)

    def retry(self) -> None:
        """Try pending trips again; to be called every second."""
        self._acting.trips.retry()
        self._metrics.trips_under_way.set(len(self._acting.trips.under_way))

    @property
    def flips_come_first(self) -> bool:
        """Whether flips are under way that nothing else may delay, neither pages nor the look at routers' progress."""
        return self._acting.trips.come_first

    @property
    def trips_under_way(self) -> tuple[str, ...]:
        """The rollouts whose trip is decided and not committed yet."""
        return tuple(self._acting.trips.under_way)

    @property
    def name_refused(self) -> bool:
        """Whether another process runs under our controller id, so that this one has never had a session."""
        return self._session.refused

    def close(self) -> None:
        """Finish what was sent, abandon what was not, hand over."""
        self._acting.trips.close()
        self._session.close()

    # --- its steps ------------------------------------------------------------------------------

    def _read_store(self) -> str | None:
        """Flags and heartbeats; on failure the last known ones stay and the problem is returned."""
        try:
            fetched = self._known.fetch()
            self._sight.read()
        except KillswitchError as error:
            self._health.failed(error)
            return str(error)
        self._known.take(fetched)
        self._health.answered()
        self._announcements.note_unreadable()
        return None

    def _step_back(self, tick: float) -> None:
        """The metric store's clock was ahead of ``tick``: what was gathered since is read again."""
        self._evaluator.forget(())
        self._armings.step_back(tick)

    def _all_armed(self, rules: Rules, tick: float, *, fresh: bool) -> list[ArmedRollout]:
        """The armed rollouts that have rules. All others are forgotten."""
        all_armed = self._armings.armed_rollouts(rules.rollouts, tick, fresh=fresh)
        watched = {armed.rollout.name for armed in all_armed}
        self._evaluator.forget(watched)
        self._announcements.forget(watched)
        return all_armed

    def _spend(
        self,
        rules: Rules,
        all_armed: Sequence[ArmedRollout],
        findings: Findings,
        tick: float,
        deadline: Deadline | None,
    ) -> None:
        """Live spend, caps that are reached, and the trips that these ask for. ``deadline``: None, nothing is read."""
        try:
            if deadline is not None:
                self._spending.count(all_armed, self._prices(), tick, deadline)
            self._spending.look(rules.rollouts)
        except Exception:
            # money must not cost the cycle its pages and its heartbeat
            log.exception("counting spend: unexpected error")
            return
        for armed in all_armed:
            reason = self._spending.used_up(armed)
            if reason is not None and armed.flag.stage != SHADOW:
                self._acting.trip_spend(armed, reason, findings[armed.rollout.name], tick)

    def _ramp(self, rules: Rules, all_armed: Sequence[ArmedRollout], findings: Findings, tick: float) -> None:
        """Plans: what was watched is recorded, and the next step is taken where its gate passes."""
        try:
            self._ramping.look(all_armed, findings, tick)
            self._slow_standings.look(rules.rollouts)
        except Exception:
            # a plan must not cost the cycle its pages and its heartbeat
            log.exception("plans: unexpected error")

    def _look_at_control(self, rules: Rules, tick: float, deadline: Deadline) -> None:
        """Whether control takes the traffic that a trip has given it."""
        try:
            self._control_after_trips.look(rules.rollouts, tick, deadline)
        except Exception:
            # this must not cost the cycle its pages and its heartbeat
            log.exception("control after trips: unexpected error")

    def _share(
        self,
        rules: Rules,
        all_armed: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Findings,
        tick: float,
    ) -> None:
        """Our heartbeat, the outages that all replicas agree on, and the trips that these ask for."""
        armings = self._armings.by_rollout
        last_good = {armed.rollout.name: armings[armed.rollout.name].last_good for armed in all_armed}
        since = {armed.rollout.name: armings[armed.rollout.name].since for armed in all_armed}
        try:
            self._sight.beat(all_armed, last_good, tick=tick, digest=rules.digest)
            # a trip that waits says that flags cannot be written, whatever becomes of heartbeats
            self._health.answered(writing=not self._acting.trips.under_way)
            concerned = Concerned(self._known.flags, self._recipients.of)
            long_blind = self._sight.look_for_outages(all_armed, decisions, findings, last_good, since, tick, concerned)
        except KillswitchError as error:
            if not isinstance(error, BadTransaction):
                self._session.doubt()
            self._health.failed(error, writing=True)
            return
        for blind in long_blind:
            guards = partial(self._sight.no_replica_sees, blind)
            self._acting.trip_blind(blind, findings[blind.armed.rollout.name], tick, guards=guards)

    def _reports(
        self,
        rules: Rules,
        all_armed: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Findings,
        tick: float,
        *,
        fresh: bool,
    ) -> dict[str, RolloutReport]:
        read = FlagsRead(self._known.read_at, fresh=fresh)
        found = {
            armed.rollout.name: reports.judged(
                armed.flag,
                armed.rollout,
                decisions[armed.rollout.name],
                findings[armed.rollout.name],
                last_good=self._armings.by_rollout[armed.rollout.name].last_good,
                window=self._evaluator.window_seconds(armed, tick),
                read=read,
            )
            for armed in all_armed
        }
        bad = self._known.unreadable
        for name in (rules.rollouts.keys() | self._known.stored.keys() | bad.keys()) - found.keys():
            found[name] = reports.idle(name, self._known.flag(name), rules.rollouts.get(name), bad.get(name), read=read)
        counted = {armed.rollout.name for armed in all_armed if armed.flag.stage != SHADOW}
        for name, rollout in rules.rollouts.items():
            if rollout.spend.caps:
                found[name] = replace(found[name], caps=self._spending.caps_of(rollout, armed=name in counted))
            if fresh and (rollout.plan is not None or rollout.slow is not None):
                flag = self._known.flag(name)
                plan = self._ramping.look_of(rollout, flag)
                found[name] = replace(found[name], plan=plan, slow=self._slow_standings.of(rollout, flag, self._wall()))
        return found

    def _publish(self, report: CycleReport, previous: CycleReport | None, *, source_up: bool) -> None:
        self._metrics.source_up.set(source_up)
        self._metrics.missed_ticks.inc(self._clock.missed - self._missed_before)
        self._missed_before = self._clock.missed
        reports.publish(report, previous, self._metrics)
