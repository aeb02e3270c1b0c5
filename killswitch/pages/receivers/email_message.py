"""A page as a mail: plain text and HTML, and headers by which an incident is one thread. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from killswitch.pages.page import Page
from killswitch.pages.text import plain_text, stage_lines, table_lines, when_and_whom
from killswitch.wording import plain

MAX_SUBJECT = 200  # characters
_POLICY = SMTP.clone(cte_type="7bit")  # no server has to know 8BITMIME
_LINK = re.compile(r"https?://[^\s<>\"'`]{1,1500}\Z")


def message_id(page_id: str, sender: str) -> str:
    """The same for every copy of a page, so that mail programs show one of them."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", page_id).strip(".-")[:80]
    readable = re.sub(r"\.{2,}", ".", readable).strip(".")
    digest = hashlib.sha256(page_id.encode(errors="replace")).hexdigest()[:16]
    return f"<{readable or 'page'}.{digest}@{sender.rpartition('@')[2]}>"


def subject_of(page: Page) -> str:
    return plain(f"[{page.severity}] {page.headline}", MAX_SUBJECT)


def mail(
    page: Page,
    *,
    sender: str,
    recipients: Sequence[str],
    at: float,
    first_subject: str = "",
    possible_repeat: bool = False,
) -> bytes:
    """The message. ``first_subject``: of the thread's first mail; some programs keep a thread together by it.

    ``at``: Unix seconds. Every text is one printable line, so that none can add a header or a line to one.
    """
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = plain(f"Re: {first_subject}", MAX_SUBJECT) if first_subject else subject_of(page)
    message["Date"] = format_datetime(datetime.fromtimestamp(at, tz=UTC))
    message["Message-ID"] = message_id(page.id, sender)
    if page.follows:
        message["In-Reply-To"] = message["References"] = message_id(page.follows, sender)
    message["Auto-Submitted"] = "auto-generated"  # no out-of-office answers (RFC 3834)
    if page.severity == "critical" and not page.good_news:
        message["Importance"] = "high"
    message.set_content(plain_text(page, possible_repeat=possible_repeat) + "\n")
    message.add_alternative(_html(page, possible_repeat=possible_repeat), subtype="html")
    return message.as_bytes()


def _html(page: Page, *, possible_repeat: bool) -> str:
    repeat = "(possible repeat) " if possible_repeat else ""
    tables = ["\n".join(lines) for lines in (table_lines(page.rows), stage_lines(page.stages)) if lines]
    parts = [
        f"<h2>{escape(repeat + page.headline)}</h2>",
        *([f"<p><b>{escape(page.why)}</b></p>"] if page.why else []),
        f"<p>{escape(when_and_whom(page))}</p>",
        *(f"<pre>{escape(table)}</pre>" for table in tables),
        "<ul>",
        *(f"<li>{_step(step)}</li>" for step in page.next_steps),
        "</ul>",
        f"<p><small>{escape(f'{page.kind.value} · {page.severity} · page {page.id}')}</small></p>",
    ]
    return f"<!doctype html><html><body>{''.join(parts)}</body></html>\n"


def _step(step: str) -> str:
    """A step. An address of the web after its colon becomes a link."""
    name, colon, link = step.partition(": ")
    if colon and _LINK.match(link):
        return f'{escape(name)}: <a href="{escape(link, quote=True)}">{escape(link)}</a>'
    return escape(step)
