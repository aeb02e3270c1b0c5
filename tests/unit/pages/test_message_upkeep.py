"""What is done next to a delivered message, and what a step that ends late or badly leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.documents import Fields
from killswitch.pages import message_upkeep, outbox_entry
from killswitch.pages.message_upkeep import DOUBTFUL, Step, Upkeep, next_step
from tests.doubles.pages import AT, trip_page

NEW = Upkeep()


def step(upkeep: Upkeep, wanted: str = "first", *, detail: bool = True) -> Step | None:
    return next_step(upkeep, first="first", wanted=wanted, detail=detail)


def test_a_message_that_shows_what_it_should_is_left_alone() -> None:
    done = Upkeep(once=(Step.DETAIL, Step.PICTURE))
    assert step(done) is None
    assert step(replace(done, shown="b"), "b") is None


def test_the_message_comes_before_its_thread() -> None:
    assert step(NEW, "b") is Step.SHOW
    assert step(NEW) is Step.DETAIL
    assert step(NEW, detail=False) is Step.PICTURE
    assert step(Upkeep(once=(Step.DETAIL,))) is Step.PICTURE


def test_a_message_that_goes_back_to_its_first_view_is_shown_again() -> None:
    assert step(Upkeep(shown="b"), "first") is Step.SHOW


def test_a_step_that_ends_late_leaves_doubt() -> None:
    """Its old view may have come after the newer one: the view is shown once more, whoever ends last."""
    first = message_upkeep.begun(NEW, Step.SHOW, "a")
    second = message_upkeep.begun(first, Step.SHOW, "b")
    for ends in ((1, "old"), (2, "new")), ((2, "new"), (1, "old")):
        upkeep = second
        for number, view in ends:
            upkeep = message_upkeep.shown(upkeep, number, view)
        assert upkeep.shown == DOUBTFUL
        assert step(upkeep, "new") is Step.SHOW


def test_steps_of_the_thread_are_begun_once() -> None:
    begun = message_upkeep.begun(NEW, Step.DETAIL, "a")
    assert step(message_upkeep.ended(begun, 1)) is Step.PICTURE
    assert step(message_upkeep.refused(begun, 1, Step.DETAIL, gone=False)) is Step.PICTURE
    assert step(message_upkeep.not_taken(begun, 1, Step.DETAIL)) is Step.DETAIL


def test_a_deleted_message_is_posted_again_once() -> None:
    gone = message_upkeep.refused(message_upkeep.begun(NEW, Step.SHOW, "a"), 1, Step.SHOW, gone=True)
    assert step(gone, "b") is Step.REPLACE
    again = message_upkeep.replaced(message_upkeep.begun(gone, Step.REPLACE, "a"), 2, "b")
    assert step(again, "b", detail=False) is Step.PICTURE
    assert step(again, "c") is Step.SHOW
    gone_again = message_upkeep.refused(message_upkeep.begun(again, Step.SHOW, "a"), 3, Step.SHOW, gone=True)
    assert step(gone_again, "c") is None


def test_a_message_that_may_not_be_changed_is_not_asked_again() -> None:
    fixed = message_upkeep.refused(message_upkeep.begun(NEW, Step.SHOW, "a"), 1, Step.SHOW, gone=False)
    assert fixed.fixed
    assert step(fixed, "b") is Step.DETAIL


@pytest.mark.parametrize(("tried", "again"), [(Step.PICTURE, False), (Step.DETAIL, True), (Step.SHOW, True)])
def test_denied_access_ends_only_the_picture(tried: Step, again: bool) -> None:
    denied = message_upkeep.denied(message_upkeep.begun(NEW, tried, "a"), 1, tried)
    assert (tried not in denied.once) is again
    assert not denied.fixed


def test_an_upkeep_survives_the_store() -> None:
    upkeep = Upkeep("abc", 4, "a#1", (Step.DETAIL, Step.PICTURE), gone=True, fixed=True)
    entry = outbox_entry.kept_up(outbox_entry.new_entry(trip_page(), at=AT), "slack", upkeep)
    read = outbox_entry.from_document(outbox_entry.to_document(entry), page=entry.id)
    assert read == entry
    assert outbox_entry.reference_of(read, "slack") == ""


def test_a_step_of_a_newer_version_is_passed_over() -> None:
    document = {**message_upkeep.to_json(NEW), "once": ["detail", "song"]}
    assert message_upkeep.from_json(Fields(document, "x")).once == (Step.DETAIL,)
