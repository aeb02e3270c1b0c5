"""Pagers: the receivers of pages. Each file here speaks to one outside service."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from killswitch.deadline import Deadline
from killswitch.errors import Refused
from killswitch.pages.message_view import MessageView
from killswitch.pages.page import Page
from killswitch.pages.picture import Picture


class Pager(Protocol):
    """Delivers one page to one receiver. ``name`` identifies it in outbox entries and metrics."""

    name: str

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Deliver and return the receiver's own reference (Slack: ``channel/ts``; else an id or "").

        Raises Unavailable (certainly not delivered; retry it, after ``retry_after``), OutcomeUnknown (sent, but the
        answer was lost), AccessDenied or Refused (a retry of the same page will not succeed).
        """
        ...


# What some pagers can do besides. Each is used only if the pager has it.


@runtime_checkable
class Addressed(Protocol):
    """A pager with several addresses (Slack: channels). Messages are counted and gathered for each address."""

    def address(self, page: Page) -> str | None:
        """Where this page goes; None if it is not for this receiver."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A pager that can send its receiver a harmless request before a second copy may be sent."""

    def answers(self, deadline: Deadline) -> None:
        """Return if the receiver answers. Raises Unavailable or OutcomeUnknown if it does not."""
        ...


@runtime_checkable
class Scoped(Protocol):
    """A pager whose token may lack some of the rights that pages use."""

    def missing_scopes(self, deadline: Deadline) -> dict[str, str]:
        """Each scope that is missing, with what does not work without it. Raises as `Answering.answers`."""
        ...


@runtime_checkable
class ThreadingPager(Protocol):
    """A pager that can send a page as a reply to an earlier one (in its thread)."""

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        """As `Pager.send`; ``reference`` is what the earlier page's `send` returned."""
        ...


class MessageGone(Refused):
    """The message to be changed does not exist any more."""


class MessageFixed(Refused):
    """The message exists, and the receiver does not let it be changed."""


@runtime_checkable
class Keeping(Protocol):
    """A pager whose delivered messages can be changed, and added to: one message shows all that is known.

    Its methods raise as `Pager.send`. ``reference`` is what `Pager.send` returned.
    """

    def keeps(self, page: Page, reference: str) -> bool:
        """Whether this is a message of its own: no digest, and no reply."""
        ...

    def has_buttons(self, page: Page) -> bool:
        """Whether people may act on this page by buttons, which are bound to the flag's revision."""
        ...

    def show(self, view: MessageView, revision: int | None, reference: str, *, deadline: Deadline) -> None:
        """Replace the message by this view, with buttons for the flag's ``revision`` unless that is None.

        Raises MessageGone or MessageFixed where the message cannot be changed.
        """
        ...

    def send_view(self, view: MessageView, revision: int | None, *, deadline: Deadline) -> str:
        """Send the view as a new message, and return its reference: the one before was deleted."""
        ...

    def has_detail(self, page: Page) -> bool:
        """Whether the message leaves out something of the page that `send_detail` adds."""
        ...

    def send_detail(self, page: Page, reference: str, *, deadline: Deadline) -> None:
        """Add all numbers of the page to the message's thread."""
        ...

    def send_picture(self, picture: Picture, reference: str, *, deadline: Deadline) -> None:
        """Add the picture to the message's thread."""
        ...


@runtime_checkable
class Gathering(Protocol):
    """A pager that says whether its pages may be gathered into a digest. Without this they may."""

    gathers: bool


@runtime_checkable
class KeyedByName(Protocol):
    """A pager with a key for each team (PagerDuty: integration keys), named in rule files."""

    name: str

    def problem_of(self, name: str | None) -> str | None:
        """Returns what is wrong with this key, or None if it is usable. Sends nothing.

        ``name=None`` means the default key.
        """
        ...
