"""One cycle: read both cohorts at one tick, judge every rule, decide, and act before anyone is told.

It reads top to bottom in `Controller.run_cycle` and ends in one sentence a rollout. Nothing that the
metric store or the flag store does raises out of it; a failure becomes an UNKNOWN and a sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from killswitch.controller.tick_clock import TickClock
from killswitch.controller.unprotected import Unprotected
from killswitch.deadline import Deadline
from killswitch.errors import BadTransaction, KillswitchError, NameTaken
from killswitch.flags.flag import STAGES, Actor, Flag
from killswitch.flags.incident import Incident
from killswitch.fleet.session import Session
from killswitch.fleet.sight import FleetSight, Known, LongBlind
from killswitch.fleet.store_outage import StoreOutage
from killswitch.model import Finding, Mode, PageSettings, Reason, Rollout, Unreadable
from killswitch.pages import events
from killswitch.pages.notices import Notice, Notices
from killswitch.pages.page import Page
from killswitch.rules.loading import Rules
from killswitch.sources import Readings, Source, Want
from killswitch.status import reports
from killswitch.status.reports import CycleReport, FlagsRead, RolloutReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import Compare, Store, keys
from killswitch.trips.pending import Settled, Trips
from killswitch.trips.switch import StoredFlag, Switch, TripOutcome, TripRequest
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.baseline import Baseline, against
from killswitch.verdicts.catch_up import catch_up, last_step, note_falls
from killswitch.verdicts.evaluator import Evaluator, answer_all
from killswitch.verdicts.judge import Decision, DecisionKind, decide
from killswitch.wording import duration_in_words

log = logging.getLogger(__name__)
# This many expired trips in a row is not bad luck: page someone.
EXPIRED_IN_A_ROW = 2
Findings = Mapping[str, tuple[Finding, ...]]

# what is said once a generation, beside the verdicts: the notice's kind, the reasons it is about, its page
_NOTICES: tuple[tuple[str, Reason, Callable[..., Page]], ...] = (
    ("control_too", Reason.CONTROL_TOO, events.control_too),
    ("traffic_split", Reason.TRAFFIC_SPLIT, events.traffic_split),
    ("never_seen", Reason.NEVER_SEEN, events.never_seen),
    ("internal_error", Reason.INTERNAL_ERROR, events.internal_error),
)


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


@dataclass(slots=True)
class _Arming:
    """What is remembered of one arming of one rollout between cycles. ``since``: the tick we first saw it at.

    ``arming``: the flag's generation and time of arming; ``armed_at``: the bound of all windows. ``case``: the one
    of the last cycle, which stays the same object for as long as nothing in it changes.
    """

    arming: tuple[int, float]
    armed_at: float
    since: float
    last_good: float = 0.0  # never
    judged_until: float | None = None
    rollout: Rollout | None = None
    case: ArmedRollout | None = None


class Controller:
    """Runs cycles; one thread calls `run_cycle`, others may call `renew`, `retry` and read `latest`.

    ``rules`` gives the rules in force. ``tell`` delivers a page without the flag store; ``flipped`` is
    told rollout, generation and store revision of every flip of ours, once it is committed. ``monotonic`` and
    ``wall`` are clocks in seconds; verdicts depend on neither.
    """

    def __init__(
        self,
        *,
        controller_id: str,
        version: str,
        source: Source,
        store: Store,
        switch: Switch,
        session: Session,
        rules: Callable[[], Rules],
        tell: Callable[[Page], None],
        flipped: Callable[[str, int, int], None],
        timing: Timing,
        metrics: SelfMetrics,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._id = controller_id
        self._version = version
        self._source = source
        self._switch = switch
        self._session = session
        self._rules = rules
        self._flipped = flipped
        self._tell = tell
        self._timing = timing
        self._metrics = metrics
        self._monotonic = monotonic
        self._wall = wall
        self._clock = TickClock(interval=timing.interval, lag=timing.lag, monotonic=monotonic, wall=wall)
        self._jury = Evaluator(interval=timing.interval, step=timing.step)
        self._notices = Notices(store, wall=wall)
        self._sight = FleetSight(
            store, session, controller_id=controller_id, version=version, interval=timing.interval, wall=wall
        )
        self._outage = StoreOutage(
            controller_id=controller_id, patience=timing.store_patience, tell=tell, monotonic=monotonic, wall=wall
        )
        self._trips = Trips(
            switch,
            guard=session.guard,
            doubt=session.doubt,
            monotonic=monotonic,
            max_age=timing.max_evidence_age,
            session_ttl=timing.session_ttl,
            on_settled=self._settled,
            on_failure=self._trip_failed,
        )
        self._flags: Mapping[str, StoredFlag] = {}
        self._unreadable: Mapping[str, str] = {}
        self._baselines: Mapping[tuple[str, int], Baseline] = {}
        self._revisions: dict[str, tuple[str, int]] = {}
        self._flags_read_at: float | None = None  # Unix seconds; None: never
        self._to_tell: list[Notice] = []
        self._told_at_once: set[str] = set()
        self._unprotected = Unprotected()
        self._paged_as: dict[str, PageSettings] = {}
        self._watches: dict[str, _Arming] = {}
        self._looked_at: dict[str, float] = {}
        self._expired: dict[str, int] = {}
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
        self._note_page_settings(rules)
        source_problem = self._clock.read(self._source, deadline)
        previous_tick, tick = self._clock.tick, self._clock.advance()
        if tick is None:
            return None
        if previous_tick is not None and tick < previous_tick:
            self._begin_anew(tick)
        cases = self._cases(rules, tick, fresh=store_problem is None)
        findings = self._judge(cases, tick, deadline, source_problem)
        decisions = {case.rollout.name: decide(findings[case.rollout.name], case.flag, case.rollout) for case in cases}
        self._note_sight(decisions, tick)
        for case in cases:
            self._act(case, decisions[case.rollout.name], findings[case.rollout.name], tick)
        self._note_blind_rules(cases, decisions, findings, tick)
        if store_problem is None:
            self._note_flags(rules, cases, tick)
        self._tell_notices()
        if store_problem is None:
            self._tell_the_fleet(rules, cases, decisions, findings, tick)
        self._check_store()
        report = CycleReport(
            tick=tick,
            finished=self._monotonic(),
            seconds=self._monotonic() - started,
            reports=self._reports(rules, cases, decisions, findings, tick, fresh=store_problem is None),
            store_problem=store_problem,
            source_problem=source_problem or self._clock.problem,
            flags_read_at=self._flags_read_at,
        )
        previous, self.latest = self.latest, report
        self._metrics.source_up.set(source_problem is None)
        self._metrics.missed_ticks.inc(self._clock.missed - self._missed_before)
        self._missed_before = self._clock.missed
        reports.publish(report, previous, self._metrics)
        return report

    def renew(self) -> None:
        """Keep the session alive; also how an outage of the store is noticed between cycles."""
        try:
            self._session.renew()
        except KillswitchError as error:
            self._store_failed(error)
        else:
            self._store_answered()
        self._check_store()

    def retry(self) -> None:
        """Try pending trips again; to be called every second."""
        self._trips.retry()
        self._metrics.trips_under_way.set(len(self._trips.under_way))

    @property
    def flips_come_first(self) -> bool:
        """Whether flips are under way that nothing else should hold up: no page, no look at who has followed."""
        return self._trips.come_first

    @property
    def name_refused(self) -> bool:
        """Whether another process runs under our controller id, so that this one has never had a session."""
        return self._session.refused

    def close(self) -> None:
        """Finish what was sent, abandon what was not, hand over."""
        self._trips.close()
        self._session.close()

    # --- reading and judging --------------------------------------------------------------------

    def _read_store(self) -> str | None:
        """Flags and heartbeats; on failure the last known ones stay and the problem is returned."""
        try:
            flags, bad = self._switch.everything()
            self._read_baselines(flags.values())
            self._sight.read()
        except KillswitchError as error:
            self._store_failed(error)
            return str(error)
        self._flags, self._unreadable = flags, bad
        self._flags_read_at = self._wall()
        self._revisions = {rollout: known for rollout, known in self._revisions.items() if rollout in bad}
        self._store_answered()
        for rollout, problem in bad.items():
            log.error("%s: %s; routers send its traffic to control", rollout, problem)
        return None

    def _read_baselines(self, flags: Iterable[StoredFlag]) -> None:
        """A person may store another baseline, whatever the percent is then. The same one stays the same object."""
        whole = {
            (one.flag.rollout, one.flag.generation) for one in flags if one.flag is not None and _is_whole(one.flag)
        }
        if not whole:
            self._baselines = {}
            return
        try:
            found, bad = self._switch.baselines()
        except KillswitchError as error:  # a role without this right must not cost all rollouts their flags
            log.warning("baselines cannot be read, the last known ones serve on: %s", error)
            return
        known = self._baselines
        self._baselines = {of: one for of, one in known.items() if of in whole & bad.keys()} | {
            of: known[of] if known.get(of) == one else one for of, one in found.items() if of in whole
        }
        for of in sorted(whole & bad.keys()):
            log.warning("%s: its baseline cannot be read, and at 100%% there is no control cohort: %s", of[0], bad[of])

    def _cases(self, rules: Rules, tick: float, *, fresh: bool) -> list[ArmedRollout]:
        """Armed rollouts that have rules, each with the moment before which no window may reach."""
        cases: list[ArmedRollout] = []
        looked_at = self._looked_at
        if fresh:
            self._looked_at = dict.fromkeys(rules.rollouts, tick)
        for name, rollout in rules.rollouts.items():
            standing = self._flags.get(name)
            flag = standing.flag if standing is not None else None
            if flag is None or not flag.armed:
                continue
            watch = self._watches.get(name)
            arming = (flag.generation, flag.armed_at)
            if watch is None or watch.arming != arming:
                armed_at = self._armed_at(flag, tick, looked_at.get(name))
                watch = self._watches[name] = _Arming(arming, armed_at, since=tick)
            cases.append(self._case(rollout, flag, watch))
        watched = {case.rollout.name for case in cases}
        self._watches = {name: watch for name, watch in self._watches.items() if name in watched}
        self._jury.forget(watched)
        self._notices.forget(watched | self._flags.keys() | self._unreadable.keys())
        return cases

    def _begin_anew(self, tick: float) -> None:
        """The metric store's clock was ahead: what was remembered of times to come is read back like after a start."""
        self._jury.forget(())
        self._looked_at = {name: at for name, at in self._looked_at.items() if at <= tick}
        self._watches = {name: watch for name, watch in self._watches.items() if watch.armed_at <= tick}
        for watch in self._watches.values():
            watch.since, watch.last_good = min(watch.since, tick), min(watch.last_good, tick)
            watch.judged_until = None

    def _armed_at(self, flag: Flag, tick: float, before: float | None) -> float:
        """The bound of all windows, whatever the clock of the person who armed it says.

        Ahead of the metric store's: when we first saw it, or it would not be watched until that time has come.
        Behind: not before ``before``, the tick at which we looked and it was not armed yet, or data that tripped
        the last generation could trip this one.
        """
        if flag.armed_at > self._clock.now() + self._timing.interval:
            return tick
        return flag.armed_at if before is None else max(flag.armed_at, before)

    def _case(self, rollout: Rollout, flag: Flag, watch: _Arming) -> ArmedRollout:
        baseline = self._baselines.get((rollout.name, flag.generation)) if _is_whole(flag) else None
        case = watch.case
        unchanged = case is not None and watch.rollout is rollout and case.flag == flag and case.baseline is baseline
        if case is None or not unchanged:
            rules = rollout if baseline is None else against(rollout, baseline)
            case, watch.rollout = ArmedRollout(rules, flag, watch.armed_at, baseline), rollout
        watch.case = case
        return case

    def _judge(
        self, cases: Sequence[ArmedRollout], tick: float, deadline: Deadline, source_problem: str | None
    ) -> Findings:
        if source_problem is not None:
            problem = Unreadable(Reason.SOURCE_DOWN, source_problem)
            self._jury.cannot_read(cases, problem)
            return self._jury.judge(cases, tick, answer_all(self._jury.wants(cases, tick), problem))
        self._catch_up(cases, tick, deadline)
        for earlier, some in self._earlier_ticks(cases, tick):
            self._jury.judge(some, earlier, self._read(self._jury.wants(some, earlier), earlier, deadline))
        findings = self._jury.judge(cases, tick, self._read(self._jury.wants(cases, tick), tick, deadline))
        for case in cases:
            self._watches[case.rollout.name].judged_until = tick
        return findings

    def _catch_up(self, cases: Sequence[ArmedRollout], tick: float, deadline: Deadline) -> None:
        try:
            catch_up(self._source, self._jury.dossier, cases, tick, deadline, self._fell)
        except Exception as error:  # a bug in gathering evidence must not stop the loop, and must not look like health
            log.exception("gathering evidence: unexpected error")
            dossier = self._jury.dossier
            behind = [case for case in cases if dossier.until(case.rollout.name) != last_step(tick, dossier.step)]
            self._jury.cannot_read(behind, _adapters_bug(error))

    def _fell(self, rollout: str, rule: str) -> None:
        self._metrics.counter_falls.labels(rollout, rule).inc()

    def _read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        if not wants:
            return {}
        try:
            readings = self._source.read(wants, tick, deadline)
        except Exception as error:  # an adapter's bug must not stop the loop, and must not look like health
            log.exception("reading the metric source: unexpected error")
            return answer_all(wants, _adapters_bug(error))
        note_falls([readings], self._fell)
        return readings

    def _earlier_ticks(self, cases: Sequence[ArmedRollout], tick: float) -> Iterable[tuple[float, list[ArmedRollout]]]:
        """Ticks that were missed, or lie before our start, and that some rule's streak needs."""
        for back in range(max((self._jury.lookback(case) for case in cases), default=0), 0, -1):
            earlier = tick - back * self._timing.interval
            some = [
                case
                for case in cases
                if back <= self._jury.lookback(case)
                and earlier > (self._watches[case.rollout.name].judged_until or case.armed_at)
            ]
            if some:
                yield earlier, some

    def _note_sight(self, decisions: Mapping[str, Decision], tick: float) -> None:
        for name, decision in decisions.items():
            if decision.action is not DecisionKind.BLIND:
                self._watches[name].last_good = tick

    # --- acting ---------------------------------------------------------------------------------

    def _act(self, case: ArmedRollout, decision: Decision, findings: tuple[Finding, ...], tick: float) -> None:
        tripping = tuple(finding.rule for finding in decision.tripping)
        settings = case.rollout.page
        if decision.action is DecisionKind.TRIP:
            self._trip(case, decision.sentence, tripping, findings, tick)
            if self._expired.get(case.rollout.name, 0) >= EXPIRED_IN_A_ROW:
                page = partial(events.too_late, case.flag, decision.sentence, at=tick, settings=settings)
                self._notice(_of(case.flag, "expired"), page)
        else:
            self._expired.pop(case.rollout.name, None)
        if decision.action is DecisionKind.WOULD_TRIP:
            why = "; ".join(finding.sentence for finding in decision.tripping)  # the page's headline says "dry run"
            incident = self._incident(case, why, tripping, findings, tick)
            self._notice(_of(case.flag, "would_trip"), lambda: events.would_trip(incident, settings), incident)
        for kind, reason, build in _NOTICES:
            concerned = [finding for finding in findings if finding.reason is reason]
            if concerned:
                page = partial(build, case.flag, concerned, at=tick, settings=settings)
                self._notice(_of(case.flag, kind), page)

    def _note_blind_rules(
        self, cases: Sequence[ArmedRollout], decisions: Mapping[str, Decision], findings: Findings, tick: float
    ) -> None:
        for blind in self._unprotected.blind_rules(cases, decisions, findings):
            flag, settings = blind.case.flag, blind.case.rollout.page
            lasted = blind.ticks * self._timing.interval
            page = partial(events.rule_blind, flag, blind.finding, lasted=lasted, at=tick, settings=settings)
            self._notice(_of(flag, f"rule_blind.{blind.finding.rule}"), page)

    def _note_flags(self, rules: Rules, cases: Sequence[ArmedRollout], tick: float) -> None:
        """Flags nobody watches, and flags nobody understands."""
        flags = [standing.flag for standing in self._flags.values() if standing.flag is not None]
        watched = self._sight.watched(cases) | rules.rollouts.keys()
        for flag in self._unprotected.unwatched(flags, watched):
            page = partial(events.unwatched, flag, at=tick, settings=self._page_settings(flag.rollout))
            self._notice(_of(flag, "unwatched"), page)
        for rollout, problem in self._unreadable.items():
            if rollout not in rules.rollouts:
                continue  # nobody's rollout: logged and shown, but garbage keys must not delay the pages that matter
            revision = self._revision(rollout, problem)
            if revision:
                settings = self._page_settings(rollout)
                page = partial(events.flag_unreadable, rollout, problem, at=tick, revision=revision, settings=settings)
                self._notice(keys.notice(rollout, 0, f"flag_unreadable.{revision}"), page)

    def _revision(self, rollout: str, problem: str) -> int:
        """Which document is unreadable, asked of the store once for each problem; 0 where it does not answer."""
        known, revision = self._revisions.get(rollout, ("", 0))
        if known != problem or not revision:
            try:
                revision = self._switch.revision(rollout)
            except KillswitchError as error:
                self._store_failed(error)
                return 0
            self._revisions[rollout] = (problem, revision)
        return revision

    def _trip(
        self,
        case: ArmedRollout,
        reason: str,
        rules: tuple[str, ...],
        findings: tuple[Finding, ...],
        tick: float,
        *,
        guards: Callable[[], tuple[Compare, ...] | None] = tuple,
    ) -> None:
        def documents(flag: Flag, _incident: str) -> tuple[Incident, Page]:
            incident = self._incident(replace(case, flag=flag), reason, rules, findings, tick)
            return incident, events.tripped(incident, case.rollout.page)

        request = TripRequest(
            rollout=case.rollout.name,
            generation=case.flag.generation,
            reason=reason,
            rules=rules,
            actor=Actor.CONTROLLER,
            by=self._id,
            at=tick,
            documents=documents,
            armed_at=case.flag.armed_at,
            standing=self._flags.get(case.rollout.name),
            guards=guards,
        )
        self._trips.submit(request, decided_at=self._clock.monotonic_at(self._evidence_ends(case, rules, tick)))

    def _evidence_ends(self, case: ArmedRollout, rules: Sequence[str], tick: float) -> float:
        """How new the oldest evidence is that is cited: a step may have ended before the tick."""
        views = [self._jury.evidence_of(case, rule) for rule in case.rollout.rules if rule.name in rules]
        return min((view.updated_at for view in views if view is not None and view.updated_at), default=tick)

    def _incident(
        self, case: ArmedRollout, reason: str, rules: tuple[str, ...], findings: tuple[Finding, ...], tick: float
    ) -> Incident:
        now = self._clock.now()
        return Incident(
            rollout=case.rollout.name,
            generation=case.flag.generation,
            automatic=True,
            by=self._id,
            reason=reason,
            rules=rules,
            findings=findings,
            tick=tick,
            decided_at=now,
            latency=now - tick,
            control=case.flag.control,
            canary=case.flag.rollout_canary,
            percent_before=case.flag.canary_percent,
            stage_before=case.flag.stage,
            decide=case.rollout.decide,
            mode=case.rollout.mode,
            window=self._jury.window_seconds(case, tick),
            min_requests=case.rollout.min_requests,
            rules_file=case.rollout.file,
            rules_digest=case.rollout.digest,
            controller=self._id,
            version=self._version,
        )

    def _settled(self, settled: Settled) -> None:
        outcome = settled.result.outcome
        self._metrics.trips.labels(settled.rollout, outcome.value).inc()
        if outcome is TripOutcome.EXPIRED:
            if not self._outage.under_way:  # that one is paged as such
                self._expired[settled.rollout] = self._expired.get(settled.rollout, 0) + 1
            log.error(
                "%s: breach not acted upon: its evidence was too old when the trip could be sent, %s after its tick; "
                "the next cycle judges again",
                settled.rollout, duration_in_words(settled.seconds),
            )  # fmt: skip
            return
        self._expired.pop(settled.rollout, None)
        if outcome is not TripOutcome.TRIPPED:
            log.info("%s: the trip was not needed any more: %s", settled.rollout, outcome.value)
            return
        generation = int(settled.result.incident.rpartition(".")[2])
        self._flipped(settled.rollout, generation, settled.result.revision)
        self._store_answered(writing=True)
        self._metrics.trip_seconds.observe(settled.seconds)
        after = duration_in_words(settled.seconds)
        log.warning(
            "%s: tripped, all traffic to control; incident %s, %s after its tick",
            settled.rollout, settled.result.incident, after,
        )  # fmt: skip

    def _trip_failed(self, rollout: str, error: Exception) -> None:
        self._metrics.trip_failures.inc()
        why = str(error) if isinstance(error, KillswitchError) else repr(error)
        log.error("%s: could not trip yet, trying again: %s", rollout, why)
        self._store_failed(error, writing=True, rollout=rollout)
        self._check_store()

    def _notice(self, notice: str, page: Callable[[], Page], record: Incident | None = None) -> None:
        """To be told at the end of the cycle, with all others; `_tell_notices`."""
        if self._outage.under_way or self._notices.has_told(notice):
            return  # in an outage: said when the store is back; a cycle must not wait for it once a notice
        self._to_tell.append(Notice(notice, page(), record))

    def _tell_notices(self) -> None:
        notices, self._to_tell = self._to_tell, []
        try:
            self._notices.tell(notices)
        except KillswitchError as error:
            self._store_failed(error, writing=True)

    # --- the fleet and the store ----------------------------------------------------------------

    def _tell_the_fleet(
        self,
        rules: Rules,
        cases: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Findings,
        tick: float,
    ) -> None:
        last_good = {case.rollout.name: self._watches[case.rollout.name].last_good for case in cases}
        since = {case.rollout.name: self._watches[case.rollout.name].since for case in cases}
        try:
            self._sight.beat(cases, last_good, tick=tick, digest=rules.digest)
            # a trip that waits says that flags cannot be written, whatever becomes of heartbeats
            self._store_answered(writing=not self._trips.under_way)
            flags = {name: one.flag for name, one in self._flags.items() if one.flag is not None}
            known = Known(flags, self._page_settings)
            long_blind = self._sight.look_for_outages(cases, decisions, findings, last_good, since, tick, known)
        except KillswitchError as error:
            if not isinstance(error, BadTransaction):
                self._session.doubt()
            self._store_failed(error, writing=True)
            return
        for blind in long_blind:
            self._trip_blind(blind, findings[blind.case.rollout.name], tick)

    def _trip_blind(self, blind: LongBlind, findings: tuple[Finding, ...], tick: float) -> None:
        """The explicit policy `when_blind`; the store refuses it if any replica reports sight meanwhile."""
        case = blind.case
        policy = duration_in_words(case.rollout.trip_when_blind_after or 0.0)
        reason = (
            f"blind for {duration_in_words(tick - blind.since)}: no replica had a usable verdict, and the rule file "
            f"says to trip after {policy}"
        )
        if case.rollout.mode is Mode.DRY_RUN:
            incident = self._incident(case, f"would trip (dry run): {reason}", (), findings, tick)
            page = partial(events.would_trip, incident, case.rollout.page)
            self._notice(_of(case.flag, "would_trip_blind"), page, incident)
            return
        self._trip(case, reason, (), findings, tick, guards=lambda: self._sight.nobody_sees(blind))

    def _store_failed(self, error: Exception, *, writing: bool = False, rollout: str = "") -> None:
        """Say what it was: a store that is down, a transaction that no store takes, a name that is somebody else's."""
        if isinstance(error, BadTransaction):
            self._tell_at_once(events.transaction_refused, str(error), rollout)
        elif isinstance(error, NameTaken):
            if self._session.taken:
                self._tell_at_once(events.name_taken, str(error))
            log.error("%s", error)
        else:
            self._metrics.store_up.set(0)
            self._outage.failed(str(error), writing=writing)

    def _tell_at_once(self, build: Callable[..., Page], why: str, rollout: str = "") -> None:
        """Without the store, and once a day for one fault of one process."""
        settings = self._page_settings(*([rollout] if rollout else []))
        page = build(why, rollout=rollout, controller=self._id, at=self._wall(), settings=settings)
        if page.id not in self._told_at_once:
            self._told_at_once.add(page.id)
            self._tell(page)

    def _store_answered(self, *, writing: bool = False) -> None:
        if self._outage.under_way:
            flags = [standing.flag for standing in self._flags.values() if standing.flag is not None]
            self._outage.answered(flags, writing=writing)
        self._metrics.store_up.set(not self._outage.under_way)

    def _check_store(self) -> None:
        pending = self._trips.under_way
        if not self._outage.is_to_be_told(waiting=pending):
            return
        rollouts = sorted(self._flags) or sorted(self._rules().rollouts)
        waiting = [f"{name}: {reason}" for name, reason in sorted(pending.items())]
        rules = self._rules().rollouts
        self._outage.check(
            rollouts,
            waiting,
            concerned=[rules[name].page for name in sorted(rules)] or [PageSettings()],
            in_danger=[self._page_settings(name) for name in sorted(pending)],
        )

    def _page_settings(self, *preferred: str) -> PageSettings:
        """Whom to tell of what concerns all: as the rollout in danger says or said, else as the first with a channel.

        The settings of a removed rule file are kept for as long as its rollout has a flag.
        """
        for name in preferred:
            if name in self._paged_as:
                return self._paged_as[name]
        rollouts = self._rules().rollouts
        pages = [rollouts[name].page for name in sorted(rollouts)]
        named = [page for page in pages if page.slack is not None or page.pagerduty is not None]
        return next(iter([*named, *pages]), PageSettings())

    def _note_page_settings(self, rules: Rules) -> None:
        latest = {name: rollout.page for name, rollout in rules.rollouts.items()}
        kept = {name: page for name, page in self._paged_as.items() if name in self._flags}
        self._paged_as = {**kept, **latest}

    def _reports(
        self,
        rules: Rules,
        cases: Sequence[ArmedRollout],
        decisions: Mapping[str, Decision],
        findings: Findings,
        tick: float,
        *,
        fresh: bool,
    ) -> dict[str, RolloutReport]:
        read = FlagsRead(self._flags_read_at, fresh=fresh)
        found = {
            case.rollout.name: reports.judged(
                case.flag,
                case.rollout,
                decisions[case.rollout.name],
                findings[case.rollout.name],
                last_good=self._watches[case.rollout.name].last_good,
                window=self._jury.window_seconds(case, tick),
                read=read,
            )
            for case in cases
        }
        for name in (rules.rollouts.keys() | self._flags.keys() | self._unreadable.keys()) - found.keys():
            standing = self._flags.get(name)
            flag = standing.flag if standing else None
            found[name] = reports.idle(name, flag, rules.rollouts.get(name), self._unreadable.get(name), read=read)
        return found


def _is_whole(flag: Flag) -> bool:
    """Whether every user gets the canary: the stored baseline is then used in place of control."""
    return flag.armed and flag.canary_percent > STAGES["full"]


def _adapters_bug(error: Exception) -> Unreadable:
    return Unreadable(Reason.INTERNAL_ERROR, f"a bug of the source adapter: {error!r}")


def _of(flag: Flag, kind: str) -> str:
    """The notice of this kind for this generation."""
    return keys.notice(flag.rollout, flag.generation, kind)
