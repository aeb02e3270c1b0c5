"""The flip: armed to tripped with its incident and its page, one rollout at a time or many in one transaction.

Every flip compares the revision it was decided on. A lost comparison or a lost answer is followed by a linearizable
re-read; a second trip of one generation changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from killswitch.errors import BadTransaction, KillswitchError, NoFlag, OutcomeUnknown, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags import pinning
from killswitch.flags.change import Deed
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.incident import Incident, incident_id
from killswitch.flags.incident import to_document as incident_document
from killswitch.pages import events, pin_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.trips.flag_history import line_of
from killswitch.trips.request import Alone, TripOutcome, TripRequest, TripResult
from killswitch.trips.stored_flags import StoredFlag, StoredFlags

ATTEMPTS = 6
_MILLISECOND = 0.001
_NO_REVISION = 2**62  # no store gets there


@dataclass(frozen=True, slots=True)
class _Draft:
    incident: str
    part: Part[str]
    guards: Sequence[Compare]


class Flips(StoredFlags):
    """Makes flips on what it reads of the store. ``wall`` gives Unix seconds; ``origin`` says from where they come."""

    def __init__(self, store: Store, *, wall: Callable[[], float], origin: str) -> None:
        super().__init__(store)
        self._wall = wall
        self._origin = origin

    def try_writing(self, rollout: str) -> None:
        """Ask for what a trip writes, on a condition that never holds. Changes nothing; raises what the store raises.

        etcd checks permissions and space before it compares, sqlite whether the file may be written.
        """
        written = (
            keys.flag(rollout),
            keys.incident(rollout, 0),
            keys.outbox(incident_id(rollout, 0)),
            keys.flag_change(rollout, 0.0, 0, 0, Deed.TRIP.value),
        )
        self._store.commit((Compare(keys.flag(rollout), _NO_REVISION),), [Put(key, b"{}") for key in written])

    def trip_together(self, requests: Sequence[TripRequest]) -> list[TripResult | KillswitchError | Alone]:
        """As `trip`, as many in one transaction as fit; what became of each, in their order.

        Each keeps its own comparisons. Where one of a transaction fails, the store does not say whose it was. Then each
        is to be tried alone, so that one stale rollout does not hold up the others.
        """
        found: dict[int, TripResult | KillswitchError | Alone] = {}
        parts: list[Part[int]] = []
        guards: dict[Compare, None] = {}
        for number, request in enumerate(requests):
            try:
                drafted = self._drafted(request)
            except KillswitchError as error:
                found[number] = error
                continue
            if isinstance(drafted, _Draft):
                parts.append(Part(number, drafted.part.compares, drafted.part.writes))
                found[number] = TripResult(TripOutcome.TRIPPED, drafted.incident)
                guards |= dict.fromkeys(drafted.guards)
            else:
                found[number] = drafted
        for portion in portions(parts, guards=tuple(guards)):
            compares = [compare for part in portion for compare in part.compares]
            writes = [write for part in portion for write in part.writes]
            outcome = self._outcome((*compares, *guards), writes)
            for part in portion:
                tripped = found[part.subject]
                if not isinstance(outcome, Committed):
                    found[part.subject] = outcome
                elif isinstance(tripped, TripResult):
                    found[part.subject] = replace(tripped, revision=outcome.revision)
        return [found[number] for number in range(len(requests))]

    def _outcome(
        self, compares: Sequence[Compare], writes: Sequence[Put | Delete]
    ) -> Committed | KillswitchError | Alone:
        try:
            outcome = self._store.commit(compares, writes)
        except OutcomeUnknown:
            return Alone(sent=True)
        except BadTransaction:
            return Alone()
        except KillswitchError as error:
            return error
        return outcome if isinstance(outcome, Committed) else Alone()

    def _drafted(self, request: TripRequest) -> _Draft | TripResult | Alone:
        """The request's part of a transaction, on the flag as it was read a moment ago."""
        stored = request.stored
        if stored is None or stored.flag is None:
            return Alone()
        guards = self._guarded(request, stored, sent=False)
        if isinstance(guards, TripResult):
            return guards
        incident = incident_id(request.rollout, stored.flag.generation)
        key = keys.incident(request.rollout, stored.flag.generation)
        return _Draft(incident, self._trip_part(request, stored, incident, key), guards)

    def trip(self, request: TripRequest, *, sent: bool = False) -> TripResult:
        """Armed -> tripped with incident and outbox entry, in one transaction.

        ``sent``: this request was sent before, and no answer came.
        Raises Unavailable when the store cannot be reached (nothing is known to have changed),
        OutcomeUnknown when it could not even be re-read, NoFlag when a person names none.
        """
        incident_key: str | None = None
        for attempt in range(ATTEMPTS):
            known = request.stored if attempt == 0 and not sent else None
            stored = known or self.stored(request.rollout)
            guards = self._guarded(request, stored, sent=sent)
            if isinstance(guards, TripResult):
                return guards
            assert stored.flag is not None
            incident = incident_id(request.rollout, stored.flag.generation)
            key = incident_key or keys.incident(request.rollout, stored.flag.generation)
            try:
                outcome = self._commit_trip(request, stored, incident, key, guards)
            except OutcomeUnknown:
                sent = True
                continue
            if isinstance(outcome, Committed):
                return TripResult(TripOutcome.TRIPPED, incident, outcome.revision)
            if self.stored(request.rollout) != stored:
                continue  # the flag itself has changed, most likely another replica's flip: the guards may well hold
            request.lost()
            if self._store.get(key) is not None:
                # An incident of this generation exists though the flag is armed: someone wrote the flag by
                # hand or restored it. Its record is kept; refusing to trip would be a missed kill.
                incident_key = f"{keys.incident(request.rollout, stored.flag.generation)}.{stored.revision}"
        raise Unavailable(f"{request.rollout} changed {ATTEMPTS} times while it was being tripped; will try again")

    def _guarded(self, request: TripRequest, stored: StoredFlag, *, sent: bool) -> Sequence[Compare] | TripResult:
        """What the request's transaction must compare besides the flag, or why none is to be made."""
        settled = self._settled(request, stored, sent=sent)
        if settled is not None:
            return settled
        guards = request.guards()
        if guards is None:
            return TripResult(TripOutcome.SUPERSEDED)
        # Asked once the guards are made: guards made after a long pause would prove nothing about it.
        if not request.still_valid():
            return TripResult(TripOutcome.EXPIRED)
        return guards

    def _settled(self, request: TripRequest, stored: StoredFlag, *, sent: bool) -> TripResult | None:
        flag = stored.flag
        if flag is None:
            if request.generation is None:
                raise NoFlag(request.rollout, self.names())
            return TripResult(TripOutcome.SUPERSEDED)
        if request.generation is not None and flag.generation != request.generation:
            return TripResult(TripOutcome.SUPERSEDED)
        if request.armed_at is not None and flag.armed_at != request.armed_at:
            return TripResult(TripOutcome.SUPERSEDED)
        if flag.trip is not None and not flags.drilled(flag):
            # documents hold milliseconds, a person's clock gives more
            ours = sent and flag.trip.by == request.draft.by and abs(flag.trip.at - request.at) < _MILLISECOND
            if ours:
                return TripResult(TripOutcome.TRIPPED, flag.trip.incident, stored.revision)
            return TripResult(TripOutcome.ALREADY_TRIPPED, flag.trip.incident)
        return None

    def _commit_trip(
        self, request: TripRequest, stored: StoredFlag, incident: str, key: str, guards: Sequence[Compare]
    ) -> object:
        part = self._trip_part(request, stored, incident, key)
        return self._store.commit((*part.compares, *guards), part.writes)

    def _trip_part(self, request: TripRequest, stored: StoredFlag, incident: str, key: str) -> Part[str]:
        """One flip, its incident and its page: together in one transaction, or not at all."""
        assert stored.flag is not None
        tripped = (pinning.pin if request.pin else flags.trip)(
            stored.flag,
            rollout=request.rollout,
            reason=request.draft.reason,
            rules=request.draft.rules,
            incident=incident,
            now=request.at,
            by=request.draft.by,
            actor=request.actor,
        )
        record = request.draft.on(flags.as_served(stored.flag))
        flag_key = keys.flag(request.rollout)
        writes = [
            Put(flag_key, flag_document(tripped)),
            Put(key, incident_document(record)),
            into_outbox(_page(record, request), at=self._wall()),
            *line_of(
                request.rollout,
                stored,
                tripped,
                at=self._wall(),
                by=request.draft.by,
                origin=self._origin,
                deed=Deed.TRIP if flags.drilled(stored.flag) and not request.pin else None,
            ),
        ]
        return Part(request.rollout, (Compare(flag_key, stored.revision), Compare(key, 0)), writes)


def _page(incident: Incident, request: TripRequest) -> Page:
    if request.pin:
        return pin_events.pinned_by_trip(incident, request.page)
    return events.tripped(incident, request.page)
