"""What the store says of flags: each with its revision, those that cannot be read, and their baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from killswitch.errors import BadDocument, NoFlag
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.flag import Flag
from killswitch.stores import Store, keys
from killswitch.trips.generations import GENERATION
from killswitch.verdicts.baseline import Baseline
from killswitch.verdicts.baseline import from_document as baseline_from_document


@dataclass(frozen=True, slots=True)
class StoredFlag:
    """A rollout's flag as stored, None where absent, and the revision of its last change (0: absent)."""

    flag: Flag | None
    revision: int


class StoredFlags:
    """Reads flags from the store, always the newest; raises as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._understood: Mapping[str, tuple[bytes, Flag]] = {}

    def stored(self, rollout: str) -> StoredFlag:
        """Raises BadDocument for a corrupt flag, Unavailable when the store cannot be read."""
        item = self._store.get(keys.flag(rollout))
        if item is None:
            return StoredFlag(None, 0)
        return StoredFlag(flag_from_document(item.value, rollout=rollout), item.mod_revision)

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
        return flag_from_document(value, rollout=rollout)

    def revision(self, rollout: str) -> int:
        """The store's revision of the flag, whatever its document says; 0 for none."""
        item = self._store.get(keys.flag(rollout))
        return 0 if item is None else item.mod_revision

    def baselines(self) -> tuple[Mapping[tuple[str, int], Baseline], Mapping[tuple[str, int], str]]:
        """What replaces control at 100 %, by rollout and generation; and what is wrong with unreadable ones."""
        good: dict[tuple[str, int], Baseline] = {}
        bad: dict[tuple[str, int], str] = {}
        for item in self._store.list(keys.BASELINES).items:
            rollout, _, generation = item.key.removeprefix(keys.BASELINES).partition("/")
            if not GENERATION.match(generation):
                continue
            of = (rollout, int(generation))
            try:
                good[of] = baseline_from_document(item.value, rollout=rollout)
            except BadDocument as error:
                bad[of] = str(error)
        return good, bad

    def required(self, rollout: str) -> StoredFlag:
        """As `stored`. Raises NoFlag, with the names that there are, for none."""
        stored = self.stored(rollout)
        if stored.flag is None:
            raise NoFlag(rollout, self.names())
        return stored

    def names(self) -> list[str]:
        return [item.key.removeprefix(keys.FLAGS) for item in self._store.list(keys.FLAGS).items]
