"""How many routers have acted on a flag's newest revision: "58 of 60 routers on control"."""

from __future__ import annotations

import json
from typing import TypedDict

from killswitch.stores import Store, keys


class Followed(TypedDict):
    followed: int
    known: int


def routers_followed(store: Store, rollout: str, revision: int | None) -> Followed | None:
    """Routers that report (under their leases) at least ``revision``, of all that report; None where none does."""
    if not revision:
        return None
    known = followed = 0
    for item in store.list(keys.routers(rollout)).items:
        known += 1
        try:
            followed += int(json.loads(item.value)["revision"]) >= revision
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # anybody's router, anybody's bytes
            continue
    return Followed(followed=followed, known=known) if known else None
