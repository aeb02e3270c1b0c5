"""One cycle: read both cohorts at one tick, judge every rule, decide, and act before anyone is told.

It reads top to bottom in `Controller.run_cycle` and ends in one sentence a rollout. Nothing that the
metric store or the flag store does raises out of it; a failure becomes an UNKNOWN and a sentence.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from killswitch import blindness, message
from killswitch.blindness import OutageBook
from killswitch.case import Case
from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, OutcomeUnknown
from killswitch.flag import Actor, Flag, State
from killswitch.heartbeat import Heartbeat, alive
from killswitch.heartbeat import to_document as heartbeat_document
from killswitch.history import catch_up
from killswitch.incident import Incident
from killswitch.incident import to_document as incident_document
from killswitch.judge import Action, Decision, decide
from killswitch.jury import Jury, answer_all
from killswitch.message import Page, PageKind
from killswitch.model import Finding, Reason, Rollout, Unreadable
from killswitch.outbox import new_entry
from killswitch.outbox import to_document as outbox_document
from killswitch.self_metrics import SelfMetrics
from killswitch.session import Session
from killswitch.sources import Readings, Source, Want
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.switch import Standing, Switch, TripOutcome, TripRequest
from killswitch.trips import Settled, Trips
from killswitch.wording import duration_in_words

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


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule files in force, all or nothing; ``digest`` identifies the set."""

    rollouts: Mapping[str, Rollout]
    digest: str


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """What one cycle has to say about one rollout; ``sentence`` is the log line and the status line."""

    rollout: str
    sentence: str
    action: str
    flag: Flag | None = None
    rules: Rollout | None = None
    findings: tuple[Finding, ...] = ()
    last_good: float = 0.0


@dataclass(frozen=True, slots=True)
class CycleReport:
    """``tick`` on the metric store's clock; ``finished`` on the monotonic clock; problems in words or None."""

    tick: float
    finished: float
    seconds: float
    reports: Mapping[str, RolloutReport]
    store_problem: str | None = None
    source_problem: str | None = None


@dataclass(slots=True)
class _Watch:
    """What is remembered of one generation of one rollout between cycles."""

    generation: int
    armed_at: float
    last_good: float
    judged_until: float | None = None
    told: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Outage:
    """The flag store has not answered since ``since`` (monotonic and tick clocks)."""

    since: float
    began: float
    why: str
    told: bool = False
    told_of_breach: bool = False
    page: str = ""


