"""The switch: reads a flag, applies one row of its state table, commits, and never assumes an outcome.

Every change is one transaction that compares the revision it was decided on. A lost comparison or a
lost answer is followed by a linearizable re-read; a second trip of one generation is a no-op.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from killswitch.documents import parse_object
from killswitch.errors import (
    BadDocument,
    BadTransaction,
    KillswitchError,
    NoFlag,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from killswitch.flags import flag as flags
from killswitch.flags.flag import MAX_GENERATION, Actor, Flag, State
from killswitch.flags.incident import Incident, incident_id
from killswitch.flags.incident import to_document as incident_document
from killswitch.pages.outbox import new_entry
from killswitch.pages.outbox import to_document as outbox_document
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.verdicts.baseline import Baseline
from killswitch.verdicts.baseline import from_document as baseline_from_document
from killswitch.verdicts.baseline import to_document as baseline_document

ATTEMPTS = 6
_MILLISECOND = 0.001
_GENERATION = re.compile(r"[0-9]{1,12}\Z")
_MAX_COUNTER_BYTES = 1024
_NO_REVISION = 2**62  # no store gets there


# Told of an allowed change before it is made, with the flag before and after; it raises what ends it.
Agree = Callable[[Flag | None, Flag], None]


def _unasked(_before: Flag | None, _after: Flag) -> None:
    """For a change that nobody has to agree to."""


@dataclass(frozen=True, slots=True)
class StoredFlag:
    """A rollout's flag as stored, None where absent, and the revision of its last change (0: absent)."""

    flag: Flag | None
    revision: int


class TripOutcome(StrEnum):
    TRIPPED = "tripped"
    ALREADY_TRIPPED = "already tripped"
    SUPERSEDED = "superseded"  # another arming, no flag, or guards that cannot hold: it was about something else
    EXPIRED = "expired"  # the evidence grew too old before the store could take it


@dataclass(frozen=True, slots=True)
class TripResult:
    """``revision`` is the store's revision of the flip where this call made it, else 0."""

    outcome: TripOutcome
    incident: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class TripRequest:
    """Everything a trip is made of.

    ``generation``: the one the verdict is about; None for a person, who means whatever is there.
    ``armed_at``: the flag's, where a verdict is about one arming; None: any arming of that generation.
    ``standing``: the flag as it was read a moment ago; the first attempt is made on it, and the store compares. None:
    it is read first. ``documents``: given the flag as it stands and the incident's id, the incident and its page.
    ``still_valid``: asked before every attempt, after its guards are made; False ends the request as EXPIRED.
    ``guards``: further comparisons, made anew for every attempt, None when they cannot hold any more; ``lost`` is
    told when one has failed, as far as can be seen: the flag itself was as it had been read.
    """

    rollout: str
    generation: int | None
    reason: str
    rules: tuple[str, ...]
    actor: Actor
    by: str
    at: float
    documents: Callable[[Flag, str], tuple[Incident, Page | None]]
    armed_at: float | None = None
    standing: StoredFlag | None = None
    still_valid: Callable[[], bool] = lambda: True
    guards: Callable[[], Sequence[Compare] | None] = tuple
    lost: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Alone:
    """A trip that is to be tried by itself. ``sent``: it may have been applied, or may be still."""

    sent: bool = False


@dataclass(frozen=True, slots=True)
class _Draft:
    incident: str
    part: Part[str]
    guards: Sequence[Compare]


