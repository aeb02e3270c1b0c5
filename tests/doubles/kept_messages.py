"""A receiver in this process whose messages can be changed, scripted: what each message shows, and how calls end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from killswitch.deadline import Deadline
from killswitch.errors import OutcomeUnknown, Unavailable
from killswitch.pages.message_view import MessageView, message_view
from killswitch.pages.page import Page
from killswitch.pages.picture import Picture
from killswitch.pages.receivers import MessageFixed, MessageGone
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Crash
from tests.doubles.receiver import Way, end_before


@dataclass(slots=True)
class Kept:
    """One message: the view it shows, the flag's revision of its buttons, and its thread."""

    view: MessageView
    revision: int | None = None
    replies: list[str] = field(default_factory=list)
    details: int = 0
    pictures: int = 0
    fixed: bool = False


class KeptMessages:
    """``script``: how the next calls that keep messages up to date end; after them all are taken."""

    def __init__(self, clock: VirtualClock, name: str = "chat") -> None:
        self.name = name
        self.messages: dict[str, Kept] = {}
        self.script: deque[Way] = deque()
        self.calls: list[tuple[float, str]] = []
        self.buttons = False
        self._sent = 0
        self.retry_after: float | None = None
        self.busy_for: float | None = None  # seconds; pages are not taken while it is set
        self._clock = clock

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        if self.busy_for is not None:
            raise Unavailable("429", retry_after=self.busy_for)
        return self._new(message_view(page, ()))

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        kept = self.messages.get(reference)
        if kept is None:
            return self._new(message_view(page, ()))
        kept.replies.append(page.id)
        return f"{reference}/{len(kept.replies)}"

    def keeps(self, page: Page, reference: str) -> bool:
        return page.follows is None and bool(reference)

    def has_buttons(self, page: Page) -> bool:
        return self.buttons and "incident" in page.payload

    def has_detail(self, page: Page) -> bool:
        return bool(page.rows)

    def show(self, view: MessageView, revision: int | None, reference: str, *, deadline: Deadline) -> None:
        way = self._begin("show")
        kept = self.messages.get(reference)
        if kept is None:
            raise MessageGone("message_not_found")
        if kept.fixed:
            raise MessageFixed("edit_window_closed")
        if way in {Way.TAKE, Way.LOST_ANSWER, Way.CRASH_AFTER}:
            kept.view, kept.revision = view, revision
        _end(way)

    def send_view(self, view: MessageView, revision: int | None, *, deadline: Deadline) -> str:
        way = self._begin("send_view")
        reference = self._new(view) if way in {Way.TAKE, Way.LOST_ANSWER, Way.CRASH_AFTER} else ""
        _end(way)
        self.messages[reference].revision = revision
        return reference

    def send_detail(self, page: Page, reference: str, *, deadline: Deadline) -> None:
        way = self._begin("send_detail")
        if way in {Way.TAKE, Way.LOST_ANSWER, Way.CRASH_AFTER}:
            self.messages[reference].details += 1
        _end(way)

    def send_picture(self, picture: Picture, reference: str, *, deadline: Deadline) -> None:
        way = self._begin("send_picture")
        if way in {Way.TAKE, Way.LOST_ANSWER, Way.CRASH_AFTER}:
            self.messages[reference].pictures += 1
        _end(way)

    def names(self) -> list[str]:
        """The calls so far, by name."""
        return [name for _, name in self.calls]

    def _begin(self, name: str) -> Way:
        self.calls.append((self._clock.monotonic(), name))
        way = self.script.popleft() if self.script else Way.TAKE
        end_before(way, self.retry_after)
        return way

    def _new(self, view: MessageView) -> str:
        self._sent += 1
        reference = f"C1/{self._sent}"
        self.messages[reference] = Kept(view)
        return reference


def _end(way: Way) -> None:
    if way is Way.CRASH_AFTER:
        raise Crash
    if way in {Way.LOST_ANSWER, Way.SWALLOWED}:
        raise OutcomeUnknown("the answer was lost")
