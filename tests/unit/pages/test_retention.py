"""Which delivered pages the outbox keeps."""

from __future__ import annotations

from dataclasses import replace

from killswitch.pages import outbox_entry
from killswitch.pages.ledger import KEEP_SETTLED
from killswitch.pages.message_upkeep import Upkeep
from killswitch.pages.outbox_entry import OutboxEntry
from killswitch.pages.page import PageKind
from killswitch.pages.retention import KEEP_OPEN, KEEP_OPEN_AT_MOST, KEEP_SETTLED_AT_MOST, droppable
from tests.doubles.pages import AT, trip_page

DAY = 86400.0


def entry(
    number: int, *, age: float, follows: int | None = None, kept: bool = True, kind: PageKind = PageKind.TRIPPED
) -> OutboxEntry:
    page = replace(
        trip_page(f"r{number}", 1), id=f"p{number}", kind=kind, follows=None if follows is None else f"p{follows}"
    )
    made = outbox_entry.new_entry(page, at=AT - age)
    return outbox_entry.kept_up(made, "slack", Upkeep(number=1)) if kept else made


def dropped(*entries: OutboxEntry) -> list[str]:
    read = {one.id: (one, 5) for one in entries}
    return [page_id for page_id, _ in droppable(read, (), AT)]


def test_an_open_incident_stays_for_weeks() -> None:
    """Its message must still say how it ended."""
    assert dropped(entry(1, age=30 * DAY)) == []
    assert dropped(entry(1, age=KEEP_OPEN_AT_MOST + 1)) == ["p1"]


def test_an_incident_that_was_settled_goes_after_a_week() -> None:
    settled = entry(2, age=29 * DAY, follows=1, kind=PageKind.RE_ARMED)
    assert dropped(entry(1, age=30 * DAY), settled) == ["p1", "p2"]


def test_an_incident_of_a_digest_goes_after_a_week() -> None:
    assert dropped(entry(1, age=KEEP_SETTLED_AT_MOST + 1, kept=False)) == ["p1"]


def test_what_followed_goes_no_sooner_than_its_page() -> None:
    """Else a message would go back to what it showed before."""
    assert dropped(entry(1, age=30 * DAY), entry(2, age=29 * DAY, follows=1, kind=PageKind.FOLLOWED)) == []


def test_a_page_goes_before_what_follows_it() -> None:
    many = [entry(number, age=300.0 + number, kept=False) for number in range(10, KEEP_SETTLED + 10)]
    early = entry(2, age=4000.0, follows=1, kept=False, kind=PageKind.RE_ARMED)  # of a replica whose clock is behind
    assert dropped(*many, entry(1, age=3000.0, kept=False), early)[-2:] == ["p1", "p2"]


def test_only_the_newest_open_incidents_stay() -> None:
    many = [entry(number, age=8 * DAY + number) for number in range(KEEP_OPEN + 3)]
    assert sorted(dropped(*many)) == sorted(f"p{number}" for number in range(KEEP_OPEN, KEEP_OPEN + 3))
