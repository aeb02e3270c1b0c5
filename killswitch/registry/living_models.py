"""No slot of a role is given a model that is known to be retired."""

from __future__ import annotations

from collections.abc import Iterable

from killswitch.errors import Refused
from killswitch.registry.role_health import retirements_of
from killswitch.roles.retirement import RetirementDate
from killswitch.stores import Store


def check_living(
    store: Store, name: str, models: Iterable[str | None], dates: Iterable[RetirementDate], now: float
) -> None:
    """Raises Refused for a model that is retired by the dates, by a probe or by its provider's list.

    ``dates``: of the file that the role's file names. ``now``: Unix seconds. Raises BadDocument, and as the store does.
    """
    asked = [model for model in models if model is not None]
    if not asked:
        return
    known = retirements_of(store, name, dates=dates)
    for model in asked:
        why = known.retired(model, now)
        if why is not None:
            raise Refused(f"{why}; role {name} must not rest on it: name another model")
