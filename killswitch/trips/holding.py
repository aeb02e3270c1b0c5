"""Holding a rollout's plan, resuming it, and approving a stage: each with its line in the flag's history.

None of them changes the flag. Each is one transaction that compares what it was decided on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from killswitch.errors import BadDocument, Refused
from killswitch.flags.change import Deed
from killswitch.ramps.gate_inputs import Approval, Hold
from killswitch.ramps.records import approvals_document, approvals_from_document, hold_document, hold_from_document
from killswitch.stores import Committed, Compare, Delete, Put, Store, keys
from killswitch.trips.flag_history import line_of
from killswitch.trips.stored_flags import StoredFlag


def hold_writes(
    rollout: str, stored: StoredFlag, *, reason: str, by: str, origin: str, at: float
) -> tuple[Put, tuple[Put, ...]]:
    """The hold of the plan of the flag that is ``stored``, and its line in the history; ``at``: Unix seconds."""
    hold = Put(keys.hold(rollout), hold_document(Hold(reason, by), rollout=rollout, at=at))
    return hold, line_of(rollout, stored, stored.flag, at=at, by=by, origin=origin, reason=reason, deed=Deed.HOLD)


class Holding:
    """What one person does of holds and approvals. ``wall`` gives Unix seconds; ``by`` and ``origin`` as in `Switch`.

    Every method raises what the store raises.
    """

    def __init__(self, store: Store, *, wall: Callable[[], float], by: str, origin: str) -> None:
        self._store = store
        self._wall = wall
        self._by = by
        self._origin = origin

    def held(self, rollout: str) -> Hold | None:
        """The hold as stored; None for none. Raises BadDocument for one that cannot be read."""
        item = self._store.get(keys.hold(rollout))
        return None if item is None else hold_from_document(item.value, rollout=rollout)

    def hold(
        self,
        rollout: str,
        stored: StoredFlag,
        *,
        reason: str,
        also: Sequence[Compare] = (),
        more: Sequence[Put] = (),
    ) -> Hold:
        """Hold the plan of the flag that is ``stored``. Raises Refused where it is held already, or ``also`` fails.

        ``also`` and ``more``: what the same transaction compares and writes besides.
        """
        put, line = hold_writes(rollout, stored, reason=reason, by=self._by, origin=self._origin, at=self._wall())
        if not isinstance(self._store.commit((Compare(put.key, 0), *also), (put, *line, *more)), Committed):
            raise Refused(f"{rollout} is held already; see who holds it with `killswitch ready {rollout}`")
        return Hold(reason, self._by)

    def resume(self, rollout: str, stored: StoredFlag, *, agree: Callable[[str], None]) -> None:
        """Let the plan go on. ``agree`` gets who holds it and why, and raises what ends this. Raises Refused."""
        key = keys.hold(rollout)
        item = self._store.get(key)
        if item is None:
            raise Refused(f"{rollout} is not held")
        try:
            hold = hold_from_document(item.value, rollout=rollout)
            who = f"{hold.by} holds it: {hold.reason}"
        except BadDocument as error:
            who = f"the hold cannot be read: {error}"
        agree(who)
        line = self._line(rollout, stored, Deed.RESUME, at=self._wall(), reason=who)
        outcome = self._store.commit((Compare(key, item.mod_revision),), (Delete(key), *line))
        if not isinstance(outcome, Committed):
            raise Refused(
                f"the hold of {rollout} was changed just now; look at `killswitch ready {rollout}`, then repeat"
            )

    def approve(self, rollout: str, stored: StoredFlag, *, name: str, agree: Callable[[], None]) -> Approval:
        """Approve, as ``name``, that the rollout leaves its stage. Raises Refused where someone else just has."""
        flag = stored.flag
        assert flag is not None
        key = keys.approvals(rollout, flag.generation)
        item = self._store.get(key)
        before = () if item is None else approvals_from_document(item.value, rollout=rollout)
        agree()
        given = Approval(name, self._by, flag.generation, flag.stage, flag.stages[-1].at)
        put = Put(key, approvals_document((*before, given), rollout=rollout))
        line = self._line(rollout, stored, Deed.APPROVE, at=self._wall(), reason=f"as {name}, for stage {flag.stage}")
        compare = Compare(key, 0 if item is None else item.mod_revision)
        if not isinstance(self._store.commit((compare,), (put, *line)), Committed):
            raise Refused(f"someone else has approved {rollout} just now; repeat it")
        return given

    def _line(self, rollout: str, stored: StoredFlag, deed: Deed, *, at: float, reason: str) -> tuple[Put, ...]:
        return line_of(rollout, stored, stored.flag, at=at, by=self._by, origin=self._origin, reason=reason, deed=deed)
