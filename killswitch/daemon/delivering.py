"""The delivery of pages as settings have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from killswitch.daemon.incident_pictures import incident_pictures
from killswitch.daemon.settings import Settings
from killswitch.pages.delivery import PageDelivery
from killswitch.pages.lane import DeliveryPolicy
from killswitch.pages.receivers import Pager
from killswitch.stores import Store


def build_delivery(
    settings: Settings,
    store: Store,
    receivers: tuple[Sequence[Pager], Pager | None],
    *,
    owner: str,
    wall: Callable[[], float],
    monotonic: Callable[[], float],
) -> PageDelivery:
    """``receivers``: those of every page, and the fallback among all."""
    pagers, fallback = receivers
    return PageDelivery(
        store,
        pagers,
        owner=owner,
        fallback=fallback,
        policy=DeliveryPolicy(claim_ttl=settings.claim_ttl, fallback_after=settings.fallback_after),
        wall=wall,
        monotonic=monotonic,
        pictures=incident_pictures(store),
    )
