"""One drill from its verdict to its result: committed, paged, followed by routers, and timed leg by leg.

It runs in one replica, in a thread of its own. If that process ends, its lease does, and any other replica finishes
the drill (`killswitch.drill.drills`). A rehearsal leaves nothing behind that would have to be undone; a live drill
leaves a flag with the drill's number in it, which any replica re-arms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from killswitch.drill import keeping
from killswitch.drill.commit import DrillTransaction, begin
from killswitch.drill.keeping import OpenDrill
from killswitch.drill.live import ON_CONTROL, Restored, by_drill, restored, tripped
from killswitch.drill.record import (
    COMMIT,
    DETECTION,
    FIRST_ROUTER,
    PAGE,
    REARM,
    ROLLBACK,
    ROUTERS,
    DrillRecord,
    rollback_of,
)
from killswitch.drill.results import left_in_words, pages_of_result
from killswitch.drill.routers import MOST, RouterLook, RouterTimes, look_at_routers
from killswitch.drill.standing import Claim
from killswitch.drill.verdict import Proven, rehearsed
from killswitch.errors import BadDocument, KillswitchError, Unavailable
from killswitch.flags.change import Deed
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident, IncidentDraft
from killswitch.model import Rollout
from killswitch.pages import drill_events, outbox_entry
from killswitch.pages.outbox_entry import DeliveryState, OutboxEntry
from killswitch.pages.page import Page
from killswitch.stores import Compare, Item, Lease, Put, Store, keys
from killswitch.trips.flag_history import line_of
from killswitch.trips.stored_flags import StoredFlag
from killswitch.wording import counted, duration_in_words

log = logging.getLogger(__name__)
PATIENCE: Final = 60.0  # seconds from the commit until routers and receivers must have answered
POLL: Final = 0.25
OTHERS: Final = 5.0  # seconds between two looks at what must not wait
RUNNER_TTL: Final = 15.0  # seconds; so soon after a process has died another finishes its drill
_NAMED = 5
_CHANGED = "its flag was changed during the drill, by a person, a plan or a real trip"


@dataclass(frozen=True, slots=True)
class Means:
    """What a drill works with. ``guard`` proves that this process was not asleep; ``wake`` starts delivery of pages.

    ``receivers`` names those that a page is for. ``lag``: seconds after which this daemon reads a tick. ``wall`` gives
    Unix seconds, ``monotonic`` seconds, ``sleep`` waits.
    """

    store: Store
    guard: Callable[[], Compare]
    receivers: Callable[[Page], Sequence[str]]
    wake: Callable[[], None]
    controller_id: str
    version: str
    lag: float
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A drill that may begin: its record so far, the rollout and its flag as read, what the routers report, the proof.

    ``cycle``: seconds that this daemon's newest cycle took, because a real breach is found in one. ``ends``: the
    request that it answers; ``claim``: of a scheduled drill.
    """

    record: DrillRecord
    rollout: Rollout
    flag: Flag
    item: Item
    routers: RouterLook
    proven: Proven
    cycle: float
    ends: Item | None = None
    claim: Claim | None = None


