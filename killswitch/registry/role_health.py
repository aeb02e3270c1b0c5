"""What the store knows of a role's models: which are retired, gone, or soon will be."""

from __future__ import annotations

from collections.abc import Iterable

from killswitch.roles.health import ModelHealth, RoleHealth, from_document
from killswitch.roles.retirement import RetirementDate, Retirements
from killswitch.stores import Store, keys

LISTED = "the list of its provider"
DATED = "the role's file of dates"


def health_of(store: Store, role: str) -> RoleHealth | None:
    """What the daily job has found, None before the first. Raises BadDocument, and what the store raises."""
    item = store.get(keys.role_health(role))
    return None if item is None else from_document(item.value, role=role)


def retirements_of(store: Store, role: str, *, dates: Iterable[RetirementDate] = ()) -> Retirements:
    """What is known of the role's models. ``dates``: of the file that its role file names.

    Raises BadDocument, and what the store raises: what cannot be read does not say that a model lives.
    """
    health = health_of(store, role)
    return retirements(health.models.values() if health is not None else (), dates)


def retirements(models: Iterable[ModelHealth], dates: Iterable[RetirementDate]) -> Retirements:
    """The dates of a file and those of providers' lists together.

    A provider may be late: a model that it still lists after its date is not retired yet.
    """
    known = {one.model: one for one in models}
    listed = [
        RetirementDate(one.model, one.retires_at, LISTED)
        for one in known.values()
        if one.retires_at is not None and (one.listed_at is None or one.listed_at < one.retires_at)
    ]
    dated = [RetirementDate(one.model, one.dated_at, DATED) for one in known.values() if one.dated_at is not None]
    return Retirements([*dates, *listed, *dated], known)
