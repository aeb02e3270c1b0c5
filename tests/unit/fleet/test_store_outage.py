"""Who is told CANNOT_ACT is told RECOVERED after it, whichever thread hears the store answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from killswitch.fleet.store_outage import StoreOutage
from killswitch.model import PageSettings
from killswitch.pages.page import Page, PageKind

TEAMS = [PageSettings(slack=f"#team-{number}") for number in range(5)]


class Told:
    """An outage, what was told of it, and what happens while a page is being told."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.now = 100.0
        self.meanwhile: Callable[[], None] = lambda: None
        self.outage = StoreOutage(
            controller_id="a", patience=15, send=self._tell, monotonic=lambda: self.now, wall=lambda: 1.7e9 + self.now
        )

    def _tell(self, page: Page) -> None:
        self.pages.append(page)
        self.meanwhile()

    def kinds(self, slack: str | None) -> list[PageKind]:
        return [page.kind for page in self.pages if page.slack == slack]

    def elsewhere(self, job: Callable[[], None]) -> None:
        thread = threading.Thread(target=job)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("after", range(1, 6))
def test_a_store_that_answers_while_teams_are_told(after: int) -> None:
    """On another thread, between the pages of any two teams: in pairs, and in this order."""
    told = Told()
    told.outage.failed("down", writing=True)
    told.now += 20

    def answers() -> None:
        if len(told.pages) == after:
            told.elsewhere(lambda: told.outage.answered([], writing=True))

    told.meanwhile = answers
    told.outage.check(["r"], [], concerned=TEAMS, in_danger=[])
    for team in TEAMS:
        assert told.kinds(team.slack) == [PageKind.CANNOT_ACT, PageKind.RECOVERED]
    assert not told.outage.under_way


def test_a_second_outage_is_told_after_the_end_of_the_first() -> None:
    told = Told()
    told.outage.failed("down")
    told.now += 20

    def comes_and_goes() -> None:
        if len(told.pages) == 1:
            told.elsewhere(lambda: told.outage.answered([]))
            told.outage.failed("down again")
            told.now += 20
            told.elsewhere(lambda: told.outage.check(["r"], [], concerned=TEAMS, in_danger=[]))

    told.meanwhile = comes_and_goes
    told.outage.check(["r"], [], concerned=TEAMS, in_danger=[])
    for team in TEAMS:
        assert told.kinds(team.slack) == [PageKind.CANNOT_ACT, PageKind.RECOVERED, PageKind.CANNOT_ACT]


def test_nobody_is_told_of_an_outage_shorter_than_patience() -> None:
    told = Told()
    told.outage.failed("down")
    told.now += 10
    told.outage.check(["r"], [], concerned=TEAMS, in_danger=[])
    told.outage.answered([])
    assert told.pages == []