class Switch:
    """All changes of flags go through here. ``wall`` gives Unix seconds; ``by`` names who changes."""

    def __init__(self, store: Store, *, wall: Callable[[], float], by: str) -> None:
        self._store = store
        self._wall = wall
        self._by = by
        self._understood: Mapping[str, tuple[bytes, Flag]] = {}

    def standing(self, rollout: str) -> StoredFlag:
        """Raises BadDocument for a corrupt flag, Unavailable when the store cannot be read."""
        item = self._store.get(keys.flag(rollout))
        if item is None:
            return StoredFlag(None, 0)
        return StoredFlag(flags.from_document(item.value, rollout=rollout), item.mod_revision)

    def everything(self) -> tuple[Mapping[str, StoredFlag], Mapping[str, str]]:
        """All flags by rollout; and, by rollout, what is wrong with those that cannot be understood."""
        good: dict[str, StoredFlag] = {}
        bad: dict[str, str] = {}
        understood: dict[str, tuple[bytes, Flag]] = {}
        for item in self._store.list(keys.FLAGS).items:
            rollout = item.key.removeprefix(keys.FLAGS)
            try:
                flag = self._understand(rollout, item.value)
            except BadDocument as error:
                bad[rollout] = str(error)
                continue
            understood[rollout] = (item.value, flag)
            good[rollout] = StoredFlag(flag, item.mod_revision)
        self._understood = understood
        return good, bad

    def _understand(self, rollout: str, value: bytes) -> Flag:
        """What a document says; the same bytes say the same. Most flags stay as they are from cycle to cycle."""
        known = self._understood.get(rollout)
        if known is not None and known[0] == value:
            return known[1]
        return flags.from_document(value, rollout=rollout)

    def revision(self, rollout: str) -> int:
        """The store's revision of the flag, whatever stands in it; 0 for none."""
        item = self._store.get(keys.flag(rollout))
        return 0 if item is None else item.mod_revision

    def try_writing(self, rollout: str) -> None:
        """Ask for what a trip writes, on a condition that never holds. Changes nothing; raises what the store raises.

        etcd checks permissions and space before it compares, sqlite whether the file may be written.
        """
        written = (keys.flag(rollout), keys.incident(rollout, 0), keys.outbox(incident_id(rollout, 0)))
        self._store.commit((Compare(keys.flag(rollout), _NO_REVISION),), [Put(key, b"{}") for key in written])

    # --- what a person does ---------------------------------------------------------------------

    def arm(
        self,
        rollout: str,
        *,
        control: str,
        canary: str,
        percent: float,
        stage: str,
        salt: str,
        agree: Agree = _unasked,
    ) -> Flag:
        """Absent -> armed; the generation follows all there have been, tripped or not.

        So no old trip outranks it, and nothing that was said or measured of an ended life is about this one.
        """
        standing = self.standing(rollout)
        last, counted_at = self._last_generation(rollout)
        generation = max(last, self._newest_incident(rollout)) + 1
        armed = self._agreed(
            standing,
            agree,
            lambda now: flags.arm(
                standing.flag,
                rollout=rollout,
                control=control,
                canary=canary,
                percent=percent,
                stage=stage,
                now=now,
                by=self._by,
                generation=generation,
                salt=salt,
            ),
        )
        counter = self._counter(rollout, generation)
        return self._replace(rollout, standing, armed, (counter,), also=(Compare(counter.key, counted_at),))

    def set_stage(self, rollout: str, *, percent: float, stage: str, agree: Agree = _unasked) -> Flag:
        standing = self._known(rollout)
        has_baseline = self._has_baseline(rollout, standing)
        changed = self._agreed(
            standing,
            agree,
            lambda now: flags.set_stage(
                standing.flag,
                rollout=rollout,
                percent=percent,
                stage=stage,
                now=now,
                by=self._by,
                actor=Actor.PERSON,
                has_baseline=has_baseline,
            ),
        )
        return self._replace(rollout, standing, changed)

    def rearm(
        self,
        rollout: str,
        *,
        reason: str,
        percent: float,
        stage: str,
        page: Callable[[Flag], Page],
        agree: Agree = _unasked,
    ) -> Flag:
        """Tripped -> armed, generation + 1, and the page that says so, in one transaction."""
        standing = self._known(rollout)
        armed = self._agreed(
            standing,
            agree,
            lambda now: flags.rearm(
                standing.flag, rollout=rollout, reason=reason, now=now, by=self._by, percent=percent, stage=stage
            ),
        )
        last, counted_at = self._last_generation(rollout)
        counter = self._counter(rollout, max(last, armed.generation))
        writes = (counter, self._outbox(page(armed)))
        return self._replace(rollout, standing, armed, writes, also=(Compare(counter.key, counted_at),))

    def end(self, rollout: str) -> None:
        """Armed or tripped -> absent, and what was measured and told of this life goes with it.

        A flag that cannot be understood may be ended too: routers ignore it. Its generation stays counted.
        """
        item = self._store.get(keys.flag(rollout))
        if item is None:
            raise NoFlag(rollout, self._names())
        last, counted_at = self._last_generation(rollout)
        with contextlib.suppress(BadDocument):
            ending = flags.from_document(item.value, rollout=rollout)
            flags.end(ending, rollout=rollout, actor=Actor.PERSON)
            last = max(last, ending.generation)
        writes: list[Put | Delete] = [Delete(item.key)]
        if last:
            writes.append(self._counter(rollout, last))
        compares = (Compare(item.key, item.mod_revision), Compare(keys.generation(rollout), counted_at))
        remains = [Part(one.key, writes=(one,)) for one in self._remains(rollout)]
        self._commit(rollout, compares, writes, None)
        # Nothing reads these once the flag is gone; what a store that fails now keeps does no harm.
        with contextlib.suppress(KillswitchError):
            for portion in portions(remains):
                self._store.commit((Compare(item.key, 0),), [write for part in portion for write in part.writes])

    # --- baselines ------------------------------------------------------------------------------

    def baselines(self) -> tuple[Mapping[tuple[str, int], Baseline], Mapping[tuple[str, int], str]]:
        """What stands in for control at 100 %, by rollout and generation; and what is wrong with unreadable ones."""
        good: dict[tuple[str, int], Baseline] = {}
        bad: dict[tuple[str, int], str] = {}
        for item in self._store.list(keys.BASELINES).items:
            rollout, _, generation = item.key.removeprefix(keys.BASELINES).partition("/")
            if not _GENERATION.match(generation):
                continue
            of = (rollout, int(generation))
            try:
                good[of] = baseline_from_document(item.value, rollout=rollout)
            except BadDocument as error:
                bad[of] = str(error)
        return good, bad

    def keep_baseline(self, baseline: Baseline) -> None:
        """Store it for the armed generation it was measured in; a newer one replaces it."""
        standing = self._known(baseline.rollout)
        assert standing.flag is not None
        put = Put(keys.baseline(baseline.rollout, baseline.generation), baseline_document(baseline))
        if standing.flag.generation != baseline.generation or not standing.flag.armed:
            raise Refused(f"{baseline.rollout} is not armed in generation {baseline.generation} any more")
        compare = Compare(keys.flag(baseline.rollout), standing.revision)
        self._commit(baseline.rollout, (compare,), (put,), standing.flag)

    # --- the trip -------------------------------------------------------------------------------

    def trip_together(self, requests: Sequence[TripRequest]) -> list[TripResult | KillswitchError | Alone]:
        """As `trip`, as many in one transaction as fit; what became of each, in their order.

        Each keeps its own comparisons. Where one of a transaction fails nobody can say whose it was, so each of them is
        to be tried alone: it must not hold the others up.
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
        standing = request.standing
        if standing is None or standing.flag is None:
            return Alone()
        guards = self._guarded(request, standing, sent=False)
        if isinstance(guards, TripResult):
            return guards
        incident = incident_id(request.rollout, standing.flag.generation)
        key = keys.incident(request.rollout, standing.flag.generation)
        return _Draft(incident, self._trip_part(request, standing, incident, key), guards)

    def trip(self, request: TripRequest, *, sent: bool = False) -> TripResult:
        """Armed -> tripped with incident and outbox entry, in one transaction.

        ``sent``: this request was sent before, and no answer came.
        Raises Unavailable when the store cannot be reached (nothing is known to have changed),
        OutcomeUnknown when it could not even be re-read, NoFlag when a person names none.
        """
        incident_key: str | None = None
        for attempt in range(ATTEMPTS):
            known = request.standing if attempt == 0 and not sent else None
            standing = known or self.standing(request.rollout)
            guards = self._guarded(request, standing, sent=sent)
            if isinstance(guards, TripResult):
                return guards
            assert standing.flag is not None
            incident = incident_id(request.rollout, standing.flag.generation)
            key = incident_key or keys.incident(request.rollout, standing.flag.generation)
            try:
                outcome = self._commit_trip(request, standing, incident, key, guards)
            except OutcomeUnknown:
                sent = True
                continue
            if isinstance(outcome, Committed):
                return TripResult(TripOutcome.TRIPPED, incident, outcome.revision)
            if self.standing(request.rollout) != standing:
                continue  # the flag itself has changed, most likely another replica's flip: the guards may well hold
            request.lost()
            if self._store.get(key) is not None:
                # An incident of this generation exists though the flag is armed: somebody wrote the flag by
                # hand or restored it. Its record is kept; refusing to trip would be a missed kill.
                incident_key = f"{keys.incident(request.rollout, standing.flag.generation)}.{standing.revision}"
        raise Unavailable(f"{request.rollout} changed {ATTEMPTS} times while it was being tripped; will try again")

    def _guarded(self, request: TripRequest, standing: StoredFlag, *, sent: bool) -> Sequence[Compare] | TripResult:
        """What the request's transaction must compare besides the flag, or why none is to be made."""
        settled = self._settled(request, standing, sent=sent)
        if settled is not None:
            return settled
        guards = request.guards()
        if guards is None:
            return TripResult(TripOutcome.SUPERSEDED)
        # Asked once the guards are made: guards made after a long pause would prove nothing about it.
        if not request.still_valid():
            return TripResult(TripOutcome.EXPIRED)
        return guards

    def _settled(self, request: TripRequest, standing: StoredFlag, *, sent: bool) -> TripResult | None:
        flag = standing.flag
        if flag is None:
            if request.generation is None:
                raise NoFlag(request.rollout, self._names())
            return TripResult(TripOutcome.SUPERSEDED)
        if request.generation is not None and flag.generation != request.generation:
            return TripResult(TripOutcome.SUPERSEDED)
        if request.armed_at is not None and flag.armed_at != request.armed_at:
            return TripResult(TripOutcome.SUPERSEDED)
        if flag.state is State.TRIPPED:
            assert flag.trip is not None
            # documents hold milliseconds, a person's clock gives more
            ours = sent and flag.trip.by == request.by and abs(flag.trip.at - request.at) < _MILLISECOND
            if ours:
                return TripResult(TripOutcome.TRIPPED, flag.trip.incident, standing.revision)
            return TripResult(TripOutcome.ALREADY_TRIPPED, flag.trip.incident)
        return None

    def _commit_trip(
        self, request: TripRequest, standing: StoredFlag, incident: str, key: str, guards: Sequence[Compare]
    ) -> object:
        part = self._trip_part(request, standing, incident, key)
        return self._store.commit((*part.compares, *guards), part.writes)

    def _trip_part(self, request: TripRequest, standing: StoredFlag, incident: str, key: str) -> Part[str]:
        """One flip, its incident and its page: together in one transaction, or not at all."""
        assert standing.flag is not None
        tripped = flags.trip(
            standing.flag,
            rollout=request.rollout,
            reason=request.reason,
            rules=request.rules,
            incident=incident,
            now=request.at,
            by=request.by,
            actor=request.actor,
        )
        record, page = request.documents(standing.flag, incident)
        flag_key = keys.flag(request.rollout)
        writes = [Put(flag_key, flags.to_document(tripped)), Put(key, incident_document(record))]
        if page is not None:
            writes.append(self._outbox(page))
        return Part(request.rollout, (Compare(flag_key, standing.revision), Compare(key, 0)), writes)

    # --- shared ---------------------------------------------------------------------------------

    def _agreed(self, standing: StoredFlag, agree: Agree, change: Callable[[float], Flag]) -> Flag:
        """The flag as it is to be: nobody is asked about what is not allowed, and thinking it over takes no part in it.

        ``change`` gives the flag changed at a time; the flag's revision is compared with the one that was agreed upon.
        """
        agree(standing.flag, change(self._wall()))
        return change(self._wall())

    def _known(self, rollout: str) -> StoredFlag:
        standing = self.standing(rollout)
        if standing.flag is None:
            raise NoFlag(rollout, self._names())
        return standing

    def _names(self) -> list[str]:
        return [item.key.removeprefix(keys.FLAGS) for item in self._store.list(keys.FLAGS).items]

    def _last_generation(self, rollout: str) -> tuple[int, int]:
        """The newest generation counted, 0 where none or nonsense is, and the revision it stands at."""
        item = self._store.get(keys.generation(rollout))
        if item is None:
            return 0, 0
        try:
            fields = parse_object(item.value, f"generation of {rollout}", max_bytes=_MAX_COUNTER_BYTES)
            last = fields.integer("generation")
        except BadDocument:
            last = 0  # incidents count as well, and a verdict names its arming beside its generation
        return (last if 0 < last < MAX_GENERATION else 0), item.mod_revision

    @staticmethod
    def _counter(rollout: str, generation: int) -> Put:
        return Put(keys.generation(rollout), json.dumps({"rollout": rollout, "generation": generation}).encode())

    def _remains(self, rollout: str) -> list[Delete]:
        """What an ended life leaves behind; failing to look at it must not keep anybody from ending it."""
        found: list[Delete] = []
        for prefix in (keys.baselines(rollout), keys.notices(rollout)):
            with contextlib.suppress(KillswitchError):
                found += [Delete(item.key) for item in self._store.list(prefix).items]
        return found

    def _newest_incident(self, rollout: str) -> int:
        newest = 0
        for item in self._store.list(keys.incidents(rollout)).items:
            tail = item.key.rpartition("/")[2].partition(".")[0]
            newest = max(newest, int(tail) if _GENERATION.match(tail) else 0)
        return newest

    def _has_baseline(self, rollout: str, standing: StoredFlag) -> bool:
        assert standing.flag is not None
        return self._store.get(keys.baseline(rollout, standing.flag.generation)) is not None

    def _outbox(self, page: Page) -> Put:
        return Put(keys.outbox(page.id), outbox_document(new_entry(page, at=self._wall())))

    def _replace(
        self, rollout: str, standing: StoredFlag, new: Flag, more: Sequence[Put] = (), *, also: Sequence[Compare] = ()
    ) -> Flag:
        key = keys.flag(rollout)
        compares = (Compare(key, standing.revision), *also)
        self._commit(rollout, compares, (Put(key, flags.to_document(new)), *more), new)
        return new

    def _commit(
        self, rollout: str, compares: Sequence[Compare], writes: Sequence[Put | Delete], wanted: Flag | None
    ) -> None:
        try:
            outcome = self._store.commit(compares, writes)
        except OutcomeUnknown as error:
            if self.standing(rollout).flag == _as_stored(wanted):
                return
            raise OutcomeUnknown(
                f"the change of {rollout} was sent and no answer came; it has not been applied so far and may "
                "be still: look at `killswitch status` in a few seconds, then repeat it if needed"
            ) from error
        if not isinstance(outcome, Committed):
            raise Refused(f"{rollout} was changed by somebody else meanwhile; look at `killswitch status`, then repeat")


def _as_stored(flag: Flag | None) -> Flag | None:
    """The flag as it comes back from its document, whose times are in milliseconds."""
    return None if flag is None else flags.from_document(flags.to_document(flag), rollout=flag.rollout)
