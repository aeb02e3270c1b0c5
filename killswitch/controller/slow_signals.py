"""The daily job of slow signals: ask the warehouse, keep what was found, and pin a canary that is over its limit.

One replica asks: the one that has a claim under a lease. A pin is about the generation that was judged. If someone
re-arms the canary while the warehouse is asked, nothing is pinned, and the next look asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from killswitch.controller.drafts import drafted
from killswitch.errors import BadDocument, BadSettings, KillswitchError, OutcomeUnknown
from killswitch.flags.flag import Flag
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor, State
from killswitch.model import Finding, Mode, Reason, Rollout, Unit, Unreadable
from killswitch.pages import events, slow_events
from killswitch.pages.notices import Notice, Notices
from killswitch.pages.outbox_entry import into_outbox
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import ExposureHistory, earlier_generations, history_of
from killswitch.slow.judging import judge_slow
from killswitch.slow.standing import SlowStanding, from_document, is_due, standing_of, to_document
from killswitch.slow.window import window_of
from killswitch.slow_settings import SlowSettings
from killswitch.stores import Committed, Compare, Item, Lease, Put, Store, keys
from killswitch.trips.incidents import incidents_of
from killswitch.trips.request import TripOutcome, TripRequest
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch

log = logging.getLogger(__name__)
CLAIMED_FOR: Final = 1800.0  # seconds; an evaluation is ended before
REST: Final = 300.0  # seconds after which one replica asks again about one generation, doubled each time in a row
LONGEST_REST: Final = 3600.0

# The findings at a time. It raises BadSettings for a package or a password that is missing, and for nothing else.
Evaluate = Callable[[SlowSettings, ExposureHistory, float], Sequence[SlowFinding]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """When this replica has asked the warehouse about a generation, and how long it does not ask again."""

    generation: int
    at: float
    rest: float

    def rests(self, generation: int, now: float) -> bool:
        return generation == self.generation and 0.0 <= now - self.at < self.rest

    def again(self, generation: int, now: float) -> _Asked:
        in_a_row = generation == self.generation and 0.0 <= now - self.at < 2.0 * self.rest
        return _Asked(generation, now, min(2.0 * self.rest, LONGEST_REST) if in_a_row else REST)


class SlowSignals:
    """What one replica does about slow signals. ``wall`` gives Unix seconds; ``rollouts`` the rule files in force."""

    def __init__(
        self,
        store: Store,
        switch: Switch,
        *,
        rollouts: Callable[[], Mapping[str, Rollout]],
        evaluate: Evaluate,
        controller_id: str,
        version: str,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._switch = switch
        self._rollouts = rollouts
        self._evaluate = evaluate
        self._id = controller_id
        self._version = version
        self._wall = wall
        self._notices = Notices(store, wall=wall)
        # without it an answer that cannot be kept, or two versions of a rule file, ask a warehouse at every look
        self._asked: dict[str, _Asked] = {}

    def look(self) -> None:
        """Evaluate what is due. Errors are logged: the next look tries again."""
        slow = {name: rollout for name, rollout in self._rollouts().items() if rollout.slow is not None}
        if not slow:
            return
        try:
            stored, _ = self._switch.everything()
            standings = {item.key: item for item in self._store.list(keys.SLOW_STANDINGS).items}
        except KillswitchError as error:
            log.warning("slow signals are not looked at: %s", error)
            return
        for name in sorted(slow.keys() & stored.keys()):
            try:
                self._look_at(slow[name], stored[name], standings.get(keys.slow_standing(name)))
            except OutcomeUnknown:
                continue  # the next look reads what has become of it
            except KillswitchError as error:
                log.warning("%s: its slow signals are not judged: %s", name, error)
            except Exception:
                # one rollout must not cost the others their look
                log.exception("%s: its slow signals are not judged: unexpected error", name)

    def _look_at(self, rollout: Rollout, stored: StoredFlag, item: Item | None) -> None:
        assert stored.flag is not None
        before = self._asked.get(rollout.name, _Asked(0, 0.0, REST))
        if not self._is_due(rollout, stored, item) or before.rests(stored.flag.generation, self._wall()):
            return
        lease = self._store.grant(CLAIMED_FOR)
        try:
            if not self._claimed(rollout.name, lease):
                return
            # the rollouts before this one may have taken an hour, in which another replica has asked about this one
            stored, item = self._switch.stored(rollout.name), self._store.get(keys.slow_standing(rollout.name))
            if stored.flag is not None and self._is_due(rollout, stored, item):
                self._asked[rollout.name] = before.again(stored.flag.generation, self._wall())
                self._judge(rollout, stored, item)
        finally:
            self._store.revoke(lease)

    def _is_due(self, rollout: Rollout, stored: StoredFlag, item: Item | None) -> bool:
        assert rollout.slow is not None
        assert stored.flag is not None
        if stored.flag.completion is not None:
            return False  # it is over: control may be out of service, so nothing may send users there by itself
        return is_due(rollout.slow, _understood(item, rollout.name), stored.flag.generation, self._wall())

    def _claimed(self, rollout: str, lease: Lease) -> bool:
        key = keys.claim(f"slow/{rollout}")
        outcome = self._store.commit((Compare(key, 0),), (Put(key, self._id.encode(), lease),))
        return isinstance(outcome, Committed)

    def _judge(self, rollout: Rollout, stored: StoredFlag, item: Item | None) -> None:
        flag, now, before = stored.flag, self._wall(), _understood(item, rollout.name)
        assert flag is not None
        assert rollout.slow is not None
        history = exposure_history(self._store, flag)
        findings = self._found(rollout.slow, history, now)
        standing = standing_of(rollout.name, flag.generation, findings, before, now)
        _log(standing, before)
        if standing.breaches and flag.state is not State.PINNED and not self._pin(rollout, stored, standing, findings):
            return  # the flag has changed: nothing is kept, so that the next look judges it as it is now
        writes = [Put(keys.slow_standing(rollout.name), to_document(standing))]
        unheard = standing.unheard(standing.evaluated_at) if flag.armed and history.waves else ()
        if unheard and _newly_evaluated(standing, before):
            page = slow_events.slow_unknown(
                flag, [one.signal for one in unheard], [one.sentence for one in unheard], at=now, settings=rollout.page
            )
            writes.append(into_outbox(page, at=now))
        # a lost comparison: another replica has judged the same
        revision = 0 if item is None else item.mod_revision
        self._store.commit((Compare(keys.slow_standing(rollout.name), revision),), writes)

    def _found(self, settings: SlowSettings, history: ExposureHistory, now: float) -> Sequence[SlowFinding]:
        try:
            return self._evaluate(settings, history, now)
        except BadSettings as error:
            return unknown_findings(settings, history, now, Unreadable(Reason.SOURCE_REFUSED, str(error)))

    # --- the pin ----------------------------------------------------------------------------------

    def _pin(
        self, rollout: Rollout, stored: StoredFlag, standing: SlowStanding, findings: Sequence[SlowFinding]
    ) -> bool:
        """Whether it is pinned now, or need not be."""
        flag = stored.flag
        assert flag is not None
        draft = self._draft(rollout, standing, findings)
        if rollout.mode is Mode.DRY_RUN:
            self._would_pin(rollout, flag, draft)
            return True
        request = TripRequest(
            draft,
            generation=flag.generation,
            actor=Actor.CONTROLLER,
            at=draft.decided_at,
            page=rollout.page,
            armed_at=flag.armed_at,
            stored=stored,
        )
        outcome = self._switch.pin(request).outcome
        if outcome is TripOutcome.TRIPPED:
            log.warning("%s: all users go to control: %s", rollout.name, draft.reason)
        else:
            log.info("%s: not pinned: %s", rollout.name, outcome)
        return outcome is TripOutcome.TRIPPED

    def _would_pin(self, rollout: Rollout, flag: Flag, draft: IncidentDraft) -> None:
        incident = draft.on(flag)
        key = keys.notice(rollout.name, flag.generation, "would_pin")
        self._notices.tell([Notice(key, events.would_trip(incident, rollout.page), incident)])

    def _draft(self, rollout: Rollout, standing: SlowStanding, findings: Sequence[SlowFinding]) -> IncidentDraft:
        over = "; ".join(one.sentence for one in standing.breaches)
        would = "would pin (dry run): " if rollout.mode is Mode.DRY_RUN else ""
        return drafted(
            rollout,
            f"{would}{over}",
            rules=tuple(f"slow.{one.signal}" for one in standing.breaches),
            findings=tuple(_as_finding(finding) for finding in findings),
            at=self._wall(),
            tick=standing.evaluated_at,
            controller=self._id,
            version=self._version,
        )


def exposure_history(store: Store, flag: Flag) -> ExposureHistory:
    """Who was exposed to the flag's canary from when on. Raises what the store raises."""
    incidents = [one.incident for one in incidents_of(store, flag.rollout) if one.incident is not None]
    return history_of(flag, earlier_generations(flag, incidents))


