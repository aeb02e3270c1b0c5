"""What the store says of roles: each with its revision, those that cannot be read, and their histories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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

    def history(self, name: str, *, last: int, most: int | None = NEWEST) -> list[RoleHistoryEntry]:
        """The newest ``most`` entries (None: all) up to number ``last``, the newest first.

        Raises BadDocument for one that cannot be read.
        """
        found: list[RoleHistoryEntry] = []
        for entry in self.newest_first(name, last=last, chunk=10 if most is not None else _CHUNK):
            found.append(entry)
            if most is not None and len(found) >= most:
                break
        return found

    def newest_first(self, name: str, *, last: int, chunk: int = _CHUNK) -> Iterator[RoleHistoryEntry]:
        """Every entry up to number ``last``, the newest first, read in runs of ``chunk`` (10, 100 or 1,000)."""
        for run in range(last // chunk, -1, -1):
            for item in reversed(self._run(name, run, chunk)):
                if number_of(item.key) <= last:
                    yield history_from_document(item.value, name=name)

    def last_number(self, name: str) -> int:
        """The number of the newest entry, found without the role's document. A history has no gaps, so few are read."""

        def there(number: int) -> bool:
            return self._store.get(keys.role_change(name, number)) is not None

        low, high = 0, 1
        while there(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if there(middle) else (low, middle)
        return low

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
