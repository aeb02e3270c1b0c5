"""Alerts act: a message of an Alertmanager holds and trips rollouts, each at most once, however many replicas get it.

A trip is the switch's own: it compares the flag that the choice was made on, and a second one of a generation changes
nothing. A hold, what is remembered and its page are one transaction. After a lost comparison all is read again. What
the store did not take is asked for again: the sender repeats its message where the answer says that this helps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from killswitch import __version__
from killswitch.alert_settings import AlertSettings
from killswitch.alerts.deciding import Choice, choose
from killswitch.alerts.message import Alert
from killswitch.alerts.seen import Did, Seen, SeenAlert, from_document, to_document, with_seen
from killswitch.errors import BadDocument, KillswitchError, Refused
from killswitch.flags.cited_alert import cited
from killswitch.flags.flag import MAX_NAME, Flag
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.model import Finding, Mode, Rollout
from killswitch.pages import alert_events, events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Put, Store, keys
from killswitch.timestamps import to_iso
from killswitch.trips.holding import hold_writes
from killswitch.trips.request import TripOutcome, TripRequest
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from killswitch.wording import counted, plain

log = logging.getLogger(__name__)
ATTEMPTS = 6
_SUMMARY = 300


class AlertOutcome(StrEnum):
    TRIPPED = "tripped"
    HELD = "held"
    WOULD_TRIP = "would trip"
    NOTHING = "nothing"
    REFUSED = "refused"
    RETRY = "retry"  # the flag store did not take it; the same message again may help


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of the alerts about one rollout, in words."""

    rollout: str
    outcome: AlertOutcome
    said: str


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The alerts of one message about one rollout, with what each is to do; ``alert``: the one that does most."""

    alert: Alert
    choice: Choice
    settings: AlertSettings
    all: Sequence[tuple[Alert, Choice]]

    @property
    def others(self) -> int:
        return sum(choice.do >= self.choice.do for _, choice in self.all) - 1


class AlertActing:
    """``wall`` gives Unix seconds; ``origin``: as in `Switch`.

    ``findings``: those of the newest cycle about the generation of this flag. ``flipped`` gets rollout, generation and
    store revision of every trip of ours, once it is committed.
    """

    def __init__(
        self,
        store: Store,
        switch: Switch,
        *,
        controller_id: str,
        origin: str,
        findings: Callable[[Flag], tuple[Finding, ...]],
        flipped: Callable[[str, int, int], None],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._switch = switch
        self._id = controller_id
        self._origin = origin
        self._findings = findings
        self._flipped = flipped
        self._wall = wall

    def act(self, rollout: Rollout, alerts: Sequence[Alert]) -> Acted:
        """Do what the firing ``alerts`` about ``rollout`` ask for. Raises nothing that the store raises."""
        assert rollout.alerts is not None
        try:
            for _ in range(ATTEMPTS):
                acted = self._attempt(rollout, rollout.alerts, alerts)
                if acted is not None:
                    return acted
        except BadDocument as error:  # a flag that routers do not obey either
            return Acted(rollout.name, AlertOutcome.REFUSED, f"its flag cannot be read, no alert acts on it: {error}")
        except Refused as error:
            log.error("%s: an alert could not act: %s", rollout.name, error)  # noqa: TRY400  ours, with its fix
            return Acted(rollout.name, AlertOutcome.RETRY, f"could not act: {error}")
        except KillswitchError as error:
            log.warning("%s: an alert could not act yet: %s", rollout.name, error)
            return Acted(rollout.name, AlertOutcome.RETRY, f"could not act yet, send it again: {error}")
        return Acted(rollout.name, AlertOutcome.RETRY, "its flag changed all the time; send it again")

    def _attempt(self, rollout: Rollout, settings: AlertSettings, alerts: Sequence[Alert]) -> Acted | None:
        """What was done; None if something has changed since it was read."""
        stored = self._switch.stored(rollout.name)
        seen, seen_at = self._seen(rollout.name)
        chosen = _chosen(alerts, stored.flag, settings, seen, self._wall())
        if chosen.choice.do is Did.TRIPPED and rollout.mode is Mode.ENFORCE:
            return self._trip(rollout, stored, chosen)
        if chosen.choice.do is Did.NOTHING:
            self._note(rollout.name, stored.flag, chosen)
            return Acted(rollout.name, AlertOutcome.NOTHING, f"{_in_words(chosen.alert)}: {chosen.choice.why}")
        return self._hold(rollout, stored, chosen, seen, seen_at)

    # --- trip -----------------------------------------------------------------------------------

    def _trip(self, rollout: Rollout, stored: StoredFlag, chosen: _Chosen) -> Acted:
        flag = stored.flag
        assert flag is not None
        now = self._wall()
        request = TripRequest(
            self._draft(rollout, flag, chosen, now),
            generation=flag.generation,
            actor=Actor.CONTROLLER,
            at=now,
            page=rollout.page,
            armed_at=flag.armed_at,
            stored=stored,
        )
        result = self._switch.trip(request)
        self._note(rollout.name, flag, chosen)
        if result.outcome is TripOutcome.TRIPPED:
            log.warning("%s: tripped by an alert, all traffic to control: %s", rollout.name, request.draft.reason)
            if result.revision:
                self._flipped(rollout.name, flag.generation, result.revision)
            return Acted(
                rollout.name, AlertOutcome.TRIPPED, f"tripped, incident {result.incident}: {request.draft.reason}"
            )
        return Acted(rollout.name, AlertOutcome.NOTHING, f"{_in_words(chosen.alert)}: {result.outcome.value}")

    def _draft(self, rollout: Rollout, flag: Flag, chosen: _Chosen, now: float) -> IncidentDraft:
        alert = chosen.alert
        return IncidentDraft(
            rollout=rollout.name,
            automatic=True,
            by="Alertmanager",
            reason=_reason(alert, chosen.others),
            rules=(),
            findings=self._findings(flag),
            decided_at=now,
            decide=rollout.decide,
            mode=rollout.mode,
            window=rollout.window,
            min_requests=rollout.min_requests,
            rules_file=rollout.file,
            rules_digest=rollout.digest,
            controller=self._id,
            version=__version__,
            alert=cited(
                alert.name, alert.fingerprint, alert.starts_at, alert.labels, alert.annotations, alert.generator_url,
                others=chosen.others,
            ),
        )  # fmt: skip

    # --- hold, and what a dry run would do ------------------------------------------------------

    def _hold(self, rollout: Rollout, stored: StoredFlag, chosen: _Chosen, seen: Seen, seen_at: int) -> Acted | None:
        flag = stored.flag
        assert flag is not None
        now = self._wall()
        reason = _reason(chosen.alert, chosen.others) + (f" ({chosen.choice.why})" if chosen.choice.why else "")
        compares = [Compare(keys.flag(rollout.name), stored.revision), Compare(keys.alerts(rollout.name), seen_at)]
        writes = [self._memory(rollout.name, flag, chosen, seen)]
        if rollout.mode is Mode.DRY_RUN:
            acted = Acted(rollout.name, AlertOutcome.NOTHING, f"dry run, nothing was changed; would hold: {reason}")
            if chosen.choice.do is Did.TRIPPED:
                incident = self._draft(rollout, flag, chosen, now).on(flag)
                writes.append(into_outbox(events.would_trip(incident, rollout.page), at=now))
                acted = Acted(rollout.name, AlertOutcome.WOULD_TRIP, f"dry run, nothing was changed: {reason}")
        else:
            held = self._store.get(keys.hold(rollout.name))
            acted = Acted(
                rollout.name, AlertOutcome.HELD, f"no step up until `killswitch resume {rollout.name}`: {reason}"
            )
            if held is None:
                by = plain(f"alert {chosen.alert.name}", MAX_NAME)
                put, line = hold_writes(rollout.name, stored, reason=reason, by=by, origin=self._origin, at=now)
                compares.append(Compare(put.key, 0))
                page = self._page(flag, chosen.alert, reason, rollout, now)
                writes += [put, *line, into_outbox(page, at=now)]
            else:
                acted = Acted(rollout.name, AlertOutcome.NOTHING, f"{_in_words(chosen.alert)}: it is held already")
        if not isinstance(self._store.commit(compares, writes), Committed):
            return None
        if acted.outcome is not AlertOutcome.NOTHING:
            log.warning("%s: %s by an alert: %s", rollout.name, acted.outcome.value, reason)
        return acted

    @staticmethod
    def _page(flag: Flag, alert: Alert, why: str, rollout: Rollout, now: float) -> Page:
        identity = f"{alert.fingerprint}.{to_iso(alert.starts_at)}"
        return alert_events.held_by_alert(flag, why, identity=identity, at=now, settings=rollout.page)

    # --- what is remembered ---------------------------------------------------------------------

    def _seen(self, rollout: str) -> tuple[Seen, int]:
        item = self._store.get(keys.alerts(rollout))
        if item is None:
            return {}, 0
        try:
            return from_document(item.value, rollout=rollout), item.mod_revision
        except BadDocument as error:
            log.warning("%s; it begins again", error)
            return {}, item.mod_revision

    def _memory(self, rollout: str, flag: Flag | None, chosen: _Chosen, seen: Seen) -> Put:
        generation, now = 0 if flag is None else flag.generation, self._wall()
        for alert, choice in chosen.all:
            seen = with_seen(seen, alert.fingerprint, SeenAlert(alert.starts_at, generation, choice.do), now=now)
        return Put(keys.alerts(rollout), to_document(seen, rollout=rollout))

    def _note(self, rollout: str, flag: Flag | None, chosen: _Chosen) -> None:
        """Remember the alerts after all was done. Best effort: what is forgotten is judged by its beginning."""
        try:
            for _ in range(ATTEMPTS):
                seen, seen_at = self._seen(rollout)
                put = self._memory(rollout, flag, chosen, seen)
                if seen_at and put.value == to_document(seen, rollout=rollout):
                    return
                if isinstance(self._store.commit((Compare(put.key, seen_at),), (put,)), Committed):
                    return
        except KillswitchError as error:
            log.warning("%s: that its alerts were seen could not be stored: %s", rollout, error)


def _chosen(alerts: Sequence[Alert], flag: Flag | None, settings: AlertSettings, seen: Seen, now: float) -> _Chosen:
    found = [(alert, choose(alert, flag, settings, seen.get(alert.fingerprint), now=now)) for alert in alerts]
    alert, choice = max(found, key=lambda one: (one[1].do, one[0].starts_at))
    return _Chosen(alert, choice, settings, found)


def _in_words(alert: Alert) -> str:
    return f"alert {plain(alert.name, 120)}"


def _reason(alert: Alert, others: int) -> str:
    """``alert CopilotErrors has fired since 2026-04-19T14:22:11Z: 8% of answers fail (and 2 more alerts)``."""
    annotations: Mapping[str, str] = alert.annotations
    summary = annotations.get("summary") or annotations.get("description") or annotations.get("message") or ""
    said = f": {plain(summary, _SUMMARY)}" if summary.strip() else ""
    more = f" (and {counted(others, 'more alert')})" if others else ""
    return f"{_in_words(alert)} has fired since {to_iso(alert.starts_at)}{said}{more}"


def about(alert: Alert, rollouts: Mapping[str, Rollout]) -> Iterator[Rollout]:
    """The rollouts whose rule files say that this alert is about them."""
    for rollout in rollouts.values():
        if rollout.alerts is not None and rollout.alerts.about(rollout.name, alert.labels):
            yield rollout