class Rehearsal:
    """Runs one prepared drill; `run` returns when it is over.

    ``others`` is called every few seconds: what must not wait for this drill, such as users of another live drill whose
    process has died. It may raise what the store raises.
    """

    def __init__(self, prepared: Prepared, means: Means, *, others: Callable[[], None]) -> None:
        self._prepared = prepared
        self._means = means
        self._store = means.store
        self._record = prepared.record
        self._problems: list[str] = []
        self._others = others
        self._others_at = 0.0  # monotonic, of the newest look at them
        self._began_at = 0.0  # monotonic, of the commit's answer
        self._renewed_at = 0.0

    def run(self) -> DrillRecord | None:
        """The drill as it was kept; None where a comparison failed and nothing was begun.

        Raises what the store raises as long as nothing is begun, and Unavailable for a drill that another look ends.
        """
        lease = self._store.grant(RUNNER_TTL)
        try:
            under_way = self._begin(lease)
            if under_way is None:
                return None
            self._means.wake()
            changed = self._watch(under_way, lease)
            return self._finish(under_way, changed)
        finally:
            _revoke(self._store, lease)

    # --- the commit -----------------------------------------------------------------------------

    def _begin(self, lease: Lease) -> OpenDrill | None:
        prepared, means = self._prepared, self._means
        proven, now = prepared.proven, means.wall()
        page, incident = self._page(now)
        receivers = tuple(means.receivers(page))
        detection = means.lag + prepared.cycle + proven.judged_in
        self._record = replace(
            self._record, began_at=now, rule=proven.rule, sentence=proven.sentence, proven_after=proven.proven_after,
            routers=prepared.routers.known, receivers=receivers, legs={DETECTION: detection},
        )  # fmt: skip
        live = None
        if self._record.live:
            live = tripped(prepared.flag, self._record, reason=incident.reason, rules=incident.rules, now=now)
        transaction = DrillTransaction(
            self._record, prepared.item, incident, page, lease,
            guards=(means.guard(), *([] if prepared.claim is None else [prepared.claim.compare()])),
            ends=prepared.ends, live=live,
            more=(*self._history(live, now), *([] if prepared.claim is None else [prepared.claim.put()])),
        )  # fmt: skip
        sent_at = means.monotonic()
        under_way = begin(self._store, transaction, at=now)
        self._began_at = self._renewed_at = self._others_at = means.monotonic()
        if under_way is not None:
            self._record = replace(self._record, revision=under_way.revision).with_legs(
                **{COMMIT: self._began_at - sent_at}
            )
            log.warning("%s: drill %d has begun", self._record.rollout, self._record.number)
        return under_way

    def _history(self, live: Flag | None, now: float) -> tuple[Put, ...]:
        """The line of the flag's history: a trip and its end where the drill is live, else that one was rehearsed."""
        prepared, record = self._prepared, self._record
        return line_of(
            record.rollout, StoredFlag(prepared.flag, prepared.item.mod_revision), live or prepared.flag,
            at=now, by=by_drill(record), origin=record.origin or f"controller {record.controller}",
            reason="" if live is not None else "rehearsed; the flag is as it was",
            deed=None if live is not None else Deed.DRILL,
        )  # fmt: skip

    def _page(self, now: float) -> tuple[Page, Incident]:
        prepared, proven, record = self._prepared, self._prepared.proven, self._record
        draft = IncidentDraft(
            rollout=record.rollout,
            automatic=True,
            by=self._means.controller_id,
            reason=f"DRILL, made-up readings: {proven.sentence}",
            rules=proven.rules,
            findings=proven.findings,
            decided_at=now,
            tick=now,
            decide=prepared.rollout.decide,
            mode=prepared.rollout.mode,
            window=prepared.rollout.window,
            min_requests=prepared.rollout.min_requests,
            rules_file=prepared.rollout.file,
            rules_digest=prepared.rollout.digest,
            controller=self._means.controller_id,
            version=self._means.version,
        )
        incident = draft.on(rehearsed(prepared.flag))
        page = drill_events.drill(incident, prepared.flag, record.incident, prepared.rollout.page, live=record.live)
        return page, incident

    # --- routers and receivers --------------------------------------------------------------------

    def _watch(self, under_way: OpenDrill, lease: Lease) -> str | None:
        """Look until everyone has answered or patience ends; how the flag was changed by then, None if it was not.

        Raises Unavailable where the flag is still on control: then the drill is not over, and any replica ends it.
        """
        times = RouterTimes(self._prepared.routers, under_way.revision, control=self._record.live)
        on_control = self._record.live  # until it is re-armed
        deliveries: dict[str, float] = {}
        changed: str | None = None
        while True:
            since = self._since()
            try:
                self._keep_alive(lease)
                if changed is None and (on_control or not self._record.live):
                    changed = self._changed(under_way)
                    if changed is None:
                        times.take(look_at_routers(self._store, self._record.rollout), self._since())
                self._take_deliveries(deliveries, self._entry())
                if on_control and (times.all_followed or since >= ON_CONTROL or changed is not None):
                    changed = self._restored() or changed
                    on_control = False
                answered = len(deliveries) >= len(self._record.receivers)
                if not on_control and (changed is not None or (times.all_followed and answered)):
                    break
                self._look_at_others()
            except KillswitchError as error:
                log.warning("%s: its drill waits for the flag store: %s", self._record.rollout, error)
            if (since >= PATIENCE and not on_control) or since >= 2 * PATIENCE:
                break
            self._means.sleep(POLL)
        if on_control:
            raise Unavailable(f"{self._record.rollout}: its live drill could not re-arm it yet; the next look does")
        self._conclude(times, deliveries)
        return changed

    def _look_at_others(self) -> None:
        now = self._means.monotonic()
        if now - self._others_at >= OTHERS:
            self._others_at = now
            self._others()

    def _keep_alive(self, lease: Lease) -> None:
        now = self._means.monotonic()
        if now - self._renewed_at >= RUNNER_TTL / 3:
            self._renewed_at = now
            self._store.keep_alive(lease)

    def _changed(self, under_way: OpenDrill) -> str | None:
        item = self._store.get(keys.flag(self._record.rollout))
        if item is None:
            return "its flag was removed during the drill"
        if item.mod_revision != under_way.revision:
            return _CHANGED
        return None

    def _entry(self) -> OutboxEntry | None:
        item = self._store.get(keys.outbox(self._record.incident))
        try:
            return None if item is None else outbox_entry.from_document(item.value, page=self._record.incident)
        except BadDocument:
            return None

    def _since(self) -> float:
        """Seconds since the commit; asked after each read, so that no leg is called shorter than it was."""
        return self._means.monotonic() - self._began_at

    def _take_deliveries(self, deliveries: dict[str, float], entry: OutboxEntry | None) -> None:
        if entry is None:
            return
        since = self._since()
        for name in self._record.receivers:
            if name not in deliveries and entry.delivery(name).state is DeliveryState.DELIVERED:
                deliveries[name] = since

    def _restored(self) -> str | None:
        """End the live part; how the flag was changed before, None if it was not. Raises what the store raises."""
        found = restored(self._store, self._record, wall=self._means.wall)
        if found is Restored.REARMED:
            self._record = self._record.with_legs(**{REARM: self._since()})
        elif found is Restored.TOO_LATE:
            self._problems.append(left_in_words(self._record, found))
        return _CHANGED if found is Restored.NOT_OURS else None

    # --- the result -------------------------------------------------------------------------------

    def _conclude(self, times: RouterTimes, deliveries: dict[str, float]) -> None:
        legs = {f"{PAGE}{name}": seconds for name, seconds in deliveries.items()}
        if times.first is not None:
            legs[FIRST_ROUTER] = times.first
        if times.nearly_all is not None:
            legs[ROUTERS] = times.nearly_all
        self._record = replace(self._record, followed=times.followed, routers=times.expected).with_legs(**legs)
        rollback = rollback_of(self._record.legs)
        if rollback is not None:
            self._record = self._record.with_legs(**{ROLLBACK: rollback})
        else:
            late = times.late
            named = ", ".join(late[:_NAMED]) + (f" and {len(late) - _NAMED} more" if len(late) > _NAMED else "")
            self._problems.append(
                f"{times.followed} of {counted(times.expected, 'router')} had acted on it after "
                f"{duration_in_words(PATIENCE)}, under {MOST:.0%}; not yet: {named or 'none reports any more'}"
            )
        if times.rerouted:
            self._problems.append(
                f"{counted(len(times.rerouted), 'router')} obeyed another percent after the drill than before, though "
                f"the flag was the same: {', '.join(sorted(times.rerouted)[:_NAMED])}"
            )
        for name in self._record.receivers:
            if name not in deliveries:
                self._problems.append(f"{name} had not taken the page after {duration_in_words(PATIENCE)}")

    def _finish(self, under_way: OpenDrill, changed: str | None) -> DrillRecord:
        now = self._means.wall()
        if changed is not None:
            record = self._record.cut_short(changed, at=now)
        else:
            record = self._record.settled(tuple(self._problems), at=now)
        pages = pages_of_result(record, self._prepared.flag, self._prepared.rollout.page)
        if not keeping.finish(self._store, record, under_way, pages, at=now):
            log.warning("%s: another replica has ended drill %d", record.rollout, record.number)
        log.warning("%s: drill %d %s", record.rollout, record.number, record.outcome.value)
        return record


def _revoke(store: Store, lease: Lease) -> None:
    try:
        store.revoke(lease)
    except KillswitchError as error:
        log.info("the claim of a drill ends with its lease: %s", error)
