"""The history of a rollout's flag in the store: one line a change, written with the change itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from killswitch.errors import BadDocument
from killswitch.flags.change import Deed, FlagChange, change_of, from_document, to_document
from killswitch.flags.flag import Flag
from killswitch.stores import Put, Store, keys
from killswitch.trips.stored_flags import StoredFlag


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line as stored under ``key``. ``change`` is None where it cannot be read (``problem``)."""

    key: str
    change: FlagChange | None
    problem: str = ""


def line_of(
    rollout: str,
    stored: StoredFlag,
    after: Flag | None,
    *,
    at: float,
    by: str,
    origin: str,
    reason: str = "",
    deed: Deed | None = None,
) -> tuple[Put, ...]:
    """What to write with a change of the flag that is ``stored``: its line, () where nothing changes.

    ``at``: Unix seconds. ``deed``: what was done, where the two flags do not say it.
    """
    change = change_of(rollout, stored.flag, after, at=at, by=by, origin=origin, reason=reason, deed=deed)
    if change is None:
        return ()
    of = after or stored.flag
    generation = 0 if of is None else of.generation
    return (Put(keys.flag_change(rollout, at, generation, stored.revision, change.deed.value), to_document(change)),)


def history_of(store: Store, rollout: str) -> tuple[HistoryLine, ...]:
    """All lines of a rollout, the oldest first, in the order in which the store took them.

    Raises what reading the store raises.
    """
    items = sorted(store.list(keys.flag_history(rollout)).items, key=lambda item: (item.mod_revision, item.key))
    return tuple(_line(item.key, item.value, rollout) for item in items)


def changes_in(lines: Iterable[HistoryLine]) -> tuple[FlagChange, ...]:
    """The lines that can be read."""
    return tuple(line.change for line in lines if line.change is not None)


def _line(key: str, value: bytes, rollout: str) -> HistoryLine:
    try:
        return HistoryLine(key, from_document(value, rollout=rollout))
    except BadDocument as error:
        return HistoryLine(key, None, str(error))
