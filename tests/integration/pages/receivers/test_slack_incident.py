"""One message for each incident in Slack, over real HTTP, against a Slack that enforces its own rules.

Time is virtual: Slack's limits of rates count on the same clock as the delivery.
"""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from killswitch.deadline import Deadline
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.incident import Acknowledged
from killswitch.net.credentials import Secret
from killswitch.pages import drill_events, events
from killswitch.pages.delivery import PageDelivery
from killswitch.pages.message_view import message_view
from killswitch.pages.picture import Picture, Pictures
from killswitch.pages.receivers.slack import SlackPager
from killswitch.pages.receivers.slack_buttons import from_value
from killswitch.stores import Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.flags import tripped
from tests.doubles.memory_store import MemoryStore
from tests.doubles.pages import AT, SETTINGS, armed, incident, trip_page
from tests.doubles.slack import LOST_ANSWER, TOKEN, Message, SlackDouble, bad_gateway, error, rate_limited
from tests.unit.pages.deliveries import AtOnce, World
from tests.unit.pages.receivers.test_slack_message import longest
from tests.unit.pages.test_page import one_of_each

TRIP = trip_page()
FLAG = replace(armed(), generation=7)
FOLLOWED = events.followed(FLAG, routers=3, known=3, at=AT + 2, settings=SETTINGS)
MISSING = events.followed(FLAG, routers=2, known=3, at=AT + 62, settings=SETTINGS)
ACKNOWLEDGED = events.acknowledged(
    FLAG, replace(incident(), acknowledged=Acknowledged("ann", "Slack", AT + 30)), settings=SETTINGS
)
REARMED = events.re_armed(replace(FLAG, generation=8, armed_at=AT + 600), reason="fixed", by="ann", settings=SETTINGS)


