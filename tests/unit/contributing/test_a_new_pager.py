"""A worked example: a receiver of pages from outside, by the protocol `Pager`. It writes each page to a folder."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.flags import incident as incidents
from killswitch.pages import outbox_entry
from killswitch.pages.delivery import PageDelivery
from killswitch.pages.page import Page
from killswitch.pages.receivers import Pager
from killswitch.stores import Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import incident, trip_page


class FolderPager:
    """One file a page. The id is in the file's name, so a copy of a page replaces it."""

    name = "folder"  # in outbox records and metrics

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Raises Unavailable if the file cannot be written: then surely nothing was delivered, and it is tried again.

        A receiver on the network gives its client ``deadline.remaining()`` seconds in all, and raises OutcomeUnknown
        if the request was sent and the answer was lost.
        """
        mark = " (possible repeat)" if possible_repeat else ""
        path = self._folder / f"{page.id}.txt"
        try:
            path.write_text(f"{page.headline}{mark}\n{page.why}\n", encoding="utf-8")
        except OSError as error:
            raise Unavailable(f"the page cannot be written to {self._folder}: {error.strerror}") from error
        return path.name  # the receiver's own reference


class AtOnce:
    def submit(self, job: Callable[[], None], /) -> None:
        job()


class World:
    """A store with one page in its outbox, and a process that delivers."""

    def __init__(self, pager: Pager) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.page = trip_page()
        record = incidents.to_document(incident(self.page.rollout, self.page.generation))
        entry = outbox_entry.new_entry(self.page, at=self.clock.wall())
        writes = [
            Put(keys.outbox(self.page.id), outbox_entry.to_document(entry)),
            Put(keys.incident(self.page.rollout, self.page.generation), record),
        ]
        self.server.commit("controller", (), writes)
        self.delivery = PageDelivery(
            MemoryStore(self.server), [pager], owner="replica", wall=self.clock.wall, monotonic=self.clock.monotonic,
            chance=random.Random(7), executor=AtOnce(),
        )  # fmt: skip

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.delivery.run_once()
            self.clock.advance(1.0)


def test_a_page_in_the_outbox_reaches_a_new_receiver(tmp_path: Path) -> None:
    world = World(FolderPager(tmp_path))
    world.run(5)
    text = (tmp_path / "support-copilot.7.txt").read_text()
    assert text.startswith(world.page.headline)
    assert world.page.why in text


def test_a_receiver_that_was_away_gets_the_page_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "away"
    world = World(FolderPager(folder))
    world.run(10)
    assert not folder.exists()
    folder.mkdir()
    world.run(120)
    assert (folder / "support-copilot.7.txt").exists()


def test_a_failure_is_said_as_one_of_the_errors(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        FolderPager(tmp_path / "none").send(trip_page(), possible_repeat=False, deadline=Deadline(1))
