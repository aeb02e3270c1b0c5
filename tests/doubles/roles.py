"""Roles as tests need them, and a real store that a test writes them to."""

from __future__ import annotations

from killswitch.roles.document import to_document
from killswitch.roles.role import Role, RoleChange
from killswitch.stores import Delete, Put, Store, keys

REVIEW = "review_triage"


def role(
    name: str = REVIEW,
    prod: str | None = "gpt-5-2026-01-10",
    *,
    candidate: str | None = None,
    previous: str | None = None,
    number: int = 1,
) -> Role:
    return Role(name, prod, candidate, previous, number, RoleChange.CREATED, 1_776_000_000.0, "tests")


def put_roles(
    store: Store, *roles: Role | None, raw: dict[str, bytes] | None = None, gone: tuple[str, ...] = ()
) -> None:
    """Write these roles, ``raw`` values by name, and delete ``gone``; all of it at once."""
    writes = [Put(keys.role(one.name), to_document(one)) for one in roles if one is not None]
    writes += [Put(keys.role(name), value) for name, value in (raw or {}).items()]
    store.commit((), [*writes, *(Delete(keys.role(name)) for name in gone)])