def a_png() -> bytes:
    """One white pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\xff\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PICTURE = Picture(a_png(), "refusal_rate around the trip", "canary 8.7%, control 1.1%")


class Room(World):
    """A Slack, and replicas that deliver to it, all on one virtual clock."""

    def __init__(self, slack: SlackDouble, clock: VirtualClock, token: Path) -> None:
        super().__init__()
        self.clock, self.server.clock = clock, clock
        self.slack = slack
        self.token = token

    def replica(self, name: str = "a", *, pictures: Pictures | None = None, buttons: bool = False) -> PageDelivery:
        pager = SlackPager(
            Secret.from_file(self.token), base_url=self.slack.base_url, wall=self.clock.wall,
            buttons=(lambda _: True) if buttons else None,
        )  # fmt: skip
        return PageDelivery(
            MemoryStore(self.server, name), [pager], owner=name, wall=self.clock.wall, monotonic=self.clock.monotonic,
            executor=AtOnce(), pictures=pictures,
        )  # fmt: skip

    def message(self) -> Message:
        (one,) = [message for message in self.slack.in_channel if message.by.endswith("BOT1")]
        return one

    def header(self) -> str:
        return str(self.message().blocks[0]["text"]["text"])


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "token").write_text(TOKEN)
    clock = VirtualClock()
    with SlackDouble(now=clock.monotonic) as slack:
        yield Room(slack, clock, tmp_path / "token")


def buttons_of(message: Message) -> list[dict[str, Any]]:
    return [element for block in message.blocks if block["type"] == "actions" for element in block["elements"]]


def test_an_incident_is_one_message_from_trip_to_rearm(room: Room) -> None:
    replica = room.replica(pictures=lambda _: PICTURE)
    room.write(TRIP)
    room.run(replica, seconds=10)
    assert room.header().startswith(":rotating_light:")
    for page, sign in ((FOLLOWED, ":rotating_light:"), (ACKNOWLEDGED, ":eyes:"), (REARMED, ":arrow_forward:")):
        room.write(page)
        room.run(replica, seconds=10)
        assert room.header().startswith(sign)
    thread = room.slack.thread(room.message().ts)
    said = [one.text.split("\n")[0] if not one.files else "picture" for one in thread]
    assert [one.split(":")[0].split(" by ")[0] for one in said] == [
        "Every rule of support-copilot at that moment", "picture", "support-copilot", "support-copilot",
        "support-copilot",
    ]  # fmt: skip
    assert not any(one.broadcast for one in thread)
    assert room.slack.limited == 0


def test_what_needs_somebody_rings_in_the_channel(room: Room) -> None:
    """It is a new message that the channel shows, because a change of a message rings no one."""
    replica = room.replica()
    room.write(TRIP)
    room.run(replica, seconds=5)
    room.write(MISSING)
    room.run(replica, seconds=5)
    (said,) = [one for one in room.slack.thread(room.message().ts) if "2 of 3" in one.text]
    assert said.broadcast
    assert "2 of 3 routers" in json.dumps(room.message().blocks)


def test_buttons_appear_are_bound_and_vanish(room: Room) -> None:
    flag = replace(tripped(7), rollout=TRIP.rollout)
    room.server.commit("x", (), (Put(keys.flag(flag.rollout), flag_document(flag)),))
    revision = room.server.revision
    room.write(TRIP)
    replica = room.replica(buttons=True)
    room.run(replica, seconds=5)
    values = [from_value(button["value"]) for button in buttons_of(room.message())]
    assert len(values) == 4
    assert {(value.rollout, value.generation, value.revision) for value in values} == {(TRIP.rollout, 7, revision)}
    room.write(ACKNOWLEDGED)
    room.run(replica, seconds=5)
    assert len(buttons_of(room.message())) == 3
    room.write(REARMED)
    room.run(replica, seconds=5)
    assert buttons_of(room.message()) == []


def test_a_page_that_was_sent_twice_has_buttons_on_one(room: Room) -> None:
    """The copy whose answer was lost is not known, so it never gets any."""
    flag = replace(tripped(7), rollout=TRIP.rollout)
    room.server.commit("x", (), (Put(keys.flag(flag.rollout), flag_document(flag)),))
    room.slack.fail_next(LOST_ANSWER)
    room.write(TRIP)
    room.run(room.replica(buttons=True), seconds=30)
    first, second = room.slack.in_channel
    assert buttons_of(first) == []
    assert buttons_of(second) != []


# --- what may go wrong --------------------------------------------------------------------------


def test_changes_that_fail_delay_no_page(room: Room) -> None:
    room.slack.fail_always(bad_gateway(), "chat.update")
    replica = room.replica()
    room.write(TRIP, FOLLOWED, REARMED)
    room.run(replica, seconds=8)
    assert len([one for one in room.slack.pages if one.thread_ts]) == 2
    room.slack.fail_always(None)
    room.run(replica, seconds=90)
    assert room.header().startswith(":arrow_forward:")


@pytest.mark.parametrize("failure", [LOST_ANSWER, bad_gateway(500), error("internal_error"), error("update_failed")])
def test_a_change_whose_end_is_not_known_is_made_again(room: Room, failure: Any) -> None:
    room.slack.fail_next(failure, failure, method="chat.update")
    room.write(TRIP, REARMED)
    room.run(room.replica(), seconds=60)
    assert room.header().startswith(":arrow_forward:")


def test_the_wait_that_slack_asks_for_is_kept(room: Room) -> None:
    room.slack.fail_next(rate_limited(40), method="chat.update")
    replica = room.replica()
    room.write(TRIP, REARMED)
    room.run(replica, seconds=40)
    assert len(room.slack.calls("chat.update")) == 1
    room.run(replica, seconds=20)
    assert len(room.slack.calls("chat.update")) == 2


def test_a_deleted_message_comes_back_as_it_is_now(room: Room) -> None:
    replica = room.replica()
    room.write(TRIP)
    room.run(replica, seconds=1)
    room.slack.delete(room.message().ts)
    room.run(replica, seconds=5)
    room.write(REARMED)
    room.run(replica, seconds=30)
    views = [one for one in room.slack.in_channel if "*Was:*" in json.dumps(one.blocks)]
    assert [one.blocks[0]["text"]["text"][:15] for one in views] == [":arrow_forward:"]
    assert any("re-armed by ann" in one.text for one in room.slack.pages)


def test_a_message_that_comes_back_rings_no_one(room: Room) -> None:
    replica = room.replica()
    room.write(TRIP)
    room.run(replica, seconds=5)
    rang = [one.ts for one in room.slack.messages if "<!subteam" in one.text]
    room.slack.delete(room.message().ts)
    room.write(FOLLOWED)
    room.run(replica, seconds=20)
    assert len(room.slack.in_channel) == 1
    assert "<!subteam" not in json.dumps(room.message().body)
    assert len(rang) == 1


@pytest.mark.parametrize("why", ["edit_window_closed", "cant_update_message"])
def test_where_messages_may_not_be_changed_the_thread_tells(room: Room, why: str) -> None:
    room.slack.fail_always(error(why), "chat.update")
    room.write(TRIP, FOLLOWED, REARMED)
    room.run(room.replica(), seconds=120)
    assert len(room.slack.calls("chat.update")) == 1
    assert len([one for one in room.slack.thread(room.message().ts) if "Every rule" not in one.text]) == 2


def test_blocks_that_slack_refuses_become_words(room: Room) -> None:
    replica = room.replica()
    room.write(TRIP)
    room.run(replica, seconds=5)
    room.slack.takes_no_blocks = ("block_mismatch", "")
    room.write(REARMED)
    room.run(replica, seconds=10)
    assert room.message().blocks == []
    assert room.message().text.startswith("support-copilot: re-armed by ann")


# --- pictures -----------------------------------------------------------------------------------


def test_the_picture_is_uploaded_with_its_words(room: Room) -> None:
    room.write(TRIP)
    room.run(room.replica(pictures=lambda _: PICTURE), room.replica("b", pictures=lambda _: PICTURE), seconds=60)
    (ticket,) = room.slack.uploads.tickets.values()
    assert ticket.shared
    assert ticket.content == PICTURE.png
    assert ticket.alt == PICTURE.alt
    assert [one.thread_ts for one in room.slack.messages if one.files] == [room.message().ts]


def test_a_token_without_the_scope_sends_pages_without_pictures(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, however many incidents there are."""
    caplog.set_level(logging.WARNING)
    room.slack.scopes = {"chat:write"}
    room.write(TRIP, trip_page("b"))
    room.run(room.replica(pictures=lambda _: PICTURE), seconds=90)
    assert len(room.slack.in_channel) == 2
    assert room.slack.uploads.tickets == {}
    assert sum("pages in Slack have no pictures" in record.getMessage() for record in caplog.records) == 1
    assert "files:write" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("failure", [bad_gateway(), LOST_ANSWER])
