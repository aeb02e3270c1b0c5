"""slack-sdk against a double of Slack's Web API over real HTTP: what each answer means for delivery."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.credentials import Secret
from killswitch.pages import events
from killswitch.pages.page import PageKind
from killswitch.pages.receivers.slack import SlackPager
from tests.doubles.http_double import Answer
from tests.doubles.pages import AT, SETTINGS, armed, trip_page
from tests.doubles.slack import LOST_ANSWER, TOKEN, SlackDouble, bad_gateway, error, rate_limited, refused_form

PAGE = trip_page()


@pytest.fixture
def slack() -> Iterator[SlackDouble]:
    with SlackDouble() as double:
        yield double


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def pager(slack: SlackDouble, token: Path) -> SlackPager:
    return SlackPager(Secret.from_file(token), base_url=slack.base_url)


def send(pager: SlackPager, seconds: float = 5.0) -> str:
    return pager.send(PAGE, possible_repeat=False, deadline=Deadline(seconds))


def test_a_page_is_posted_to_its_channel(slack: SlackDouble, pager: SlackPager) -> None:
    """A page is posted to its channel, and the reference is ``channel/ts``."""
    reference = send(pager)
    (message,) = slack.messages
    assert reference == f"{message.channel}/{message.ts}"
    assert message.text.startswith("<!subteam^S0123456> support-copilot")
    assert message.body["channel"] == "#llm-oncall"
    assert len(message.blocks) >= 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error("invalid_auth"), AccessDenied),
        (error("token_revoked"), AccessDenied),
        (error("missing_scope"), AccessDenied),
        (error("channel_not_found"), Refused),
        (error("not_in_channel"), Refused),
        (error("is_archived"), Refused),
        (error("restricted_action"), Refused),
        (error("ratelimited"), Unavailable),
        (error("service_unavailable"), Unavailable),
        (error("internal_error"), OutcomeUnknown),
        (error("fatal_error"), OutcomeUnknown),
        (error("fatal_error", 500), OutcomeUnknown),
        (bad_gateway(500), Unavailable),
        (bad_gateway(503), Unavailable),
        (bad_gateway(504), OutcomeUnknown),
        (Answer(404, b"not here"), Refused),
        (Answer(403, b"no"), AccessDenied),
        (Answer(302, b"", {"Location": "http://127.0.0.1:9/"}), AccessDenied),
        (Answer(200, b"<html>captive portal</html>"), OutcomeUnknown),
        (Answer(200, b""), OutcomeUnknown),
        (Answer(200, b"[1, 2]"), OutcomeUnknown),
        (Answer(200, b"null"), OutcomeUnknown),
        (Answer(200, b'{"ok": tru'), OutcomeUnknown),
        (Answer(200, b"\xff\xfe\x00"), OutcomeUnknown),
        (Answer(200, b'{"a":' * 20_000), OutcomeUnknown),
        (Answer(200, b'{"ok": false}'), OutcomeUnknown),
        (Answer(200, b'{"ok": false, "error": {"x": 1}}'), OutcomeUnknown),
        (Answer(200, b"x" * 2_000_000), OutcomeUnknown),
        (LOST_ANSWER, OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.body[:40]!r} {value.lost}",
)
def test_each_answer_says_whether_to_retry_to_fix_or_to_doubt(
    slack: SlackDouble, pager: SlackPager, answer: Answer, kind: type[KillswitchError]
) -> None:
    slack.fail_next(answer)
    with pytest.raises(KillswitchError) as raised:
        send(pager)
    assert type(raised.value) is kind
    assert TOKEN not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_slack_is_asked_once_however_it_answers(slack: SlackDouble, pager: SlackPager) -> None:
    slack.fail_always(bad_gateway())
    with pytest.raises(Unavailable):
        send(pager)
    assert len(slack.calls("chat.postMessage")) == 1


def test_the_wait_slack_asks_for_is_passed_on(slack: SlackDouble, pager: SlackPager) -> None:
    slack.fail_next(rate_limited(30))
    with pytest.raises(Unavailable) as raised:
        send(pager)
    assert raised.value.retry_after == 30.0


def test_a_hanging_slack_is_left_at_the_deadline(slack: SlackDouble, pager: SlackPager) -> None:
    """A hanging Slack is given up at the deadline, and the outcome is unknown."""
    slack.hang()
    with pytest.raises(OutcomeUnknown):
        send(pager, seconds=3.0)


def test_a_refused_connection_surely_delivered_nothing(token: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        pager = SlackPager(Secret.from_file(token), base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/api/")
        with pytest.raises(Unavailable):
            send(pager)


def test_a_dripping_slack_is_left_at_the_deadline(token: Path) -> None:
    """A Slack that sends a byte now and then is given up at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        pager = SlackPager(Secret.from_file(token), base_url=f"http://127.0.0.1:{server.getsockname()[1]}/api/")
        deadline = Deadline(3.0)
        with pytest.raises(OutcomeUnknown):
            pager.send(PAGE, possible_repeat=False, deadline=deadline)
        assert deadline.expired
        stop.set()
        thread.join(5)


