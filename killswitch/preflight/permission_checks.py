"""Checks of what a user may do in the flag store: all that its part needs, and of a service's user, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from killswitch.errors import AccessDenied
from killswitch.preflight.checks import Check, Status
from killswitch.stores import Store, keys
from killswitch.stores.permissions import PERMISSIONS, StoreUser, try_reading_under, try_writing_under

_GRANT = "grant the role of docs/security.md (etcd's roles), or say whose credentials these are with --as"


def examine_permissions(store: Store, part: StoreUser) -> Iterator[Check]:
    """What is refused that ``part`` needs. Nothing is changed. Raises Unavailable."""
    needs = PERMISSIONS[part]
    unwritten = _refused((*needs.writes, *needs.writes_only), lambda prefix: _write(store, prefix, part))
    unread = _refused((*needs.writes, *needs.reads), lambda prefix: try_reading_under(store, prefix))
    for refused, what in ((unwritten, "writes"), (unread, "reads")):
        if refused:
            found = f"the store refuses {what} that a {part} needs, under {_named(refused)}"
            yield Check("flag store", Status.WRONG, found, _GRANT)
    if not unwritten and not unread:
        count = len({*needs.writes, *needs.writes_only, *needs.reads})
        yield Check("flag store", Status.OK, f"a {part} may read and write what it needs, {count} kinds of keys")


def examine_excess(store: Store, part: StoreUser) -> Iterator[Check]:
    """Whether a service's user could change who gets the canary. Raises Unavailable."""
    if part not in (StoreUser.ROUTER, StoreUser.LEDGER):
        return
    if _refused((keys.FLAGS,), lambda prefix: _write(store, prefix, part)):
        return
    found = "a service may write flags with these credentials: one that is taken over could arm a canary for everyone"
    fix = "give services a user of their own, with the role killswitch-router of docs/security.md"
    yield Check("flag store", Status.WARNING, found, fix)


def _write(store: Store, prefix: str, part: StoreUser) -> None:
    try_writing_under(store, prefix, readable=PERMISSIONS[part].readable)


def _refused(prefixes: Sequence[str], attempt: Callable[[str], None]) -> list[str]:
    refused = []
    for prefix in prefixes:
        try:
            attempt(prefix)
        except AccessDenied:
            refused.append(prefix)
    return refused


def _named(prefixes: Sequence[str]) -> str:
    return ", ".join(prefix.removeprefix(keys.ROOT) or "everything" for prefix in prefixes)
