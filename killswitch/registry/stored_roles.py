"""What the store says of roles: each with its revision, those that cannot be read, and their histories."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from killswitch.errors import BadDocument, UnknownRole
from killswitch.roles.document import from_document, history_from_document
from killswitch.roles.role import Role, RoleHistoryEntry
from killswitch.stores import Item, Store, keys

NEWEST = 20  # entries of a history that are read where a person did not ask for all
_CHUNK = 100  # entries that one read of a long history answers


@dataclass(frozen=True, slots=True)
class StoredRole:
    """A role as stored, None where absent, and the revision of its last change (0: absent)."""

    role: Role | None
    revision: int


class StoredRoles:
    """Reads roles from the store, always the newest; raises as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def stored(self, name: str) -> StoredRole:
        """Raises BadDocument for a damaged role, with the way out; Unavailable when the store cannot be read."""
        item = self._store.get(keys.role(name))
        if item is None:
            return StoredRole(None, 0)
        try:
            return StoredRole(from_document(item.value, name=name), item.mod_revision)
        except BadDocument as error:
            raise BadDocument(f"{error}; {way_out(name)}") from error

    def readable(self, name: str) -> tuple[StoredRole, str | None]:
        """As `stored`; a damaged role as its history says last, with what is wrong with it.

        None for the role where the history does not say either.
        """
        try:
            return self.stored(name), None
        except BadDocument as error:
            item = self._store.get(keys.role(name))
            last = self.last_number(name)
            said = next(self.newest_first(name, last=last), None)
            role = None if said is None else replace(said.role, number=last)
            return StoredRole(role, 0 if item is None else item.mod_revision), str(error)

    def required(self, name: str) -> StoredRole:
        """As `stored`. Raises UnknownRole, with the names that there are, for none."""
        stored = self.stored(name)
        if stored.role is None:
            raise UnknownRole(name, self.names())
        return stored

    def everything(self) -> tuple[Mapping[str, StoredRole], Mapping[str, str]]:
        """All roles by name; and, by name, what is wrong with those that cannot be understood. No history is read."""
        good: dict[str, StoredRole] = {}
        bad: dict[str, str] = {}
        for item in self._store.list(keys.ROLES).items:
            name = item.key.removeprefix(keys.ROLES)
            try:
                good[name] = StoredRole(from_document(item.value, name=name), item.mod_revision)
            except BadDocument as error:
                bad[name] = f"{error}; {way_out(name)}"
        return good, bad

    def names(self) -> list[str]:
        return [item.key.removeprefix(keys.ROLES) for item in self._store.list(keys.ROLES).items]

    def history(
        self, name: str, *, last: int | None = None, most: int | None = NEWEST
    ) -> tuple[list[RoleHistoryEntry], list[str]]:
        """The newest ``most`` entries (None: all) up to number ``last``, newest first, and what is wrong with others.

        ``last`` None: the role's number.
        """
        if last is None:
            try:
                role = self.required(name).role
                last = 0 if role is None else role.number
            except BadDocument:
                last = self.last_number(name)
        good: list[RoleHistoryEntry] = []
        bad: list[str] = []
        for item in self._items(name, last, 10 if most is not None else _CHUNK):
            if most is not None and len(good) + len(bad) >= most:
                break
            try:
                good.append(history_from_document(item.value, name=name))
            except BadDocument as error:
                bad.append(f"change {number_of(item.key)}: {error}")
        return good, bad

    def newest_first(self, name: str, *, last: int) -> Iterator[RoleHistoryEntry]:
        """The entries up to number ``last``, newest first, read as they are asked for. Damaged ones are left out."""
        for chunk, before in ((10, last), (_CHUNK, last // 10 * 10 - 1)):
            for item in self._items(name, before, chunk):
                if chunk == 10 and number_of(item.key) < last // 10 * 10:
                    break
                with contextlib.suppress(BadDocument):
                    yield history_from_document(item.value, name=name)

    def was_prod(self, name: str, model: str, *, last: int) -> bool:
        """Whether the history up to number ``last`` says that ``model`` was prod."""
        return any(entry.role.prod == model for entry in self.newest_first(name, last=last))

    def last_number(self, name: str) -> int:
        """The number of the newest entry, found without the role's document. A history has no gaps, so few are read."""

        def there(number: int) -> bool:
            return self._store.get(keys.role_change(name, number)) is not None

        low, high = 0, 1
        while there(high):
            low, high = high, high * 2
        if low == 0:  # none, or someone has deleted the first: what is left must still count
            return max((number_of(item.key) for item in self._store.list(keys.role_changes(name)).items), default=0)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if there(middle) else (low, middle)
        return low

    def _after_history(self, stored: StoredRole) -> StoredRole:
        """The role with the number of the newest entry: a document that was restored by hand may have an older one."""
        if stored.role is None:
            return stored
        following = self._numbered(replace(stored.role, number=stored.role.number + 1))
        return replace(stored, role=replace(stored.role, number=following.number - 1))

    def _numbered(self, changed: Role) -> Role:
        """The changed role with a number that its history does not have yet."""
        if self._store.get(keys.role_change(changed.name, changed.number)) is None:
            return changed
        return replace(changed, number=self.last_number(changed.name) + 1)

    def _items(self, name: str, last: int, chunk: int) -> Iterator[Item]:
        """The entries up to number ``last``, newest first, read in runs of ``chunk`` (10 or 100)."""
        for run in range(last // chunk, -1, -1):
            for item in reversed(self._run(name, run, chunk)):
                if 0 < number_of(item.key) <= last:
                    yield item

    def _run(self, name: str, run: int, chunk: int) -> list[Item]:
        """The entries whose numbers are from ``run * chunk`` on, ``chunk`` of them at most, in their order.

        A key ends in the number with six digits, so that the first digits name a run.
        """
        digits = 6 - len(str(chunk)) + 1
        prefix = f"{keys.role_changes(name)}{run:0{digits}d}"
        items = [item for item in self._store.list(prefix).items if number_of(item.key) // chunk == run]
        return sorted(items, key=lambda item: number_of(item.key))


def number_of(key: str) -> int:
    """The number in the key of an entry; -1 where someone else has written the key."""
    digits = key.rpartition("/")[2]
    return int(digits) if digits.isdecimal() else -1


def way_out(name: str) -> str:
    """What to do with a damaged role."""
    return (
        f"the document of role {name} is damaged: `killswitch roles export --role {name} --output roles.json` writes"
        " what its history says last; look at it, then `killswitch roles import roles.json` writes it back"
    )