def unknown_findings(
    settings: SlowSettings, history: ExposureHistory, now: float, why: Unreadable
) -> tuple[SlowFinding, ...]:
    """What an evaluation that could not be made has found: nothing, and why."""
    windows = [window_of(settings, signal, history, now) for signal in settings.signals]
    return tuple(
        judge_slow(signal, why, signals=len(windows), evaluated_at=window.evaluated_at, expected_day=window.expected)
        for signal, window in zip(settings.signals, windows, strict=True)
    )


def _understood(item: Item | None, rollout: str) -> SlowStanding | None:
    if item is None:
        return None
    try:
        return from_document(item.value, rollout=rollout)
    except BadDocument as error:
        log.warning("%s; its slow signals are judged again", error)
        return None


def _newly_evaluated(standing: SlowStanding, before: SlowStanding | None) -> bool:
    """Whether it is of another day than the one before: a retry of one day is not told again."""
    return before is None or before.evaluated_at != standing.evaluated_at


def _log(standing: SlowStanding, before: SlowStanding | None) -> None:
    said = {} if before is None else {one.signal: one.sentence for one in before.signals}
    for one in standing.signals:
        if said.get(one.signal) != one.sentence:
            level = logging.WARNING if one.reason is not None or one in standing.breaches else logging.INFO
            log.log(level, "%s: %s", standing.rollout, one.sentence)


def _as_finding(finding: SlowFinding) -> Finding:
    """As an incident keeps it, next to the rules of fast signals."""
    unit = Unit.FRACTION if finding.as_share else Unit.NUMBER
    limit = -finding.limit if finding.lower_is_worse else finding.limit
    return Finding(
        f"slow.{finding.signal}",
        finding.verdict,
        finding.reason,
        finding.sentence,
        unit,
        canary=finding.canary,
        control=finding.control,
        limit=None if finding.control is None else finding.control + limit,
        samples_canary=float(finding.canary_users),
        samples_control=float(finding.control_users),
        evidence=finding.evidence,
        needed=finding.needed,
    )
