"""One message for each incident is kept up to date by any replica, whatever fails and whoever dies."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from killswitch.flags.flag import Flag
from killswitch.pages import outbox_entry
from killswitch.pages.message_keeper import ABANDONED, SET_ASIDE
from killswitch.pages.message_upkeep import Upkeep
from killswitch.pages.message_view import MessageView
from killswitch.pages.page import Page, PageKind
from killswitch.stores import Put, keys
from tests.doubles.flags import tripped
from tests.doubles.memory_store import Call, Crash, Fault
from tests.doubles.pages import AT, trip_page
from tests.doubles.receiver import Way
from tests.unit.pages.chats import FLAG, FOLLOWED, MISSING, PICTURE, REARMED, TRIP, Chats, shows


@pytest.fixture
def world() -> Chats:
    return Chats()


def test_what_follows_is_shown_in_the_message_and_told_in_its_thread(world: Chats) -> None:
    replica = world.replica()
    world.write(TRIP)
    world.run(replica, seconds=5)
    world.write(FOLLOWED)
    world.run(replica, seconds=5)
    assert shows(world.message(), FOLLOWED)
    world.write(REARMED)
    world.run(replica, seconds=5)
    assert shows(world.message(), FOLLOWED, REARMED)
    assert world.message().replies == [FOLLOWED.id, REARMED.id]
    assert world.message().details == 1


def test_a_message_that_is_up_to_date_costs_nothing(world: Chats) -> None:
    """No call of the receiver, and no write, however long it is looked at."""
    replica = world.replica()
    world.write(TRIP, FOLLOWED)
    world.run(replica, seconds=20)
    calls, revision = len(world.chat.calls), world.server.revision
    world.run(replica, world.replica("b"), seconds=60)
    assert len(world.chat.calls) == calls
    assert world.server.revision == revision


def test_pages_that_come_before_the_messages_are_shown_by_one_change(world: Chats) -> None:
    world.write(TRIP, FOLLOWED, REARMED)
    world.run(world.replica(), seconds=20)
    assert shows(world.message(), FOLLOWED, REARMED)


@pytest.mark.parametrize("order", list(itertools.permutations((FOLLOWED, MISSING, REARMED))))
def test_the_message_ends_the_same_in_any_order(world: Chats, order: tuple[Page, ...]) -> None:
    replica = world.replica()
    world.write(TRIP)
    for page in order:
        if world.server.value(keys.outbox(page.id)) is None:
            world.write(page)
        world.run(replica, seconds=3)
    world.run(replica, seconds=10)
    kinds = [one.kind for one in world.message().view.told]
    assert kinds == [PageKind.FOLLOWED, PageKind.RE_ARMED]  # the two pages about routers have one id


STRIKES = [(number, way) for number in range(40) for way in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)]


@pytest.mark.parametrize(("at", "way"), STRIKES)
def test_whoever_dies_another_replica_brings_the_message_up_to_date(world: Chats, at: int, way: Fault) -> None:
    """The first process ends at its ``at``-th call of the store; nothing is told twice in the thread by the upkeep."""
    calls = itertools.count()
    first = world.replica("a", fault=lambda _: way if next(calls) == at else None)
    world.write(TRIP)
    try:
        world.run(first, seconds=3)
        world.write(FOLLOWED, REARMED)
        world.run(first, seconds=10)
    except Crash:
        pass
    if world.server.value(keys.outbox(REARMED.id)) is None:
        world.write(FOLLOWED, REARMED)
    world.run(world.replica("b"), seconds=60)
    last = list(world.chat.messages.values())[-1]
    assert shows(last, FOLLOWED, REARMED)
    assert last.details <= 1
    assert {FOLLOWED.id, REARMED.id} <= {one for kept in world.chat.messages.values() for one in kept.replies}


@pytest.mark.parametrize("way", [Way.CRASH_BEFORE, Way.CRASH_AFTER])
@pytest.mark.parametrize("at", range(4))
def test_a_process_that_dies_in_a_step_is_taken_over(world: Chats, at: int, way: Way) -> None:
    world.chat.script.extend([*[Way.TAKE] * at, way])
    first = world.replica("a", pictures=lambda _: PICTURE)
    world.write(TRIP, FOLLOWED)
    try:
        world.run(first, seconds=12)
    except Crash:
        world.write(REARMED)
    world.run(world.replica("b", pictures=lambda _: PICTURE), seconds=ABANDONED + 30)
    assert world.message().view.told[0].kind is PageKind.FOLLOWED
    assert world.message().details <= 1
    assert world.message().pictures <= 1
    assert not world.upkeep().by or world.upkeep().shown


def test_a_process_that_wakes_up_late_does_not_leave_its_old_view(world: Chats) -> None:
    """It was stopped in the middle of its change, which comes after the newer one: that is shown again."""
    asleep, awake = world.replica("a"), world.replica("b")
    world.write(TRIP, FOLLOWED)
    world.run(asleep, seconds=1)
    show = world.chat.show

    def slept(*arguments: object, **named: object) -> None:
        world.chat.show = show  # type: ignore[method-assign]
        world.write(REARMED)
        world.run(awake, seconds=ABANDONED + 20)
        assert shows(world.message(), FOLLOWED, REARMED)
        show(*arguments, **named)  # type: ignore[arg-type]  # what it was called with

    world.chat.show = slept  # type: ignore[method-assign]
    world.run(asleep, seconds=10)
    world.run(awake, asleep, seconds=ABANDONED + 20)
    assert shows(world.message(), FOLLOWED, REARMED)


@pytest.mark.parametrize("way", [Way.UNAVAILABLE, Way.LOST_ANSWER, Way.SWALLOWED, Way.BUG, Way.DENIED])
def test_a_change_that_fails_is_made_again(world: Chats, way: Way) -> None:
    world.chat.script.extend([way] * 3)
    replica = world.replica()
    world.write(TRIP, FOLLOWED)
    world.run(replica, seconds=4 * SET_ASIDE)
    assert shows(world.message(), FOLLOWED)
    assert world.message().replies == [FOLLOWED.id]


@pytest.mark.parametrize("way", [Way.LOST_ANSWER, Way.SWALLOWED])
def test_detail_whose_answer_was_lost_is_not_sent_twice(world: Chats, way: Way) -> None:
    world.chat.script.append(way)
    world.write(TRIP)
    world.run(world.replica(), seconds=60)
    assert world.chat.names().count("send_detail") == 1


def test_detail_that_was_not_taken_is_sent_again(world: Chats) -> None:
    world.chat.script.extend([Way.UNAVAILABLE, Way.DENIED])
    world.write(TRIP)
    world.run(world.replica(), seconds=60)
    assert world.message().details == 1


def test_pages_are_delivered_while_messages_cannot_be_changed(world: Chats) -> None:
    """The pages' own way does not know of it: each reply comes at the lane's pace."""
    world.chat.script.extend([Way.UNAVAILABLE] * 1000)
    replica = world.replica()
    world.write(TRIP, FOLLOWED, REARMED)
    world.run(replica, seconds=6)
    assert set(world.message().replies) == {FOLLOWED.id, REARMED.id}


def test_the_wait_that_the_receiver_asks_for_is_obeyed(world: Chats) -> None:
    world.chat.script.append(Way.UNAVAILABLE)
    world.chat.retry_after = 30.0
    world.write(TRIP, FOLLOWED)
    world.run(world.replica(), seconds=80)
    first, second = [at for at, name in world.chat.calls if name == "show"][:2]
    assert second - first >= 30.0


def test_a_deleted_message_is_sent_again_as_it_is_now(world: Chats) -> None:
    replica = world.replica()
    world.write(TRIP)
    world.run(replica, seconds=5)
    del world.chat.messages[next(iter(world.chat.messages))]
    world.write(FOLLOWED)
    world.run(replica, seconds=20)
    last = list(world.chat.messages.values())[-1]
    assert shows(last, FOLLOWED)
    world.write(REARMED)
    world.run(replica, seconds=20)
    assert shows(list(world.chat.messages.values())[-1], FOLLOWED, REARMED)
    assert world.chat.names().count("send_view") == 1


def test_a_message_that_is_deleted_twice_stays_deleted(world: Chats) -> None:
    """Pages that follow are messages of their own then: none is lost."""
    replica = world.replica()
    world.write(TRIP)
    world.run(replica, seconds=5)
    for page in (FOLLOWED, REARMED):
        world.chat.messages.clear()
        world.write(page)
        world.run(replica, seconds=20)
    assert world.chat.names().count("send_view") == 1
    assert world.upkeep().gone
    late = replace(REARMED, id="late", kind=PageKind.CONTROL_DROWNS)
    world.write(late)
    world.run(replica, seconds=20)
    assert world.entry(late).delivery("chat").final


def test_a_message_that_may_not_be_changed_keeps_its_thread(world: Chats) -> None:
    replica = world.replica()
    world.write(TRIP)
    world.run(replica, seconds=5)
    world.message().fixed = True
    world.write(FOLLOWED, REARMED)
    world.run(replica, seconds=60)
    assert set(world.message().replies) == {FOLLOWED.id, REARMED.id}
    assert world.chat.names().count("show") == 1


# --- buttons ------------------------------------------------------------------------------------


def stopped() -> Flag:
    return replace(tripped(7), rollout=TRIP.rollout)


def test_buttons_are_bound_to_the_flags_revision(world: Chats) -> None:
    world.chat.buttons = True
    revision = world.flag(stopped())
    world.write(TRIP)
    replica = world.replica()
    world.run(replica, seconds=5)
    assert world.message().revision == revision


def test_an_open_message_follows_who_may_press(world: Chats) -> None:
    """The rule file names people after the trip: the message of the open incident gets its buttons, and loses them."""
    revision = world.flag(stopped())
    world.write(TRIP)
    replica = world.replica()
    world.run(replica, seconds=5)
    assert world.message().revision is None
    world.chat.buttons = True
    world.run(replica, seconds=10)
    assert world.message().revision == revision
    world.chat.buttons = False
    world.run(replica, seconds=10)
    assert world.message().revision is None


def test_buttons_vanish_when_the_incident_is_settled(world: Chats) -> None:
    world.chat.buttons = True
    world.flag(stopped())
    world.write(TRIP)
    replica = world.replica()
    world.run(replica, seconds=5)
    world.flag(replace(FLAG, generation=8))
    world.write(REARMED)
    world.run(replica, seconds=10)
    assert world.message().revision is None
    assert shows(world.message(), REARMED)


def test_a_flag_that_is_no_longer_stopped_gets_no_buttons(world: Chats) -> None:
    world.chat.buttons = True
    world.flag(replace(FLAG, generation=8))
    world.write(TRIP)
    world.run(world.replica(), seconds=5)
    assert world.message().revision is None
    assert "show" not in world.chat.names()


# --- many ---------------------------------------------------------------------------------------


def test_the_thread_waits_while_pages_wait(world: Chats) -> None:
    """In a storm no detail and no picture takes the place of a page, even while the receiver is asked to wait."""
    replica = world.replica(pictures=lambda _: PICTURE)
    world.write(*[trip_page(f"r{number}", 1) for number in range(4)])
    world.run(replica, seconds=1)
    world.chat.busy_for = 30.0
    world.run(replica, seconds=20)
    assert world.chat.calls == []
    world.chat.busy_for = None
    world.run(replica, seconds=60)
    assert all(kept.details == 1 for kept in world.chat.messages.values())


def test_messages_of_one_receiver_keep_their_pace(world: Chats) -> None:
    world.write(*[trip_page(f"r{number}", 1) for number in range(5)])
    world.run(world.replica(pictures=lambda _: PICTURE), seconds=60)
    at = [moment for moment, _ in world.chat.calls]
    assert len(at) == 10
    assert all(after - before >= 1.0 for before, after in itertools.pairwise(at))


def test_a_changed_entry_is_never_written_over(world: Chats) -> None:
    """The lane marks the same entry: both writes compare its revision."""
    world.write(TRIP, FOLLOWED)
    replicas = [world.replica(name) for name in "abc"]
    world.run(*replicas, seconds=30)
    stored = world.entry(TRIP)
    assert stored.delivery("chat").attempts == 1
    assert stored.delivery("chat").upkeep is not None
    assert outbox_entry.reference_of(stored, "chat") == "C1/1"


def test_a_step_under_way_is_left_to_its_process(world: Chats) -> None:
    """Another replica waits for its end, and takes it over only when it has not ended for long."""
    busy = replace(Upkeep(), number=1, by="someone")
    world.write(TRIP, FOLLOWED)
    replica = world.replica()
    world.run(replica, seconds=0.5)
    changed = outbox_entry.kept_up(world.entry(TRIP), "chat", busy)
    world.server.commit("x", (), (Put(keys.outbox(TRIP.id), outbox_entry.to_document(changed)),))
    world.run(replica, seconds=ABANDONED - 1)
    assert world.chat.calls == []
    world.run(replica, seconds=5)
    assert shows(world.message(), FOLLOWED)


@pytest.mark.parametrize("which", [0, 1])
def test_a_change_of_the_entry_by_another_is_kept(world: Chats, which: int) -> None:
    """Just before every second write of the upkeep, another process notes a delivery to a further receiver."""
    noted: list[str] = []
    number = itertools.count()

    def interfere(call: Call) -> Fault | None:
        writes = call.subject if isinstance(call.subject, tuple) else ()
        ours = call.name == "commit" and any(w.key == keys.outbox(TRIP.id) for w in writes)
        if ours and next(number) % 2 == which and len(noted) < 2:
            noted.append(f"hook-{len(noted)}")
            begun = outbox_entry.begin(world.entry(TRIP), noted[-1], by="x", at=AT)
            other = outbox_entry.taken(begun, noted[-1], reference="r", at=AT)
            world.server.commit("x", (), (Put(keys.outbox(TRIP.id), outbox_entry.to_document(other)),))
        return None

    world.write(TRIP)
    world.run(world.replica(), seconds=2)
    world.write(FOLLOWED)
    world.run(world.replica("b", fault=interfere), seconds=60)
    assert noted
    assert set(noted) < set(world.entry(TRIP).deliveries)
    assert shows(world.message(), FOLLOWED)


def test_a_message_with_a_bug_does_not_hold_up_the_others(world: Chats) -> None:
    """It is tried again after a while."""
    newer = trip_page("newer", 1)
    show, broken = world.chat.show, [True]

    def only_others(view: MessageView, *arguments: object, **named: object) -> None:
        if broken[0] and view.page.id == newer.id:
            raise RuntimeError("a bug")
        show(view, *arguments, **named)  # type: ignore[arg-type]  # what it was called with

    world.chat.show = only_others  # type: ignore[method-assign]
    replica = world.replica()
    world.write(TRIP)
    world.run(replica, seconds=3)
    world.write(newer, replace(REARMED, id="newer.2", follows=newer.id))
    world.run(replica, seconds=5)
    world.write(FOLLOWED)
    world.run(replica, seconds=10)
    assert shows(next(iter(world.chat.messages.values())), FOLLOWED)
    broken[0] = False
    world.run(replica, seconds=100)
    assert all(kept.view.told for kept in world.chat.messages.values())
