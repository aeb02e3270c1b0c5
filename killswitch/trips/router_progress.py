"""How many routers have acted on a flag's newest revision: "58 of 60 routers on control"."""

from __future__ import annotations

from typing import TypedDict

from killswitch.errors import BadDocument
from killswitch.router.presence import from_document
from killswitch.stores import Item, Store, keys


class Followed(TypedDict):
    followed: int
    known: int


def routers_followed(store: Store, rollout: str, revision: int | None, *, tripped: bool = False) -> Followed | None:
    """Routers that report at least ``revision``, of all that report; None where none does.

    A router that is gone has no report: the report ends with the router's lease. The age of a report says nothing,
    because it is written only when there is news. A report that cannot be read, or is about another rollout, counts
    as known and not as followed. Where the flag is ``tripped``, so does a router that still lets users into the
    canary. Raises what `Store.list` does.
    """
    if not revision:
        return None
    prefix = keys.routers(rollout)
    reports = store.list(prefix).items
    followed = sum(_has_followed(item, rollout, revision, tripped=tripped) for item in reports)
    return Followed(followed=followed, known=len(reports)) if reports else None


def _has_followed(item: Item, rollout: str, revision: int, *, tripped: bool) -> bool:
    try:
        report = from_document(item.value)
    except BadDocument:  # anybody's router, anybody's bytes
        return False
    if keys.router(rollout, report.id) != item.key or report.rollout != rollout:
        return False
    return report.revision >= revision and (report.on_control or not tripped)