class Controller:
    """Runs cycles; one thread calls `run_cycle`, others may call `renew`, `retry` and read `latest`.

    ``rules`` gives the rules in force. ``tell`` delivers a page without the flag store; ``flipped`` wakes
    whoever delivers the outbox.
    ``monotonic`` and ``wall`` are clocks in seconds; verdicts depend on neither.
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
        flipped: Callable[[], None],
        timing: Timing,
        metrics: SelfMetrics,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._id = controller_id
        self._version = version
        self._source = source
        self._store = store
        self._switch = switch
        self._session = session
        self._rules = rules
        self._tell = tell
        self._flipped = flipped
        self._timing = timing
        self._metrics = metrics
        self._monotonic = monotonic
        self._wall = wall
        self._jury = Jury(interval=timing.interval, step=timing.step)
        self._outages = OutageBook(store, wall=wall)
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
        self._flags: Mapping[str, Standing] = {}
        self._heartbeats: Mapping[str, Heartbeat] = {}
        self._heartbeat_revisions: Mapping[str, int] = {}
        self._watches: dict[str, _Watch] = {}
        self._clock_offset: float | None = None
        self._tick: float | None = None
        self._store_outage: _Outage | None = None
        self._outage_lock = threading.Lock()
        self.latest: CycleReport | None = None

    # --- the cycle ------------------------------------------------------------------------------

    def seconds_until_due(self) -> float:
        """How long until the next tick can be judged; 0 when it is due."""
        if self._tick is None or self._clock_offset is None:
            return 0.0
        due = self._tick + self._timing.interval + self._timing.lag
        return max(0.0, due - (self._monotonic() + self._clock_offset))

    def run_cycle(self) -> CycleReport | None:
        """One cycle at the newest tick; None when that tick has been judged already."""
        started = self._monotonic()
        deadline = Deadline(self._timing.cycle_deadline, self._monotonic)
        rules = self._rules()
        store_problem = self._read_store()
        source_problem = self._read_clock(deadline)
        tick = self._next_tick()
        if tick is None:
            return None
        cases = self._cases(rules, tick)
        findings, unread = self._judge(cases, tick, deadline, source_problem)
        decisions = {case.rollout.name: decide(findings[case.rollout.name], case.flag, case.rollout) for case in cases}
        self._note_sight(cases, decisions, tick)
        for case in cases:
            self._act(case, decisions[case.rollout.name], findings[case.rollout.name], tick)
        if store_problem is None:
            self._beat(rules, cases, tick)
            self._look_for_outages(cases, decisions, findings, tick)
        self._check_store_outage(tick)
        reports = self._reports(rules, cases, decisions, findings)
        report = CycleReport(
            tick=tick,
            finished=self._monotonic(),
            seconds=self._monotonic() - started,
            reports=reports,
            store_problem=store_problem,
            source_problem=source_problem or unread,
        )
        self._publish(report)
        return report

    def renew(self) -> None:
        """Keep the session alive; also how an outage of the store is noticed between cycles."""
        try:
            self._session.renew()
        except KillswitchError as error:
            self._store_failed(str(error))
        else:
            self._store_answered()
        self._check_store_outage(self._tick or self._wall())

    def retry(self) -> None:
        """Try pending trips again; to be called every second."""
        self._trips.retry()
        self._metrics.trips_under_way.set(len(self._trips.under_way))

    def close(self) -> None:
        """Finish what was sent, abandon what was not, hand over."""
        self._trips.close()
        self._session.close()

    # --- reading --------------------------------------------------------------------------------

    def _read_store(self) -> str | None:
        """Flags and heartbeats; on failure the last known ones stay and the problem is returned."""
        try:
            flags, bad = self._switch.everything()
            items = self._store.list(keys.CONTROLLERS).items
        except KillswitchError as error:
            self._store_failed(str(error))
            return str(error)
        self._store_answered()
        for rollout, problem in bad.items():
            log.error("%s: %s; routers send its traffic to control", rollout, problem)
        own = keys.controller(self._id)
        self._flags = flags
        self._heartbeats = {key: beat for key, beat in alive(items).items() if key != own}
        self._heartbeat_revisions = {item.key: item.mod_revision for item in items if item.key != own}
        return None

    def _read_clock(self, deadline: Deadline) -> str | None:
        before = self._monotonic()
        try:
            now = self._source.now(deadline)
        except KillswitchError as error:
            if self._clock_offset is None:
                self._clock_offset = self._wall() - self._monotonic()
            self._metrics.source_up.set(0)
            return str(error)
        self._clock_offset = now - (before + self._monotonic()) / 2
        self._metrics.source_up.set(1)
        return None

    def _next_tick(self) -> float | None:
        assert self._clock_offset is not None
        interval = self._timing.interval
        now = self._monotonic() + self._clock_offset
        tick = math.floor((now - self._timing.lag) / interval) * interval
        if self._tick is not None:
            slots = round((tick - self._tick) / interval)
            if slots == 0 or -2 <= slots < 0:  # the same tick, or a clock that jitters around a slot
                return None
            self._metrics.missed_ticks.inc(max(0, slots - 1))
        self._tick = tick
        return tick

    def _cases(self, rules: Rules, tick: float) -> list[Case]:
        """Armed rollouts that have rules, each with the moment before which no window may reach."""
        cases: list[Case] = []
        for name, rollout in rules.rollouts.items():
            standing = self._flags.get(name)
            if standing is None or standing.flag is None or not standing.flag.armed:
                self._watches.pop(name, None)
                continue
            flag = standing.flag
            watch = self._watches.get(name)
            if watch is None or watch.generation != flag.generation:
                # A person's clock may run ahead of the metric store's: then "when we first saw it" is the bound,
                # or the rollout would not be watched until that clock's time has come.
                armed_at = min(flag.armed_at, tick)
                watch = self._watches[name] = _Watch(flag.generation, armed_at, last_good=tick)
            cases.append(Case(rollout, flag, watch.armed_at))
        self._jury.forget(case.rollout.name for case in cases)
        return cases

    def _judge(
        self, cases: Sequence[Case], tick: float, deadline: Deadline, source_problem: str | None
    ) -> tuple[Mapping[str, tuple[Finding, ...]], str | None]:
        if source_problem is not None:
            problem = Unreadable(Reason.SOURCE_DOWN, source_problem)
            return self._jury.judge(cases, tick, answer_all(self._jury.wants(cases, tick), problem)), None
        self._catch_up(cases, tick, deadline)
        for earlier, some in self._earlier_ticks(cases, tick):
            self._jury.judge(some, earlier, self._read(self._jury.wants(some, earlier), earlier, deadline))
        readings = self._read(self._jury.wants(cases, tick), tick, deadline)
        findings = self._jury.judge(cases, tick, readings)
        for case in cases:
            self._watches[case.rollout.name].judged_until = tick
        return findings, None

    def _catch_up(self, cases: Sequence[Case], tick: float, deadline: Deadline) -> None:
        try:
            catch_up(self._source, self._jury.dossier, cases, tick, deadline)
        except Exception:  # a bug in gathering evidence must not stop the loop; stale evidence is no breach
            log.exception("gathering evidence failed in a way nobody foresaw")

    def _read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        if not wants:
            return {}
        try:
            return self._source.read(wants, tick, deadline)
        except Exception as error:  # an adapter's bug must not stop the loop, and must not look like health
            log.exception("reading the metric source failed in a way nobody foresaw")
            return answer_all(wants, Unreadable(Reason.INTERNAL_ERROR, f"a bug of the source adapter: {error!r}"))

    def _earlier_ticks(self, cases: Sequence[Case], tick: float) -> Iterable[tuple[float, list[Case]]]:
        """Ticks that were missed, or lie before our start, and that some rule's streak needs."""
        interval = self._timing.interval
        for back in range(max((self._jury.lookback(case) for case in cases), default=0), 0, -1):
            earlier = tick - back * interval
            some = [
                case
                for case in cases
                if back <= self._jury.lookback(case)
                and earlier > (self._watches[case.rollout.name].judged_until or case.armed_at)
            ]
            if some:
                yield earlier, some

    # --- acting ---------------------------------------------------------------------------------

    def _act(self, case: Case, decision: Decision, findings: tuple[Finding, ...], tick: float) -> None:
        match decision.action:
            case Action.TRIP:
                self._trip(case, decision.sentence, tuple(f.rule for f in decision.tripping), findings, tick)
            case Action.WOULD_TRIP:
                incident = self._incident(
                    case, decision.sentence, tuple(f.rule for f in decision.tripping), findings, tick
                )
                self._tell_once(case.flag, "would_trip", message.would_trip(incident, case.rollout.page), incident)
            case _:
                pass
        for kind, reasons, build in _NOTICES:
            concerned = [finding for finding in findings if finding.reason in reasons]
            if concerned:
                self._tell_once(case.flag, kind, build(case.flag, concerned, at=tick, settings=case.rollout.page))

    def _trip(
        self,
        case: Case,
        reason: str,
        rules: tuple[str, ...],
        findings: tuple[Finding, ...],
        tick: float,
        *,
        guards: tuple[Compare, ...] = (),
    ) -> None:
        def documents(flag: Flag, _incident: str) -> tuple[Incident, Page]:
            now_case = Case(case.rollout, flag, case.armed_at)
            incident = self._incident(now_case, reason, rules, findings, tick)
            return incident, message.tripped(incident, case.rollout.page)

        assert self._clock_offset is not None
        request = TripRequest(
            rollout=case.rollout.name,
            generation=case.flag.generation,
            reason=reason,
            rules=rules,
            actor=Actor.CONTROLLER,
            by=self._id,
            at=tick,
            documents=documents,
            guards=lambda: guards,
        )
        self._trips.submit(request, decided_at=tick - self._clock_offset)

    def _incident(
        self, case: Case, reason: str, rules: tuple[str, ...], findings: tuple[Finding, ...], tick: float
    ) -> Incident:
        assert self._clock_offset is not None
        now = self._monotonic() + self._clock_offset
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
            window=case.rollout.window,
            min_requests=case.rollout.min_requests,
            rules_file=case.rollout.file,
            rules_digest=case.rollout.digest,
            controller=self._id,
            version=self._version,
        )

    def _settled(self, settled: Settled) -> None:
        outcome = settled.result.outcome
        self._metrics.trips.labels(settled.rollout, outcome.value).inc()
        if outcome is TripOutcome.TRIPPED:
            self._flipped()
            self._metrics.trip_seconds.observe(settled.seconds)
            log.warning(
                "%s: tripped, all traffic to control; incident %s, %s after its tick",
                settled.rollout, settled.result.incident, duration_in_words(settled.seconds),
            )  # fmt: skip
        else:
            log.info("%s: the trip was not needed any more: %s", settled.rollout, outcome.value)

    def _trip_failed(self, rollout: str, why: str) -> None:
        self._metrics.trip_failures.inc()
        log.error("%s: could not trip yet, trying again: %s", rollout, why)
        self._store_failed(why)

    def _tell_once(self, flag: Flag, kind: str, page: Page, record: Incident | None = None) -> None:
        """Put a page into the outbox once a generation, whichever replica comes first."""
        watch = self._watches.get(flag.rollout)
        if watch is None or kind in watch.told:
            return
        notice = keys.notice(flag.rollout, flag.generation, kind)
        body = incident_document(record) if record is not None else b"{}"
        entry = outbox_document(new_entry(page, at=self._wall()))
        try:
            if self._store.get(notice) is None:
                self._store.commit((Compare(notice, 0),), (Put(notice, body), Put(keys.outbox(page.id), entry)))
        except OutcomeUnknown:
            return  # looked up again at the next tick
        except KillswitchError as error:
            self._store_failed(str(error))
            return
        watch.told.add(kind)

    # --- blindness ------------------------------------------------------------------------------

    def _note_sight(self, cases: Sequence[Case], decisions: Mapping[str, Decision], tick: float) -> None:
        for case in cases:
            if decisions[case.rollout.name].action is not Action.BLIND:
                self._watches[case.rollout.name].last_good = tick

    def _beat(self, rules: Rules, cases: Sequence[Case], tick: float) -> None:
        late = {
            case.rollout.name: watch.last_good
            for case in cases
            if (watch := self._watches[case.rollout.name]).last_good < tick
        }
        heartbeat = Heartbeat(
            id=self._id,
            version=self._version,
            at=self._wall(),
            tick=tick,
            rules_digest=rules.digest,
            judged=frozenset(case.rollout.name for case in cases),
            last_good=late,
        )
        try:
            lease = self._session.lease()
            put = Put(keys.controller(self._id), heartbeat_document(heartbeat), lease)
            # the guard keeps a heartbeat from outliving a session that has just ended
            if not isinstance(self._store.commit((self._session.guard(),), (put,)), Committed):
                self._session.doubt()
        except KillswitchError as error:
            self._store_failed(str(error))
        digests = {beat.rules_digest for beat in self._heartbeats.values()} - {rules.digest}
        if digests:
            log.warning("replicas have different rule files: ours %s, others %s", rules.digest, ", ".join(digests))

    def _look_for_outages(
        self,
        cases: Sequence[Case],
        decisions: Mapping[str, Decision],
        findings: Mapping[str, tuple[Finding, ...]],
        tick: float,
    ) -> None:
        good_at = {
            case.rollout.name: blindness.fleet_good_at(
                case.rollout.name, self._watches[case.rollout.name].last_good, self._heartbeats.values()
            )
            for case in cases
        }
        horizon = tick - blindness.MISSED_TICKS * self._timing.interval
        blind = {
            case.rollout.name: decisions[case.rollout.name].sentence
            for case in cases
            if decisions[case.rollout.name].action is Action.BLIND and good_at[case.rollout.name] <= horizon
        }
        try:
            outages, revision = self._outages.read()
            if not blind and not outages:
                return
            change = blindness.next_outages(
                outages,
                blind=blind,
                seen=frozenset(name for name, good in good_at.items() if good > horizon),
                watched=frozenset(good_at),
                since=min((good_at[name] for name in blind), default=tick),
                tick=tick,
            )
            if change.open != outages:
                self._outages.write(change, revision, self._outage_pages(change, cases, outages, tick))
        except KillswitchError as error:
            self._store_failed(str(error))
            return
        self._trip_the_long_blind(change.open, cases, findings, tick)

    def _outage_pages(
        self, change: blindness.Change, cases: Sequence[Case], before: Sequence[blindness.Outage], tick: float
    ) -> list[Page]:
        by_name = {case.rollout.name: case for case in cases}
        pages: list[Page] = []
        if change.started is not None:
            concerned = [by_name[name] for name in change.started.rollouts]
            policies = [c.rollout.trip_when_blind_after for c in concerned if c.rollout.trip_when_blind_after]
            page = message.blind(
                [case.flag for case in concerned],
                why="; ".join(sorted(set(change.started.rollouts.values()))),
                since=change.started.since,
                at=tick,
                settings=concerned[0].rollout.page,
                trip_at=change.started.since + min(policies) if policies else None,
            )
            pages.append(message.identified(page, change.started.id))
        for outage in change.ended:
            names = [n for old in before if old.id == outage.id for n in old.rollouts if n in by_name]
            if names:  # none is watched any more: there is nothing to recover
                pages.append(
                    message.recovered(
                        PageKind.BLIND,
                        [by_name[name].flag for name in names],
                        follows=outage.id,
                        since=outage.since,
                        at=tick,
                        settings=by_name[names[0]].rollout.page,
                    )
                )
        return pages

    def _trip_the_long_blind(
        self,
        outages: Sequence[blindness.Outage],
        cases: Sequence[Case],
        findings: Mapping[str, tuple[Finding, ...]],
        tick: float,
    ) -> None:
        """The explicit policy `when_blind`; the store refuses it if any replica reports sight meanwhile."""
        blind_since = {name: outage.since for outage in outages for name in outage.rollouts}
        for case in cases:
            after = case.rollout.trip_when_blind_after
            since = blind_since.get(case.rollout.name)
            if after is None or since is None or tick - since < after:
                continue
            seen = tuple(Compare(key, revision) for key, revision in self._heartbeat_revisions.items())
            reason = (
                f"blind for {duration_in_words(tick - since)}: no replica had a usable verdict, and the rule file says "
                f"to trip after {duration_in_words(after)}"
            )
            self._trip(case, reason, (), findings[case.rollout.name], tick, guards=seen)

    # --- the store's own outages ----------------------------------------------------------------

    def _store_failed(self, why: str) -> None:
        self._metrics.store_up.set(0)
        with self._outage_lock:
            if self._store_outage is None:
                self._store_outage = _Outage(self._monotonic(), self._wall(), why)
            self._store_outage.why = why

    def _store_answered(self) -> None:
        self._metrics.store_up.set(1)
        with self._outage_lock:
            outage, self._store_outage = self._store_outage, None
        if outage is not None and outage.told:
            rollouts = self._rules().rollouts
            self._tell(
                message.recovered(
                    PageKind.CANNOT_ACT,
                    [standing.flag for standing in self._flags.values() if standing.flag is not None],
                    follows=outage.page,
                    since=outage.began,
                    at=self._wall(),
                    settings=next(iter(rollouts.values())).page,
                )
            )

    def _check_store_outage(self, at: float) -> None:
        """Page that we cannot act: after a little patience, or at once when a breach is waiting."""
        waiting = sorted(self._trips.under_way)
        with self._outage_lock:
            outage = self._store_outage
            if outage is None:
                return
            late = self._monotonic() - outage.since >= self._timing.store_patience
            due = (late and not outage.told) or (bool(waiting) and not outage.told_of_breach)
            if not due:
                return
            outage.told = True
            outage.told_of_breach = outage.told_of_breach or bool(waiting)
        rollouts = self._rules().rollouts
        first = rollouts[waiting[0]] if waiting and waiting[0] in rollouts else next(iter(rollouts.values()))
        breaches = [report.sentence for name in waiting if self.latest and (report := self.latest.reports.get(name))]
        page = message.cannot_act(
            sorted(self._flags) or sorted(rollouts),
            controller=self._id,
            why=outage.why,
            since=outage.began,
            at=at,
            settings=first.page,
            breaches=breaches or waiting,
        )
        with self._outage_lock:
            outage.page = page.id
        self._tell(page)

    # --- saying ---------------------------------------------------------------------------------

    def _reports(
        self,
        rules: Rules,
        cases: Sequence[Case],
        decisions: Mapping[str, Decision],
        findings: Mapping[str, tuple[Finding, ...]],
    ) -> dict[str, RolloutReport]:
        reports = {
            case.rollout.name: RolloutReport(
                rollout=case.rollout.name,
                sentence=f"{_flag_words(case.flag)}: {_action_words(decisions[case.rollout.name])}",
                action=decisions[case.rollout.name].action.value,
                flag=case.flag,
                rules=case.rollout,
                findings=findings[case.rollout.name],
                last_good=self._watches[case.rollout.name].last_good,
            )
            for case in cases
        }
        for name in (rules.rollouts.keys() | self._flags.keys()) - reports.keys():
            standing = self._flags.get(name)
            flag = standing.flag if standing is not None else None
            rollout = rules.rollouts.get(name)
            reports[name] = RolloutReport(
                rollout=name, sentence=_idle_words(name, flag, rollout), action="none", flag=flag, rules=rollout
            )
        return reports

    def _publish(self, report: CycleReport) -> None:
        previous = self.latest
        self.latest = report
        metrics = self._metrics
        metrics.cycle_seconds.observe(report.seconds)
        metrics.cycles.inc()
        unwatched = 0
        for name in sorted(report.reports):
            one = report.reports[name]
            armed = one.flag is not None and one.flag.armed
            unwatched += armed and one.rules is None
            if one.rules is not None:
                metrics.armed.labels(name).set(float(armed))
                metrics.canary_percent.labels(name).set(one.flag.canary_percent if one.flag else 0.0)
                metrics.findings(name, one.findings)
                if one.last_good:
                    metrics.last_good_evaluation.labels(name).set(one.last_good)
            level = logging.INFO
            if one.action in (Action.TRIP, Action.WOULD_TRIP, Action.BLIND) or (armed and one.rules is None):
                level = logging.WARNING
            log.log(
                level, "%s %s", name, one.sentence, extra={"rollout": name, "tick": report.tick, "action": one.action}
            )
        metrics.rollouts_without_rules.set(unwatched)
        if previous is not None:
            for gone in previous.reports.keys() - report.reports.keys():
                metrics.forget(gone)


