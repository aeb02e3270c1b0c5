"""The JSON webhook over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.credentials import Secret
from killswitch.pages.receivers.webhook import WebhookPager
from killswitch.pages.receivers.webhook_signature import Signer
from tests.doubles.http_double import Answer
from tests.doubles.pages import trip_page
from tests.doubles.webhook import WebhookDouble

PAGE = trip_page()


@pytest.fixture
def hook() -> Iterator[WebhookDouble]:
    with WebhookDouble() as double:
        yield double


@pytest.fixture
def url(hook: WebhookDouble, tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(f"{hook.url}/hook?token=s3cr3t-part\n")
    return path


@pytest.fixture
def pager(url: Path) -> WebhookPager:
    return WebhookPager(Secret.from_file(url))


def test_the_payload_is_posted_as_json_with_the_seven_names(hook: WebhookDouble, pager: WebhookPager) -> None:
    assert pager.send(PAGE, possible_repeat=False, deadline=Deadline(5)) == "hook-1"
    (payload,) = hook.pages
    assert payload["reason"] == "refusal_rate=0.087 vs baseline 0.011"
    assert payload["auto_action"] == "all traffic routed to model-old"
    assert payload["possible_repeat"] is False
    (request,) = hook.received
    assert request.headers["content-type"] == "application/json"
    assert request.path == "/hook?token=s3cr3t-part"


def test_every_copy_of_a_page_bears_the_same_idempotency_key(hook: WebhookDouble, pager: WebhookPager) -> None:
    for repeat in (False, True):
        pager.send(PAGE, possible_repeat=repeat, deadline=Deadline(5))
    assert hook.keys == [PAGE.id, PAGE.id]
    assert [page["possible_repeat"] for page in hook.pages] == [False, True]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, b""), AccessDenied),
        (Answer(404, b""), Refused),
        (Answer(302, b""), Refused),
        (Answer(301, b"", {"Location": "http://127.0.0.1:9/"}), AccessDenied),
        (Answer(429, b"", {"Retry-After": "7"}), Unavailable),
        (Answer(500, b"<html>"), Unavailable),
        (Answer(503, b""), Unavailable),
        (Answer(504, b""), OutcomeUnknown),
        (Answer(200, b"x" * 2_000_000), OutcomeUnknown),
        (Answer(lost=True), OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.lost}",
)
def test_only_2xx_is_success(
    hook: WebhookDouble, pager: WebhookPager, answer: Answer, kind: type[KillswitchError]
) -> None:
    hook.fail_next(answer)
    with pytest.raises(KillswitchError) as raised:
        pager.send(PAGE, possible_repeat=False, deadline=Deadline(5))
    assert type(raised.value) is kind
    assert "s3cr3t-part" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [Answer(400, b"no_text"), Answer(400, b"invalid_blocks"), Answer(413, b""), Answer(415, b""), Answer(422, b"{}")],
    ids=lambda answer: f"{answer.status} {answer.body!r}",
)
def test_a_document_that_is_refused_is_followed_by_a_short_one(
    hook: WebhookDouble, pager: WebhookPager, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    """The same attempt, the same key; ``text`` makes it a message for a Slack incoming webhook too."""
    hook.fail_next(answer)
    assert pager.send(PAGE, possible_repeat=False, deadline=Deadline(5)) == "hook-1"
    (document,) = hook.pages
    assert document["text"].startswith("<!subteam^S0123456> support-copilot: canary model-new tripped")
    assert document["auto_action"] == "all traffic routed to model-old"
    assert not any(isinstance(value, dict | list) for value in document.values())
    assert len({request.headers["idempotency-key"] for request in hook.received}) == 1
    assert len(hook.received) == 2
    assert str(answer.status) in caplog.text
    assert "s3cr3t-part" not in caplog.text


def test_a_receiver_that_refuses_both_documents_is_asked_twice(hook: WebhookDouble, pager: WebhookPager) -> None:
    hook.fail_always(Answer(400, b"bad"))
    with pytest.raises(Refused):
        pager.send(PAGE, possible_repeat=False, deadline=Deadline(5))
    assert len(hook.received) == 2


def test_the_short_document_mentions_only_whom_a_rule_names(hook: WebhookDouble, pager: WebhookPager) -> None:
    """The short document mentions no one whom no rule file names."""
    hook.fail_next(Answer(400, b"no_text"))
    pager.send(replace(PAGE, why="<!channel> & <@U1>", mention=None), possible_repeat=False, deadline=Deadline(5))
    assert "<" not in hook.pages[0]["text"]


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b'{"id": 5}', b'{"id": {"a": 1}}', b"\xff"])
def test_any_2xx_is_taken_whatever_its_body(hook: WebhookDouble, pager: WebhookPager, body: bytes) -> None:
    hook.fail_next(Answer(202, body))
    assert pager.send(PAGE, possible_repeat=False, deadline=Deadline(5)) in ("", "5")


def test_a_hanging_receiver_is_left_at_the_deadline(hook: WebhookDouble, pager: WebhookPager) -> None:
    hook.hang()
    with pytest.raises(OutcomeUnknown):
        pager.send(PAGE, possible_repeat=False, deadline=Deadline(3.0))


def test_a_refused_connection_surely_delivered_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        path = tmp_path / "url"
        path.write_text(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(Unavailable):
            WebhookPager(Secret.from_file(path)).send(PAGE, possible_repeat=False, deadline=Deadline(5))


def test_a_url_that_is_none_is_refused_without_being_repeated(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("file:///etc/passwd")
    with pytest.raises(AccessDenied) as raised:
        WebhookPager(Secret.from_file(path)).send(PAGE, possible_repeat=False, deadline=Deadline(5))
    assert "passwd" not in str(raised.value)


def test_asking_whether_it_answers_posts_nothing(hook: WebhookDouble, pager: WebhookPager) -> None:
    """Asking whether it answers posts nothing and takes any answer but 5xx."""
    for status in (204, 404, 405, 501):
        hook.fail_always(Answer(status, b""))
        pager.answers(Deadline(5))
    hook.fail_always(Answer(503, b""))
    with pytest.raises(Unavailable):
        pager.answers(Deadline(5))
    assert hook.pages == []


def test_every_form_of_a_signed_request_verifies(hook: WebhookDouble, url: Path, tmp_path: Path) -> None:
    """Of the bytes as they arrive, with one id for all copies; the short document is signed as well."""
    (tmp_path / "secret").write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}")
    signer = Signer(Secret.from_file(tmp_path / "secret"))
    pager = WebhookPager(Secret.from_file(url), signer=signer, wall=lambda: 1_776_608_531.0)
    hook.fail_next(Answer(413))
    pager.send(PAGE, possible_repeat=False, deadline=Deadline(5))
    assert len(hook.received) == 2
    for request in hook.received:
        assert request.headers["webhook-id"] == PAGE.id
        signed = f"{PAGE.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
        made = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert request.headers["webhook-signature"] == f"v1,{made}"


def test_a_broken_secret_sends_no_unsigned_request(hook: WebhookDouble, url: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    pager = WebhookPager(Secret.from_file(url), signer=Signer(Secret.from_file(tmp_path / "secret")))
    with pytest.raises(AccessDenied, match="webhook secret"):
        pager.send(PAGE, possible_repeat=False, deadline=Deadline(5))
    assert hook.received == []
