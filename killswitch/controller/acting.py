"""What follows from a decision: a trip, or the page of a trip that a dry run would have made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from killswitch.controller.announcements import Announcements
from killswitch.controller.drafts import drafted
from killswitch.controller.known_flags import KnownFlags
from killswitch.controller.store_health import StoreHealth
from killswitch.controller.tick_clock import TickClock
from killswitch.errors import KillswitchError
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.fleet.session import Session
from killswitch.fleet.sight import LongBlind
from killswitch.model import Finding, Mode
from killswitch.pages import events
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import Compare
from killswitch.trips.pending import Settled, Trips
from killswitch.trips.request import TripOutcome, TripRequest
from killswitch.trips.switch import Switch
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.decide import Decision, DecisionKind
from killswitch.verdicts.evaluator import Evaluator
from killswitch.wording import duration_in_words

log = logging.getLogger(__name__)
# This many expired trips in a row is not bad luck: page someone.
EXPIRED_IN_A_ROW = 2


class Acting:
    """Turns decisions into trips. ``max_evidence_age`` and ``session_ttl`` in seconds, ``monotonic`` gives them too.

    ``flipped`` gets rollout, generation and store revision of every flip of ours, once it is committed.
    """

    def __init__(
        self,
        switch: Switch,
        session: Session,
        *,
        controller_id: str,
        version: str,
        clock: TickClock,
        evaluator: Evaluator,
        known: KnownFlags,
        announcements: Announcements,
        health: StoreHealth,
        flipped: Callable[[str, int, int], None],
        metrics: SelfMetrics,
        monotonic: Callable[[], float],
        max_evidence_age: float,
        session_ttl: float,
    ) -> None:
        self._id = controller_id
        self._version = version
        self._clock = clock
        self._evaluator = evaluator
        self._known = known
        self._announcements = announcements
        self._health = health
        self._flipped = flipped
        self._metrics = metrics
        self._expired: dict[str, int] = {}
        self.trips = Trips(
            switch,
            guard=session.guard,
            doubt=session.doubt,
            monotonic=monotonic,
            max_age=max_evidence_age,
            session_ttl=session_ttl,
            on_settled=self._settled,
            on_failure=self._trip_failed,
        )

    def act(self, armed: ArmedRollout, decision: Decision, findings: tuple[Finding, ...], tick: float) -> None:
        """Trip, or say what a trip would have been; nothing for any other decision."""
        tripping = tuple(finding.rule for finding in decision.tripping)
        settings = armed.rollout.page
        if decision.action is DecisionKind.TRIP:
            self._trip(armed, decision.sentence, tripping, findings, tick)
            if self._expired.get(armed.rollout.name, 0) >= EXPIRED_IN_A_ROW:
                page = partial(events.too_late, armed.flag, decision.sentence, at=tick, settings=settings)
                self._announcements.add(armed.flag, "expired", page)
        else:
            self._expired.pop(armed.rollout.name, None)
        if decision.action is DecisionKind.WOULD_TRIP:
            why = "; ".join(finding.sentence for finding in decision.tripping)  # the page's headline says "dry run"
            self._would_trip(armed, "would_trip", self._draft(armed, why, tripping, findings, tick))

    def trip_blind(
        self,
        blind: LongBlind,
        findings: tuple[Finding, ...],
        tick: float,
        *,
        guards: Callable[[], tuple[Compare, ...] | None],
    ) -> None:
        """The explicit policy `when_blind`. ``guards``: what the store compares, so that no other replica sees."""
        armed = blind.armed
        policy = duration_in_words(armed.rollout.trip_when_blind_after or 0.0)
        reason = (
            f"blind for {duration_in_words(tick - blind.since)}: no replica had a usable verdict, and the rule file "
            f"says to trip after {policy}"
        )
        if armed.rollout.mode is Mode.DRY_RUN:
            draft = self._draft(armed, f"would trip (dry run): {reason}", (), findings, tick)
            self._would_trip(armed, "would_trip_blind", draft)
            return
        self._trip(armed, reason, (), findings, tick, guards=guards)

    def trip_spend(self, armed: ArmedRollout, reason: str, findings: tuple[Finding, ...], tick: float) -> None:
        """The explicit policy `on_hard: trip` of a spend cap that the canary has used up."""
        if armed.rollout.mode is Mode.DRY_RUN:
            draft = self._draft(armed, f"would trip (dry run): {reason}", (), findings, tick)
            self._would_trip(armed, "would_trip_spend", draft)
            return
        self._trip(armed, reason, (), findings, tick)

    def _would_trip(self, armed: ArmedRollout, kind: str, draft: IncidentDraft) -> None:
        incident = draft.on(armed.flag)
        page = partial(events.would_trip, incident, armed.rollout.page)
        self._announcements.add(armed.flag, kind, page, incident)

    def _trip(
        self,
        armed: ArmedRollout,
        reason: str,
        rules: tuple[str, ...],
        findings: tuple[Finding, ...],
        tick: float,
        *,
        guards: Callable[[], tuple[Compare, ...] | None] = tuple,
    ) -> None:
        request = TripRequest(
            draft=self._draft(armed, reason, rules, findings, tick),
            generation=armed.flag.generation,
            actor=Actor.CONTROLLER,
            at=tick,
            page=armed.rollout.page,
            armed_at=armed.flag.armed_at,
            stored=self._known.stored.get(armed.rollout.name),
            guards=guards,
        )
        self.trips.submit(request, decided_at=self._clock.monotonic_at(self._evidence_ends(armed, rules, tick)))

    def _evidence_ends(self, armed: ArmedRollout, rules: Sequence[str], tick: float) -> float:
        """How new the oldest evidence is that is cited: a step may have ended before the tick."""
        views = [self._evaluator.evidence_of(armed, rule) for rule in armed.rollout.rules if rule.name in rules]
        return min((view.updated_at for view in views if view is not None and view.updated_at), default=tick)

    def _draft(
        self, armed: ArmedRollout, reason: str, rules: tuple[str, ...], findings: tuple[Finding, ...], tick: float
    ) -> IncidentDraft:
        draft = drafted(
            armed.rollout, reason,
            rules=rules, findings=findings, at=self._clock.now(), tick=tick, controller=self._id, version=self._version,
        )  # fmt: skip
        return replace(
            draft,
            decide=armed.rollout.decide,
            window=self._evaluator.window_seconds(armed, tick),
            min_requests=armed.rollout.min_requests,
        )

    def _settled(self, settled: Settled) -> None:
        outcome = settled.result.outcome
        self._metrics.trips.labels(settled.rollout, outcome.value).inc()
        if outcome is TripOutcome.EXPIRED:
            if not self._health.outage_under_way:  # an outage has a page of its own
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
        self._health.answered(writing=True)
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
        self._health.failed(error, writing=True, rollout=rollout)
        self._health.check(self.trips.under_way)
