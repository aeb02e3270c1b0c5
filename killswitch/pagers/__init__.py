"""Pagers: receivers of pages. An adapter is one file that speaks to one outside service."""

from __future__ import annotations

from typing import Protocol

from killswitch.deadline import Deadline
from killswitch.message import Page


class Pager(Protocol):
    """Delivers one page to one receiver. ``name`` stands in outbox records and metrics."""

    name: str

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Deliver and return the receiver's own reference (Slack: ``channel/ts``; else an id or "").

        Raises Unavailable (surely not delivered; worth a retry, with ``retry_after``), OutcomeUnknown
        (sent, answer lost), AccessDenied or Refused (never will succeed as it stands).
        """
        ...
