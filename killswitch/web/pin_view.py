"""The pins of roles for other languages, from what the store says now, by the laws that services follow.

A damaged document keeps its role's last good pins, and a silent store's last pins serve for a day.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from killswitch.errors import KillswitchError
from killswitch.roles.role import Slot
from killswitch.router.pinned.memory import (
    PinnedModels,
    RolesMemory,
    RolesPolicy,
    RolesRead,
    RolesState,
    after_read,
    pinned_at,
)
from killswitch.stores import Store, keys
from killswitch.web.shared_look import SharedLook

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PinSnapshot:
    """``models`` by role and slot, of slots that have one; ``stale``: the store has been silent for a minute."""

    models: Mapping[str, Mapping[str, str]]
    stale: bool


class PinView:
    """Thread-safe. ``monotonic`` in seconds; ``policy``: how long pins outlive the store's silence, as for services."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float], policy: RolesPolicy | None = None) -> None:
        self._store = store
        self._monotonic = monotonic
        self._policy = policy or RolesPolicy()
        self._lock = threading.Lock()
        self._memory = RolesMemory()
        self._shared = SharedLook(self._look, monotonic=monotonic)
        self._made: tuple[PinnedModels, PinSnapshot] | None = None
        self._failing = False

    def current(self, *, look: bool = True) -> PinSnapshot | None:
        """The pins to give now; None when the store was never read, or has been silent for too long.

        ``look``: whether the store may be read for it.
        """
        if look:
            self._shared.refresh()
        with self._lock:
            seen = pinned_at(self._memory, self._policy, self._monotonic())
            if seen.state not in (RolesState.FOLLOWED, RolesState.STALE):
                return None
            if self._made is None or self._made[0] != seen:
                self._made = seen, _snapshot(seen)
            return self._made[1]

    def _look(self) -> None:
        sent_at, known = self._monotonic(), self._memory.read_revision
        try:
            found = self._store.list(keys.ROLES)
        except KillswitchError as error:
            if not self._failing:
                log.warning("roles over HTTP: the flag store cannot be read, the last pins serve on: %s", error)
            self._failing = True
            return
        items = {item.key: item for item in found.items}
        read = RolesRead(sent_at, known, items, found.revision, whole=True, count=len(items))
        with self._lock:
            self._failing = False
            self._memory = after_read(self._memory, read)


def _snapshot(seen: PinnedModels) -> PinSnapshot:
    models = {
        role: {slot.value: model for slot in Slot if (model := seen.model(slot, role)) is not None}
        for role in sorted(seen.roles)
    }
    return PinSnapshot({role: slots for role, slots in models.items() if slots}, seen.stale)