def test_a_rotated_token_is_taken_up_without_a_restart(slack: SlackDouble, pager: SlackPager, token: Path) -> None:
    slack.token = "xoxb-rotated"
    with pytest.raises(AccessDenied):
        send(pager)
    token.write_text("xoxb-rotated")
    send(pager)
    assert len(slack.messages) == 1


def test_asking_whether_slack_answers_posts_nothing(slack: SlackDouble, pager: SlackPager) -> None:
    pager.answers(Deadline(5))
    assert slack.messages == []
    assert len(slack.calls("auth.test")) == 1
    slack.fail_always(bad_gateway())
    with pytest.raises(Unavailable):
        pager.answers(Deadline(5))


def test_the_scopes_that_a_token_lacks_are_known(slack: SlackDouble, pager: SlackPager, token: Path) -> None:
    assert pager.missing_scopes(Deadline(5)) == {}
    slack.scopes = {"files:write"}
    assert pager.missing_scopes(Deadline(5)) == {"chat:write": "no page can be sent"}
    with_buttons = SlackPager(Secret.from_file(token), base_url=slack.base_url, buttons=lambda _: True)
    assert {"users:read", "usergroups:read"} < set(with_buttons.missing_scopes(Deadline(5)))


def test_a_later_page_is_a_reply_shown_in_the_channel_too(slack: SlackDouble, pager: SlackPager) -> None:
    """A later page is a reply in the thread, and is shown in the channel too."""
    reference = send(pager)
    pager.reply(replace(PAGE, headline="re-armed"), reference, possible_repeat=False, deadline=Deadline(5))
    first, reply = slack.messages
    assert reply.thread_ts == first.ts
    assert reply.body["reply_broadcast"] is True


def test_good_news_stays_in_its_thread(slack: SlackDouble, pager: SlackPager) -> None:
    """A recovery, a re-arm and routers that have followed call nobody to the channel, and carry no warning sign."""
    flag, reference = armed(), send(pager)
    for page in (
        events.recovered(PageKind.BLIND, [flag], follows="x", since=AT - 90, at=AT, settings=SETTINGS),
        events.re_armed(flag, reason="fixed", by="ann", settings=SETTINGS),
        events.followed(flag, routers=60, known=60, at=AT, settings=SETTINGS),
    ):
        pager.reply(page, reference, possible_repeat=False, deadline=Deadline(5))
        said = slack.messages[-1]
        assert said.thread_ts == slack.messages[0].ts
        assert said.body["reply_broadcast"] is False
        assert ":warning:" not in json.dumps(said.body)
        assert "<!" not in said.text


# what Slack's documentation of chat.postMessage lists as errors of a message's form, and one it does not know yet
FORM = (
    "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "no_text", "block_mismatch",
    "attachment_payload_limit_exceeded", "too_many_attachments", "invalid_attachments", "markdown_text_conflict",
    "metadata_too_large", "invalid_metadata_format", "invalid_arguments", "invalid_arg_name", "invalid_array_arg",
    "invalid_form_data", "invalid_json", "json_not_object", "too_many_contact_cards", "slack_connect_blocked_file_type",
    "a_code_of_next_year",
)  # fmt: skip


