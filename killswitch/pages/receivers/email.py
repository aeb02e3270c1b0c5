"""Pages by mail: one thread an incident."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from killswitch.deadline import Deadline
from killswitch.errors import Refused
from killswitch.net.bounded_smtp import BoundedMail
from killswitch.pages.page import Page
from killswitch.pages.receivers.email_message import mail, message_id, subject_of

_log = logging.getLogger(__name__)


class EmailPager:
    """Sends each page to the addresses of its rule file, else to ``default_to``. ``wall`` gives Unix seconds.

    A page is taken once the server has taken it for one recipient at least; the log has those that were refused.
    """

    name = "email"

    def __init__(
        self,
        server: BoundedMail,
        *,
        sender: str,
        default_to: Sequence[str] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._sender = sender
        self._default_to = tuple(default_to)
        self._wall = wall

    def address(self, page: Page) -> str | None:
        return ", ".join(self._recipients(page)) or None

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """The mail's Message-ID and its subject, by which a later page joins the thread.

        Raises as `killswitch.pages.receivers.Pager.send`.
        """
        return self._send(page, "", possible_repeat=possible_repeat, deadline=deadline)

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Answer the mail that ``reference`` names, under its subject."""
        return self._send(page, reference.partition(" ")[2], possible_repeat=possible_repeat, deadline=deadline)

    def answers(self, deadline: Deadline) -> None:
        """Connect and log in; nothing is sent."""
        self._server.answers(deadline)

    def _send(self, page: Page, first_subject: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        recipients = self._recipients(page)
        if not recipients:
            raise Refused(
                f"no mail address for {page.rollout or 'this page'}: set `page: {{email: [...]}}` in its rule file, or "
                "KILLSWITCH_EMAIL_TO"
            )
        message = mail(
            page,
            sender=self._sender,
            recipients=recipients,
            at=self._wall(),
            first_subject=first_subject,
            possible_repeat=possible_repeat,
        )
        refused = self._server.deliver(self._sender, recipients, message, deadline)
        for recipient, (code, said) in refused.items():
            _log.warning("page %s: no mail to %s: %s %s; correct the address", page.id, recipient, code, said)
        return f"{message_id(page.id, self._sender)} {first_subject or subject_of(page)}"

    def _recipients(self, page: Page) -> tuple[str, ...]:
        return page.addresses.email or self._default_to
