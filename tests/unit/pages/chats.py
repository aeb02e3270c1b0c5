"""Replicas that keep the messages of one receiver up to date, on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.pages import events
from killswitch.pages.delivery import DeliveryPolicy, PageDelivery
from killswitch.pages.message_upkeep import Upkeep
from killswitch.pages.message_view import message_view
from killswitch.pages.page import Page
from killswitch.pages.picture import Picture, Pictures
from killswitch.stores import Put, keys
from tests.doubles.kept_messages import Kept, KeptMessages
from tests.doubles.memory_store import Call, Fault, MemoryStore
from tests.doubles.pages import AT, SETTINGS, armed, trip_page
from tests.unit.pages.deliveries import AtOnce, World

TRIP = trip_page()
FLAG = replace(armed(), generation=7)
FOLLOWED = events.followed(FLAG, routers=3, known=3, at=AT + 2, settings=SETTINGS)
REARMED = events.re_armed(replace(FLAG, generation=8, armed_at=AT + 9), reason="fixed", by="ann", settings=SETTINGS)
MISSING = events.followed(FLAG, routers=2, known=3, at=AT + 3, settings=SETTINGS)
PICTURE = Picture(b"\x89PNG", "both cohorts", "canary above control")


class Chats(World):
    """A world whose processes deliver to one receiver that keeps its messages up to date."""

    def __init__(self) -> None:
        super().__init__()
        self.chat = KeptMessages(self.clock)

    def replica(
        self, name: str = "a", *, fault: Callable[[Call], Fault | None] | None = None, pictures: Pictures | None = None
    ) -> PageDelivery:
        store = MemoryStore(self.server, name)
        if fault is not None:
            store.fault = fault
        return PageDelivery(
            store, [self.chat], owner=name, wall=self.clock.wall, monotonic=self.clock.monotonic,
            executor=AtOnce(), policy=DeliveryPolicy(), pictures=pictures,
        )  # fmt: skip

    def message(self) -> Kept:
        (one,) = self.chat.messages.values()
        return one

    def upkeep(self) -> Upkeep:
        return self.entry(TRIP).delivery("chat").upkeep or Upkeep()

    def flag(self, flag: Flag) -> int:
        self.server.commit("x", (), (Put(keys.flag(flag.rollout), flag_document(flag)),))
        return self.server.revision


def shows(kept: Kept, *pages: Page) -> bool:
    return kept.view == message_view(TRIP, pages)