@pytest.mark.parametrize("method", ["files.getUploadURLExternal", "upload"])
def test_an_upload_that_fails_on_its_way_is_tried_again(room: Room, method: str, failure: Any) -> None:
    """No one has seen anything of it before the last call."""
    room.slack.fail_next(failure, failure, method=method)
    room.write(TRIP)
    room.run(room.replica(pictures=lambda _: PICTURE), seconds=60)
    assert len([one for one in room.slack.messages if one.files]) == 1


def test_a_share_that_was_surely_not_taken_is_tried_again(room: Room) -> None:
    room.slack.fail_next(bad_gateway(), method="files.completeUploadExternal")
    room.write(TRIP)
    room.run(room.replica(pictures=lambda _: PICTURE), seconds=60)
    assert len([one for one in room.slack.messages if one.files]) == 1


def test_a_picture_that_may_have_been_shared_is_not_shared_again(room: Room) -> None:
    room.slack.fail_next(LOST_ANSWER, method="files.completeUploadExternal")
    room.write(TRIP)
    room.run(room.replica(pictures=lambda _: PICTURE), seconds=90)
    assert len([one for one in room.slack.messages if one.files]) == 1


@pytest.mark.parametrize("why", ["file_uploads_disabled", "storage_limit_reached"])
def test_a_workspace_that_takes_no_files_gets_its_pages(room: Room, why: str) -> None:
    room.slack.uploads.refused = why
    room.write(TRIP, REARMED)
    room.run(room.replica(pictures=lambda _: PICTURE), seconds=60)
    assert room.header().startswith(":arrow_forward:")
    assert len(room.slack.calls("files.getUploadURLExternal")) == 1


# --- every page, and many -----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["<!channel>", "&", "🔥", "wide words "])
def test_slack_takes_every_kind_of_page_at_its_longest(room: Room, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """As a message, as a reply, changed, and with its detail: nothing is refused, no plainer form is needed."""
    pager = SlackPager(Secret.from_file(room.token), base_url=room.slack.base_url, buttons=lambda _: True)
    for page in one_of_each():
        full = replace(longest(page, text), slack="#llm-oncall")
        for step in ("send", "reply", "show", "detail"):
            room.clock.advance(2.0)
            if step == "send":
                reference = pager.send(full, possible_repeat=True, deadline=Deadline(5))
            elif step == "reply":
                pager.reply(full, reference, possible_repeat=True, deadline=Deadline(5))
            elif step == "show":
                view = message_view(full, [longest(one, text) for one in (FOLLOWED, ACKNOWLEDGED, REARMED)])
                place = reference.removesuffix("/digest")
                pager.show(view, 41, place, deadline=Deadline(5))
            elif pager.has_detail(full):
                pager.send_detail(full, reference, deadline=Deadline(5))
    kinds = len(one_of_each())
    assert len(room.slack.calls("chat.update")) == kinds
    assert len(room.slack.calls("chat.postMessage")) == 2 * kinds + sum(pager.has_detail(p) for p in one_of_each())
    assert "plainer" not in caplog.text
    assert room.slack.limited == 0


def test_a_storm_is_a_few_messages_at_slacks_pace(room: Room) -> None:
    """A thousand incidents: five messages of their own, then digests, which get neither detail nor buttons."""
    room.write(*[trip_page(f"rollout-{number}", 1) for number in range(1000)])
    replicas = [room.replica(name, pictures=lambda _: PICTURE) for name in "ab"]
    room.run(*replicas, seconds=45)
    assert len(room.slack.in_channel) <= 10
    assert sum("pages at once" in one.text for one in room.slack.in_channel) >= 1
    assert len({one.thread_ts for one in room.slack.messages if one.files}) <= 5
    assert room.slack.limited <= 10  # two replicas do not share a pace; Slack says so, and is obeyed


def test_a_drill_has_no_buttons(room: Room) -> None:
    """Not even a live one, for which the flag is really tripped."""
    flag = replace(tripped(7), rollout=TRIP.rollout)
    room.server.commit("x", (), (Put(keys.flag(flag.rollout), flag_document(flag)),))
    room.write(drill_events.drill(incident(), FLAG, "support-copilot.d1", SETTINGS, live=True))
    room.run(room.replica(buttons=True), seconds=10)
    assert buttons_of(room.message()) == []