@pytest.mark.parametrize("code", FORM)
def test_a_page_refused_for_its_form_goes_out_as_plain_text(
    slack: SlackDouble, pager: SlackPager, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    """The same attempt sends the text, its mention first; the log has the code and what Slack said of the block."""
    pointer = "must be less than 151 characters [json-pointer:/blocks/0/text]"
    slack.fail_next(refused_form(code, pointer))
    reference = send(pager)
    (said,) = slack.messages
    assert reference == f"{said.channel}/{said.ts}"
    assert said.blocks == []
    assert said.text.startswith("<!subteam^S0123456> support-copilot: canary model-new tripped")
    assert "killswitch rearm support-copilot" in said.text
    assert code in caplog.text
    assert pointer in caplog.text
    assert TOKEN not in caplog.text


def test_where_the_text_is_refused_too_the_headline_arrives(slack: SlackDouble, pager: SlackPager) -> None:
    slack.fail_next(error("invalid_blocks"), error("msg_too_long"))
    send(pager)
    (said,) = slack.messages
    assert said.text.startswith("<!subteam^S0123456> support-copilot: canary model-new tripped")
    assert set(said.body) == {"channel", "text"}


def test_a_slack_that_refuses_every_form_is_asked_three_times(slack: SlackDouble, pager: SlackPager) -> None:
    slack.fail_always(error("invalid_arguments"), "chat.postMessage")
    with pytest.raises(Refused):
        send(pager)
    assert len(slack.calls("chat.postMessage")) == 3


def test_what_concerns_the_place_is_not_asked_again(slack: SlackDouble, pager: SlackPager) -> None:
    slack.fail_always(error("is_archived"), "chat.postMessage")
    with pytest.raises(Refused):
        send(pager)
    assert len(slack.calls("chat.postMessage")) == 1


@pytest.mark.parametrize(("after", "kind"), [(LOST_ANSWER, OutcomeUnknown), (bad_gateway(), Unavailable)])
def test_the_plain_texts_own_answer_counts(
    slack: SlackDouble, pager: SlackPager, after: Answer, kind: type[KillswitchError]
) -> None:
    """A refusal left nothing behind, so the attempt is doubtful only if the text's answer is lost."""
    slack.fail_next(error("invalid_blocks"), after)
    with pytest.raises(kind):
        send(pager)
    assert len(slack.calls("chat.postMessage")) == 2


def test_a_reply_that_slack_refuses_is_posted_outside_the_thread(slack: SlackDouble, pager: SlackPager) -> None:
    slack.no_threads = True
    pager.reply(PAGE, "C00000001/1.2", possible_repeat=False, deadline=Deadline(5))
    (said,) = slack.messages
    assert said.thread_ts is None
    assert said.blocks


def test_complaints_of_any_shape_and_length_stay_bounded(
    slack: SlackDouble, pager: SlackPager, caplog: pytest.LogCaptureFixture
) -> None:
    for metadata in (
        {"messages": ["x" * 10_000] * 50},
        {"messages": [{"a": 1}, None]},
        {"messages": "text"},
        [1],
        None,
    ):
        document = {"ok": False, "error": "invalid_blocks", "response_metadata": metadata}
        slack.fail_next(Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"}))
        send(pager)
    assert len(slack.messages) == 5
    assert max(len(record.getMessage()) for record in caplog.records) < 800


def test_a_page_without_a_channel_is_not_for_slack(token: Path) -> None:
    """A page without a channel is not for Slack, unless there is a default channel."""
    page = replace(PAGE, slack=None)
    assert SlackPager(Secret.from_file(token)).address(page) is None
    assert SlackPager(Secret.from_file(token), default_channel="#all").address(page) == "#all"


def test_neither_token_nor_page_is_logged(
    slack: SlackDouble, pager: SlackPager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    slack.fail_next(bad_gateway(), error("internal_error"))
    for _ in range(2):
        with pytest.raises(KillswitchError):
            send(pager)
    send(pager)
    assert TOKEN not in caplog.text
    assert "xoxb" not in json.dumps([record.getMessage() for record in caplog.records])
