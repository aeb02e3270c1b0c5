"""What one message about an incident shows, whatever the order in which its pages are seen."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.incident import Acknowledged
from killswitch.pages import events, pin_events
from killswitch.pages.message_view import MAX_TOLD, message_view
from killswitch.pages.page import Page, PageKind
from tests.doubles.pages import AT, SETTINGS, armed, incident, trip_page

FLAG = replace(armed(), generation=7)
TRIP = trip_page()


def acknowledged(at: float = AT + 30) -> Page:
    noted = replace(incident(), acknowledged=Acknowledged("ann", "Slack", at))
    return replace(events.acknowledged(FLAG, noted, settings=SETTINGS), follows=TRIP.id)


def followed(at: float = AT + 2) -> Page:
    return replace(events.followed(FLAG, routers=3, known=3, at=at, settings=SETTINGS), follows=TRIP.id)


def rearmed(at: float = AT + 600) -> Page:
    flag = replace(armed(), generation=8, armed_at=at)
    return replace(events.re_armed(flag, reason="prompt fixed", by="ann", settings=SETTINGS), follows=TRIP.id)


def pin(kind: PageKind, at: float) -> Page:
    page = pin_events.unpinned(replace(FLAG, updated_at=at), reason="settled", by="ann", settings=SETTINGS)
    return replace(page, kind=kind, id=f"{TRIP.id}.{kind.value}.{at}", at=at, follows=TRIP.id)


ALL = (followed(), acknowledged(), rearmed(), pin(PageKind.PINNED, AT + 60), pin(PageKind.UNPINNED, AT + 90))


@given(st.permutations(ALL), st.lists(st.sampled_from(ALL), max_size=5))
def test_the_view_depends_on_no_order_and_no_repeat(order: list[Page], repeats: list[Page]) -> None:
    assert message_view(TRIP, [*order, *repeats]) == message_view(TRIP, ALL)
    assert message_view(TRIP, [*repeats, *order]).fingerprint == message_view(TRIP, ALL).fingerprint


def test_each_further_page_changes_the_fingerprint() -> None:
    prints = {message_view(TRIP, ALL[:number]).fingerprint for number in range(len(ALL) + 1)}
    assert len(prints) == len(ALL) + 1


def test_what_followed_is_told_without_the_rollouts_name() -> None:
    told = message_view(TRIP, [rearmed(), acknowledged()]).told
    assert [one.what.split(" by ")[0].split(" ")[0] for one in told] == ["acknowledged", "re-armed"]
    assert told[1].why == "prompt fixed"


def test_a_rearm_settles_the_message_for_good() -> None:
    """A page that arrives late, even one with a later time, does not open it again."""
    view = message_view(TRIP, [rearmed(), followed(AT + 900)])
    assert view.settled_by is not None
    assert view.settled_by.kind is PageKind.RE_ARMED
    assert message_view(TRIP, [followed(), acknowledged()]).settled_by is None


def test_the_newest_page_about_a_pin_counts() -> None:
    pinned, lifted = pin(PageKind.PINNED, AT + 60), pin(PageKind.UNPINNED, AT + 90)
    assert message_view(TRIP, [pinned]).pinned
    assert not message_view(TRIP, [lifted, pinned]).pinned
    assert message_view(replace(TRIP, kind=PageKind.PINNED), []).pinned


def test_of_many_pages_the_newest_are_told() -> None:
    many = [replace(followed(AT + number), id=f"p{number}") for number in range(MAX_TOLD + 5)]
    view = message_view(TRIP, many)
    assert [one.at for one in view.told] == [AT + number for number in range(5, MAX_TOLD + 5)]
    assert view.earlier == 5
