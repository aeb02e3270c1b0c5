"""Pagers: receivers of pages. An adapter is one file that speaks to one outside service."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from killswitch.deadline import Deadline
from killswitch.pages.page import Page


class Pager(Protocol):
    """Delivers one page to one receiver. ``name`` stands in outbox records and metrics."""

    name: str

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Deliver and return the receiver's own reference (Slack: ``channel/ts``; else an id or "").

        Raises Unavailable (surely not delivered; worth a retry, with ``retry_after``), OutcomeUnknown
        (sent, answer lost), AccessDenied or Refused (never will succeed as it stands).
        """
        ...


# What a pager may be able to do beside; each is asked for only where it is offered.


@runtime_checkable
class Addressed(Protocol):
    """A pager with several addresses (Slack: channels), which are counted and gathered apart."""

    def address(self, page: Page) -> str | None:
        """Where this page goes; None when it is not for this receiver at all."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A pager that can ask its receiver a harmless question before a second copy is risked."""

    def answers(self, deadline: Deadline) -> None:
        """Return when the receiver answers. Raises Unavailable or OutcomeUnknown when it does not."""
        ...


@runtime_checkable
class ThreadingPager(Protocol):
    """A pager that can put a page beside an earlier one (a reply in its thread, a resolved alert)."""

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        """As `Pager.send`; ``reference`` is what the earlier page's `send` returned."""
        ...


@runtime_checkable
class Gathering(Protocol):
    """A pager that says whether its pages may be gathered into one digest; one that does not say gathers."""

    gathers: bool


@runtime_checkable
class KeyedByName(Protocol):
    """A pager with a key for each team (PagerDuty: integration keys), named in rule files."""

    def problem_of(self, name: str | None) -> str | None:
        """What is wrong with the key of this name (None: the default one), or None. Nothing is sent."""
        ...
