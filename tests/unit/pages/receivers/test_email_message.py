from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from hypothesis import given
from hypothesis import strategies as st

from killswitch.pages.receivers.email_message import mail, message_id, subject_of
from tests.doubles.pages import AT, trip_page

SENDER = "killswitch@example.org"
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "Importance",
    "MIME-Version", "Content-Type",
}  # fmt: skip
HOSTILE = st.text(max_size=300) | st.sampled_from(
    ["x\r\nBcc: eve@example.org", "x\nSubject: other", "x\r\n\r\n.\r\nMAIL FROM:<eve@example.org>", "\u2028Bcc: eve"]
)


def parsed(raw: bytes) -> EmailMessage:
    found = message_from_bytes(raw, policy=default)
    assert isinstance(found, EmailMessage)
    return found


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_text_adds_a_header_a_recipient_or_a_part(headline: str, why: str, follows: str, subject: str) -> None:
    page = replace(trip_page(), id=why or "x", headline=headline, why=why, next_steps=(headline, why), follows=follows)
    raw = mail(page, sender=SENDER, recipients=["ann@example.org"], at=AT, first_subject=subject)
    one = parsed(raw)
    assert set(one.keys()) <= HEADERS
    assert len(one.keys()) == len(set(one.keys()))
    assert one["To"] == "ann@example.org"
    assert [part.get_content_type() for part in one.iter_parts()] == ["text/plain", "text/html"]
    assert raw.isascii()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_pages_have_two_message_ids(first: str, second: str) -> None:
    ids = {message_id(first, SENDER), message_id(second, SENDER)}
    assert len(ids) == len({first.encode(errors="replace"), second.encode(errors="replace")})


def test_the_html_shows_markup_as_text() -> None:
    page = replace(trip_page(), headline="<script>x</script>", next_steps=('Runbook: https://x"onclick="y',))
    part = parsed(mail(page, sender=SENDER, recipients=["a@b.c"], at=AT)).get_body(("html",))
    assert part is not None
    html = part.get_content()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<a " not in html


def test_a_subject_says_what_happened_first() -> None:
    assert subject_of(trip_page()).startswith("[critical] support-copilot: canary model-new tripped")
