"""The switch: what a person changes of a flag, by one row of its state table each; it flips as well.

Every change is one transaction that compares the revision it was decided on. No outcome is assumed: after a lost
answer the flag is read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from killswitch.errors import BadDocument, KillswitchError, NoFlag, OutcomeUnknown, Refused
from killswitch.flags import flag as flags
from killswitch.flags import pinning
from killswitch.flags.change import Deed
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare
from killswitch.flags.transitions import Actor, State
from killswitch.pages import end_events, outbox_entry, pin_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.roles.armed_pair import ArmedPair
from killswitch.stores import Committed, Compare, Delete, Put, Store, keys
from killswitch.stores.limits import Part, portions
from killswitch.trips.armed_pairs import allowed
from killswitch.trips.flag_history import line_of
from killswitch.trips.flips import Flips
from killswitch.trips.generations import counter, lives_of, newest_incident
from killswitch.trips.request import TripOutcome, TripRequest, TripResult
from killswitch.trips.shadow_decisions import shadow_decisions
from killswitch.trips.stored_flags import StoredFlag
from killswitch.verdicts.baseline import Baseline
from killswitch.verdicts.baseline import to_document as baseline_document

# Called with the flag before and after an allowed change, before it is made; it raises what ends it.
Agree = Callable[[Flag | None, Flag], None]

_MAX_BY = 200


def _unasked(_before: Flag | None, _after: Flag) -> None:
    """For a change that no one has to agree to."""


class Switch(Flips):
    """All changes of flags go through here. ``wall`` gives Unix seconds; ``by`` names who changes.

    ``origin`` says from where, for the flag's history: "command line", "controller kill-1", "Slack".
    """

    def __init__(self, store: Store, *, wall: Callable[[], float], by: str, origin: str) -> None:
        super().__init__(store, wall=wall, origin=origin)
        self._by = by

    # --- what a person does ---------------------------------------------------------------------

    def arm(  # long: it takes what a flag begins with, and says what each is
        self,
        rollout: str,
        *,
        control: str,
        canary: str,
        percent: float,
        stage: str,
        salt: str,
        shadow: ShadowShare = NO_SHADOW,
        pair: ArmedPair | None = None,
        also: Sequence[Compare] = (),
        replaces: bool = False,
        agree: Agree = _unasked,
    ) -> Flag:
        """Absent -> armed; the generation follows all there have been, tripped or not.

        So no old trip outranks it, and no notice or baseline of an ended life is about this one. Nor does its plan
        begin held: a hold that was typed as the rollout ended is deleted.

        ``pair``: the slots of a role that the two models are pinned in; it is stored with the generation, and Refused
        is raised where users would get a candidate without evidence. ``also``: what must not have changed either.
        ``replaces``: an earlier life that is not pinned is ended and this one begun in one transaction, so that no
        router sees the rollout without a flag.
        """
        stored = self.stored(rollout)
        lives = lives_of(self._store, rollout)
        last = 0 if stored.flag is None else stored.flag.generation
        generation = max(lives.generation, newest_incident(self._store, rollout), last) + 1
        before = stored.flag
        if replaces and before is not None:
            flags.end(before, rollout=rollout, actor=Actor.PERSON)
            before = None

        def armed_at(now: float) -> Flag:
            flag = flags.arm(
                before,
                rollout=rollout,
                control=control,
                canary=canary,
                percent=percent,
                stage=stage,
                now=now,
                by=self._by,
                generation=generation,
                salt=salt,
                shadow=shadow,
            )
            allowed(self._store, None, flag, given=pair, now=now)
            return replace(flag, unpinned_at=lives.unpinned_at)

        armed = self._agreed(stored, agree, armed_at)
        counted = counter(rollout, generation, lives.unpinned_at)
        more = allowed(self._store, None, armed, given=pair, now=self._wall())
        told = self._page_of_end(stored.flag, f"armed again as generation {generation}")
        writes: tuple[Put | Delete, ...] = (counted, Delete(keys.hold(rollout)), *more, *told)
        compares = (Compare(counted.key, lives.revision), *also)
        return self._replace(rollout, stored, armed, writes, also=compares, deed=Deed.ARM)

    def set_stage(
        self,
        rollout: str,
        *,
        percent: float,
        stage: str,
        shadow: ShadowShare | None = None,
        pair: ArmedPair | None = None,
        also: Sequence[Compare] = (),
        agree: Agree = _unasked,
    ) -> Flag:
        """``shadow`` None: what is shadowed stays as it is while the stage stays ``shadow``, else nothing is.

        ``pair``: as in `arm`, with the evidence that is there now; None: what the generation was armed with counts.
        """
        stored = self.required(rollout)
        has_baseline = self._has_baseline(rollout, stored)
        changed = self._agreed(
            stored,
            agree,
            lambda now: flags.set_stage(
                stored.flag,
                rollout=rollout,
                percent=percent,
                stage=stage,
                now=now,
                by=self._by,
                actor=Actor.PERSON,
                has_baseline=has_baseline,
                shadow=shadow,
            ),
        )
        more = allowed(self._store, stored.flag, changed, given=pair, now=self._wall())
        return self._replace(rollout, stored, changed, more, also=also)

    def turn_shadow_down(self, rollout: str, stored: StoredFlag, *, verdict: str, factor: float, reason: str) -> Flag:
        """Shadow at most ``factor`` times what was shadowed before this generation's first verdict; the flag after it.

        Once a generation and verdict: the second time the flag stays as it is. ``stored``: the flag as the verdict was
        reached on; a flag that has changed since is left alone. Raises Refused then, and what the store raises.
        """
        assert stored.flag is not None
        flag = stored.flag
        decisions, decided_at = shadow_decisions(self._store.get, flag)
        if verdict in decisions.verdicts:
            return flag
        share = flag.shadow_share.at_most(decisions.share_before.times(factor))
        turned = flag
        if share != flag.shadow_share:
            turned = flags.set_stage(
                flag,
                rollout=rollout,
                percent=flag.canary_percent,
                stage=flag.stage,
                now=self._wall(),
                by=f"{self._by}: {reason}"[:_MAX_BY],
                actor=Actor.CONTROLLER,
                shadow=share,
            )
        key = keys.shadow_decision(rollout, flag.generation)
        put = Put(key, decisions.with_verdict(verdict, at=self._wall()).document())
        return self._replace(rollout, stored, turned, (put,), also=(Compare(key, decided_at),), reason=reason)

    def rearm(
        self,
        rollout: str,
        *,
        reason: str,
        percent: float,
        stage: str,
        page: Callable[[Flag], Page],
        shadow: ShadowShare = NO_SHADOW,
        new_users: bool = False,
        pair: ArmedPair | None = None,
        also: Sequence[Compare] = (),
        more: Sequence[Put] = (),
        agree: Agree = _unasked,
    ) -> Flag:
        """Tripped -> armed, generation + 1, and the page that says so, in one transaction.

        ``pair``: as in `set_stage`. ``also`` and ``more``: what the same transaction compares and writes besides.
        """
        stored = self.required(rollout)
        armed = self._agreed(
            stored,
            agree,
            lambda now: flags.rearm(
                stored.flag,
                rollout=rollout,
                reason=reason,
                now=now,
                by=self._by,
                percent=percent,
                stage=stage,
                shadow=shadow,
                new_users=new_users,
            ),
        )
        lives = lives_of(self._store, rollout)
        counted = counter(rollout, max(lives.generation, armed.generation), armed.unpinned_at)
        evidence = allowed(self._store, stored.flag, armed, given=pair, now=self._wall())
        writes = (counted, into_outbox(page(armed), at=self._wall()), *evidence, *more)
        compares = (Compare(counted.key, lives.revision), *also)
        return self._replace(rollout, stored, armed, writes, also=compares, reason=reason)

    def pin(self, request: TripRequest) -> TripResult:
        """Armed or tripped -> pinned, and its page, in one transaction; an armed one is tripped by it.

        A complete one is only tripped, by a controller that has judged it before.

        ``request.stored``: the flag that was judged. A tripped flag of another generation, or one whose pin a person
        has lifted since, is left alone: SUPERSEDED. The result has a revision where the pin has ended the canary's
        traffic. Raises as `trip` does, and Refused if someone else changed the flag meanwhile.
        """
        stored = self.required(request.rollout)
        assert stored.flag is not None
        if stored.flag.armed or stored.flag.state is State.PINNED:
            return self.trip(replace(request, pin=True, stored=None))
        if stored.flag.state is State.COMPLETE and request.actor is Actor.CONTROLLER:
            # what was proven about the armed flag must not be lost to a completion: everyone has this model now
            return self.trip(replace(request, stored=None))
        if _is_another(stored.flag, request):
            return TripResult(TripOutcome.SUPERSEDED)
        pinned = pinning.pin(
            stored.flag,
            rollout=request.rollout,
            reason=request.draft.reason,
            rules=(),
            incident="",
            now=request.at,
            by=request.draft.by,
            actor=request.actor,
        )
        page = pin_events.pinned(pinned, settings=request.page)
        writes = (into_outbox(page, at=self._wall()),)
        self._replace(request.rollout, stored, pinned, writes, by=request.draft.by)
        return TripResult(TripOutcome.TRIPPED, "" if pinned.trip is None else pinned.trip.incident)

    def unpin(self, rollout: str, *, reason: str, page: Callable[[Flag], Page], agree: Agree = _unasked) -> Flag:
        """Pinned -> tripped, and the page that says so, in one transaction."""
        stored = self.required(rollout)
        unpinned = self._agreed(
            stored,
            agree,
            lambda now: pinning.unpin(
                stored.flag, rollout=rollout, reason=reason, now=now, by=self._by, actor=Actor.PERSON
            ),
        )
        writes = (into_outbox(page(unpinned), at=self._wall()),)
        return self._replace(rollout, stored, unpinned, writes, reason=reason)

    def end(self, rollout: str, *, reason: str = "", also: Sequence[Compare] = (), more: Sequence[Put] = ()) -> None:
        """Armed or tripped -> absent, and with it what its life left behind: baselines, notices, a hold of its plan.

        ``also`` and ``more``: what the same transaction compares and writes besides.
        A flag that cannot be understood may be ended too: routers ignore it. Its generation stays counted.
        """
        item = self._store.get(keys.flag(rollout))
        if item is None:
            raise NoFlag(rollout, self.names())
        lives = lives_of(self._store, rollout)
        last, unpinned_at = lives.generation, lives.unpinned_at
        ending: Flag | None = None
        with contextlib.suppress(BadDocument):
            ending = flag_from_document(item.value, rollout=rollout)
            flags.end(ending, rollout=rollout, actor=Actor.PERSON)
            last, unpinned_at = max(last, ending.generation), ending.unpinned_at or unpinned_at
        writes: list[Put | Delete] = [Delete(item.key), *more]
        was = StoredFlag(ending, item.mod_revision)
        writes += self._line(rollout, was, None, reason=reason, deed=Deed.END)
        writes += self._page_of_end(ending, reason)
        if last:
            writes.append(counter(rollout, last, unpinned_at))
        compares = (Compare(item.key, item.mod_revision), Compare(keys.generation(rollout), lives.revision), *also)
        remains = [Part(one.key, writes=(one,)) for one in _remains(self._store, rollout)]
        self._commit(rollout, compares, writes, None)
        # Nothing reads these once the flag is gone; what a store that fails now keeps does no harm.
        with contextlib.suppress(KillswitchError):
            for portion in portions(remains):
                self._store.commit((Compare(item.key, 0),), [write for part in portion for write in part.writes])

    def _page_of_end(self, flag: Flag | None, reason: str) -> Sequence[Put]:
        """What reports the end of a tripped rollout where its trip was reported; nothing if the trip was not."""
        item = None if flag is None or flag.trip is None else self._store.get(keys.outbox(flag.trip.incident))
        if item is None or flag is None or flag.trip is None:
            return ()
        try:
            trip = outbox_entry.from_document(item.value, page=flag.trip.incident).page
        except BadDocument:
            return ()
        page = end_events.ended(trip, flag, reason=reason, by=self._by, at=self._wall())
        return (into_outbox(page, at=self._wall()),)

    # --- baselines ------------------------------------------------------------------------------

    def keep_baseline(self, baseline: Baseline) -> None:
        """Store it for the armed generation it was measured in; a newer one replaces it."""
        stored = self.required(baseline.rollout)
        assert stored.flag is not None
        put = Put(keys.baseline(baseline.rollout, baseline.generation), baseline_document(baseline))
        if stored.flag.generation != baseline.generation or not stored.flag.armed:
            raise Refused(f"{baseline.rollout} is not armed in generation {baseline.generation} any more")
        compare = Compare(keys.flag(baseline.rollout), stored.revision)
        self._commit(baseline.rollout, (compare,), (put,), stored.flag)

    # --- shared ---------------------------------------------------------------------------------

    def _agreed(self, stored: StoredFlag, agree: Agree, change: Callable[[float], Flag]) -> Flag:
        """The flag as it is to be. ``change`` gives the flag changed at a time, and raises what is not allowed.

        It runs before ``agree``, so no one is asked about a change that is not allowed, and again after it, so that
        the time is not when the question was asked. The commit compares the revision that was agreed upon.
        """
        agree(stored.flag, change(self._wall()))
        return change(self._wall())

    def _has_baseline(self, rollout: str, stored: StoredFlag) -> bool:
        assert stored.flag is not None
        return self._store.get(keys.baseline(rollout, stored.flag.generation)) is not None

    def _replace(
        self,
        rollout: str,
        stored: StoredFlag,
        new: Flag,
        more: Sequence[Put | Delete] = (),
        *,
        also: Sequence[Compare] = (),
        by: str | None = None,
        reason: str = "",
        deed: Deed | None = None,
    ) -> Flag:
        """Write the flag with its line of history; ``reason`` and ``deed`` are for what the flag does not say."""
        key = keys.flag(rollout)
        compares = (Compare(key, stored.revision), *also)
        line = self._line(rollout, stored, new, by=by, reason=reason, deed=deed)
        self._commit(rollout, compares, (Put(key, flag_document(new)), *line, *more), new)
        return new

    def _line(
        self,
        rollout: str,
        stored: StoredFlag,
        new: Flag | None,
        *,
        by: str | None = None,
        reason: str = "",
        deed: Deed | None = None,
    ) -> tuple[Put, ...]:
        at = self._wall()
        return line_of(rollout, stored, new, at=at, by=by or self._by, origin=self._origin, reason=reason, deed=deed)

    def _commit(
        self, rollout: str, compares: Sequence[Compare], writes: Sequence[Put | Delete], wanted: Flag | None
    ) -> None:
        try:
            outcome = self._store.commit(compares, writes)
        except OutcomeUnknown as error:
            if self.stored(rollout).flag == _as_stored(wanted):
                return
            raise OutcomeUnknown(
                f"the change of {rollout} was sent and no answer came; it has not been applied so far and may "
                "be still: look at `killswitch status` in a few seconds, then repeat it if needed"
            ) from error
        if not isinstance(outcome, Committed):
            raise Refused(f"{rollout} was changed by someone else just now; look at `killswitch status`, then repeat")


def _is_another(flag: Flag, request: TripRequest) -> bool:
    """Whether a verdict is not about this flag: its generation differs, or a pin was lifted since it was judged."""
    judged = None if request.stored is None else request.stored.flag
    lifted = judged is not None and judged.unpinned_at != flag.unpinned_at
    return lifted or request.generation not in (None, flag.generation)


def _as_stored(flag: Flag | None) -> Flag | None:
    """The flag as it comes back from its document, whose times are in milliseconds."""
    return None if flag is None else flag_from_document(flag_document(flag), rollout=flag.rollout)


def _remains(store: Store, rollout: str) -> list[Delete]:
    """What an ended life leaves behind; failing to look at it must not keep anyone from ending it."""
    found = [Delete(keys.hold(rollout))]
    for prefix in (
        keys.baselines(rollout),
        keys.notices(rollout),
        keys.shadow_decisions(rollout),
        keys.approvals_of(rollout),
        keys.gate_evidences(rollout),
    ):
        with contextlib.suppress(KillswitchError):
            found += [Delete(item.key) for item in store.list(prefix).items]
    return found
