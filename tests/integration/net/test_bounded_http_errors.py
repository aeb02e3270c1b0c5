"""What the session raises, by what the caller may do, and how long a server asks it to wait."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from killswitch.errors import AccessDenied, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http import (
    BoundedSession,
    NoAnswer,
    excerpt,
    find_no_answer,
    killswitch_errors,
    refusal,
    retry_after,
)
from tests.integration.net.raw_servers import PATIENT, SHORT, hang
from tests.servers.scripted import ScriptedServer


def test_what_surely_was_not_sent_is_unavailable_even_for_a_change() -> None:
    with pytest.raises(Unavailable, match="refuses the connection"), killswitch_errors(change=True):
        BoundedSession(timeout=PATIENT).post("http://127.0.0.1:1")


def test_no_answer_is_outcome_unknown_or_for_a_read_unavailable(
    serve: Callable[..., ScriptedServer],
) -> None:
    session, url = BoundedSession(timeout=SHORT), serve(hang).url
    with pytest.raises(OutcomeUnknown, match="read again"), killswitch_errors(change=True):
        session.post(url)
    with pytest.raises(Unavailable), killswitch_errors():
        session.get(url)


def test_a_cause_is_found_beneath_what_a_library_makes_of_it() -> None:
    no_answer = NoAnswer(Unavailable("x"), sent=True)

    def library() -> None:
        try:
            raise no_answer
        except NoAnswer:
            raise RuntimeError("library") from None

    with pytest.raises(RuntimeError) as caught:
        library()
    assert find_no_answer(caught.value) is no_answer
    with pytest.raises(ZeroDivisionError), killswitch_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (304, None),
        (400, Refused),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, Refused),
        (408, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_status_says_what_the_caller_may_do(status: int, kind: type[Exception] | None) -> None:
    response = requests.Response()
    response.status_code, response.url = status, "http://user:pw@host/path?token=1"
    response._content = b"line\none\x1b[31m" + b"x" * 1000
    response.headers["Retry-After"] = "7"
    error = refusal(response)
    if kind is None:
        assert error is None
        return
    assert type(error) is kind
    assert "line one?[31m" in str(error)
    assert "pw" not in str(error)
    assert "token" not in str(error)
    assert len(str(error)) < 400
    if isinstance(error, Unavailable):
        assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("1.5", 1.5),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("٣", None),
        ("9" * 500, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_the_wait_a_server_asks_for_is_read_or_ignored(text: str, seconds: float | None) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = text
    assert retry_after(response) == seconds


def test_an_excerpt_is_short_printable_and_of_one_line() -> None:
    assert excerpt(b"a\r\n\tb\xff\x00c") == "a b\ufffd?c"
    assert excerpt("x" * 300) == "x" * 200 + "…"
