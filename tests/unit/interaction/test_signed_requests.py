"""Whether a request was signed by Slack, a moment ago, for the first time."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.interaction.signed_requests import MAX_SEEN, WINDOW, SeenSignatures, problem_with

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_531_420_618.0
# the worked example of Slack's own documentation
EXAMPLE = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    b"803a0bc887a14d10d2c447fce8b6703c"
)
EXAMPLES_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


def signed(body: bytes, at: float, secret: str = SECRET) -> str:
    return "v0=" + hmac.new(secret.encode(), b"v0:%d:" % at + body, hashlib.sha256).hexdigest()


def problem(body: bytes, timestamp: str | None, signature: str | None, now: float = NOW) -> str | None:
    return problem_with(body, timestamp, signature, secret=SECRET, now=now)


def test_the_example_of_slacks_documentation_is_valid() -> None:
    assert problem(EXAMPLE, "1531420618", EXAMPLES_SIGNATURE) is None


def test_a_changed_body_is_refused() -> None:
    assert "wrong" in (problem(EXAMPLE + b"&text=trip", "1531420618", EXAMPLES_SIGNATURE) or "")


def test_another_secret_is_refused() -> None:
    assert problem(b"x", f"{NOW:.0f}", signed(b"x", NOW, "another")) is not None


@pytest.mark.parametrize(("off", "refused"), [(0, False), (WINDOW, False), (-WINDOW, False), (301, True), (-301, True)])
def test_five_minutes_is_the_window_in_both_directions(off: float, refused: bool) -> None:
    at = NOW + off
    assert (problem(b"x", f"{at:.0f}", signed(b"x", at)) is not None) is refused


def test_the_time_is_part_of_what_is_signed() -> None:
    """An old signature with a new time is not valid."""
    assert problem(b"x", f"{NOW:.0f}", signed(b"x", NOW - 1000)) is not None


@pytest.mark.parametrize(
    "timestamp", [None, "", "now", "1e9", "-5", " 5", "9" * 400, "\uff11531420618", "1531420618\n"]
)
def test_a_time_that_is_no_number_is_refused(timestamp: str | None) -> None:
    assert problem(b"x", timestamp, signed(b"x", NOW)) is not None


@pytest.mark.parametrize("signature", [None, "", "v0=", "v1=" + "0" * 64, "v0=" + "é" * 64, "0" * 64, "v0=" + "0" * 64])
def test_a_signature_of_another_form_is_refused(signature: str | None) -> None:
    assert problem(b"x", f"{NOW:.0f}", signature) is not None


def test_a_body_that_is_no_text_is_refused() -> None:
    assert problem(b"\xff\xfe", f"{NOW:.0f}", signed(b"\xff\xfe", NOW)) is not None


@given(st.binary(max_size=200), st.text(max_size=40), st.text(max_size=80))
def test_nothing_that_is_not_signed_is_taken(body: bytes, timestamp: str, signature: str) -> None:
    assert problem(body, timestamp, signature) is not None


def test_the_words_repeat_nothing_of_the_request() -> None:
    said = problem(b"secret-body", f"{NOW:.0f}", "v0=" + "a" * 64) or ""
    assert "secret-body" not in said
    assert SECRET not in said


def test_a_signature_is_new_once() -> None:
    seen = SeenSignatures()
    assert seen.is_new("a", NOW)
    assert not seen.is_new("a", NOW + WINDOW)
    assert seen.is_new("b", NOW)


def test_signatures_are_forgotten_after_they_have_expired() -> None:
    seen = SeenSignatures()
    assert seen.is_new("a", NOW)
    assert seen.is_new("a", NOW + 2 * WINDOW + 1)


def test_what_is_kept_is_bounded() -> None:
    seen = SeenSignatures()
    for number in range(MAX_SEEN + 10):
        assert seen.is_new(str(number), NOW)
    assert len(seen._seen) == MAX_SEEN