_NOTICES: tuple[tuple[str, frozenset[Reason], Callable[..., Page]], ...] = (
    ("control_too", frozenset({Reason.CONTROL_TOO}), message.control_too),
    ("traffic_split", frozenset({Reason.TRAFFIC_SPLIT}), message.traffic_split),
    ("never_seen", frozenset({Reason.NEVER_SEEN}), message.never_seen),
    ("internal_error", frozenset({Reason.INTERNAL_ERROR}), message.internal_error),
)


def _flag_words(flag: Flag) -> str:
    return f"[{flag.state.value} g{flag.generation} {flag.stage} {flag.canary_percent:g}%]"


def _action_words(decision: Decision) -> str:
    if decision.action is Action.TRIP:
        return f"TRIP: {decision.sentence}"
    return decision.sentence


def _idle_words(name: str, flag: Flag | None, rollout: Rollout | None) -> str:
    if flag is None:
        return "[no flag]: routers send everything to control; arm it with `killswitch arm " + name + "`"
    if flag.state is State.TRIPPED and flag.trip is not None:
        return f"{_flag_words(flag)}: tripped by {flag.trip.by}: {flag.trip.reason}"
    if rollout is None:
        return (
            f"{_flag_words(flag)}: NOBODY WATCHES IT: no rule file has this rollout; add one or `killswitch end {name}`"
        )
    return f"{_flag_words(flag)}: not judged yet"
