"""Keeps delivered messages up to date: one message for each incident, with its detail and its picture in the thread.

This runs on its own thread, after the pages: whatever happens here, no page is delayed for longer than one message's
pace, and none is lost. What to do follows from the outbox alone, so any replica goes on where another has stopped. The
law is in `killswitch.pages.message_upkeep`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, OutcomeUnknown, Unavailable
from killswitch.flags.document import from_document as flag_from_document
from killswitch.pages import message_upkeep, outbox_entry
from killswitch.pages.marks import Entries
from killswitch.pages.message_pace import MessagePace
from killswitch.pages.message_upkeep import Step, Upkeep, next_step
from killswitch.pages.message_view import MessageView, message_view
from killswitch.pages.outbox_entry import Delivery, DeliveryState, OutboxEntry
from killswitch.pages.page import Page
from killswitch.pages.picture import MAX_BYTES, Picture, Pictures
from killswitch.pages.receivers import Keeping, MessageGone
from killswitch.pages.receivers.slack_buttons import revision_to_bind
from killswitch.stores import Committed, Compare, Put, Store, keys

_log = logging.getLogger(__name__)

GAP = 1.25  # seconds between two steps: Slack takes about 50 changes of messages a minute
ABANDONED = 15.0  # seconds; a step that another process began, and has not ended by then, is taken over
SET_ASIDE = 60  # readings of the outbox, which are a second apart
PICTURE_PATIENCE = 180.0  # seconds after the page; a picture that is not there by then is not waited for
PICTURE_EVERY = 5.0  # seconds between two looks for a picture
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_WISH = 1.0, 60.0, 300.0
_RETRIES = 5
_NEVER_TRIED = Delivery()


@dataclass(frozen=True, slots=True)
class _View:
    """What a message should show, of which followers. ``first`` and ``wanted`` are fingerprints.

    ``may_press``: whether someone was allowed to press its buttons when it was made.
    """

    followers: tuple[str, ...]
    may_press: bool
    view: MessageView
    flag_revision: int | None
    first: str
    wanted: str


@dataclass(frozen=True, slots=True)
class _Work:
    """One step that is due. ``revision``: the entry's in the store."""

    step: Step
    entry: OutboxEntry
    revision: int
    known: _View
    picture: Picture | None

    @property
    def id(self) -> str:
        return self.entry.id


class MessageKeeper:
    """Keeps the messages of one receiver, ``name``. `run` makes one step at most.

    ``entries`` gives the outbox as last read, with a number that grows with each reading. ``comes_here`` says whether
    the receiver gets a page. ``send_timeout`` limits one step, in seconds. ``owner`` names this process.
    """

    def __init__(
        self,
        name: str,
        pager: Keeping,
        store: Store,
        *,
        entries: Callable[[], tuple[int, Entries]],
        comes_here: Callable[[Page], bool],
        owner: str,
        pace: MessagePace,
        send_timeout: float,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        count: Callable[[str, str], None],
        pictures: Pictures | None = None,
    ) -> None:
        self._name = name
        self._pager = pager
        self._comes_here = comes_here
        self._store = store
        self._entries = entries
        self._owner = owner
        self._pace = pace
        self._send_timeout = send_timeout
        self._monotonic = monotonic
        self._wall = wall
        self._count = count
        self._pictures = pictures
        self._running = threading.Lock()
        self._not_before = 0.0
        self._failures = 0
        self._changed_at: dict[str, int] = {}  # the reading after which we have changed an entry
        self._others: dict[tuple[str, int], float] = {}  # when a step of another process was first seen
        self._views: dict[str, _View] = {}
        self._looked_for: dict[str, float] = {}

    def run(self) -> None:
        """Make the next step, if one is due. Never raises; returns at once if another thread is at it."""
        if not self._running.acquire(blocking=False):
            return
        try:
            if self._monotonic() >= self._not_before:
                self._run()
        except KillswitchError as error:
            _log.info("messages of %s are not kept up to date now: %s", self._name, error)
            self._pause(error)
        except Exception:  # noqa: BLE001  pages must go on, whatever bug this is
            self._count(self._name, "bug")
            _log.exception("keeping the messages of %s failed because of a bug", self._name)
            self._pause(None)
        finally:
            self._running.release()

    def _run(self) -> None:
        reading, entries = self._entries()
        self._forget(entries)
        pages_wait = self._pages_wait(entries)
        for root, followers in _threads(entries, self._name):
            if self._changed_at.get(root, -1) >= reading:
                continue  # what we have read is older than what we have written
            try:
                work = self._due(entries, root, followers)
                if work is None or (work.step is not Step.SHOW and pages_wait):
                    continue
                if self._make(work, reading):
                    return
            except KillswitchError:
                raise
            except Exception:  # noqa: BLE001  one message must not hold up the others
                self._count(self._name, "bug")
                _log.exception(
                    "the message of page %s at %s is left alone for a while because of a bug", root, self._name
                )
                self._changed_at[root] = self._entries()[0] + SET_ASIDE

    def _pages_wait(self, entries: Entries) -> bool:
        """Whether a page has not been sent to this receiver yet. Pages come first."""
        return any(
            entry.delivery(self._name) == _NEVER_TRIED and self._comes_here(entry.page) for entry, _ in entries.values()
        )

    # --- what is due ----------------------------------------------------------------------------

    def _due(self, entries: Entries, root: str, followers: tuple[str, ...]) -> _Work | None:
        entry, revision = entries[root]
        delivery = entry.delivery(self._name)
        if not self._pager.keeps(entry.page, delivery.reference):
            return None
        upkeep = delivery.upkeep or Upkeep()
        if upkeep.by not in {"", self._owner} and not self._is_abandoned(root, upkeep):
            return None
        known = self._view(entries, root, followers)
        detail = self._pager.has_detail(entry.page)
        step = next_step(upkeep, first=known.first, wanted=known.wanted, detail=detail)
        picture = self._picture(entry.page) if step is Step.PICTURE else None
        if step is None or (step is Step.PICTURE and picture is None):
            return None
        return _Work(step, entry, revision, known, picture)

    def _view(self, entries: Entries, root: str, followers: tuple[str, ...]) -> _View:
        """Made again only when another page has followed, or a rule file now says otherwise who may press buttons.

        No page changes, and each change of a flag writes one.
        """
        before, page = self._views.get(root), entries[root][0].page
        may_press = self._pager.has_buttons(page)
        if before is not None and before.followers == followers and before.may_press == may_press:
            return before
        view = message_view(page, (entries[page_id][0].page for page_id in followers))
        flag_revision = self._flag_revision(page, view) if may_press else None
        wanted = view.fingerprint if flag_revision is None else f"{view.fingerprint}/{flag_revision}"
        made = _View(followers, may_press, view, flag_revision, message_view(page, ()).fingerprint, wanted)
        self._views[root] = made
        return made

    def _flag_revision(self, page: Page, view: MessageView) -> int | None:
        if view.settled_by is not None:
            return None
        item = self._store.get(keys.flag(page.rollout))
        if item is None:
            return None
        try:
            flag = flag_from_document(item.value, rollout=page.rollout)
        except BadDocument:
            return None
        return revision_to_bind(page, flag, item.mod_revision)

    def _is_abandoned(self, root: str, upkeep: Upkeep) -> bool:
        now = self._monotonic()
        return now - self._others.setdefault((root, upkeep.number), now) >= ABANDONED

    def _picture(self, page: Page) -> Picture | None:
        """The picture, if there is one by now. Looked for every few seconds, for a few minutes."""
        now = self._monotonic()
        if self._pictures is None or "incident" not in page.payload or self._wall() - page.at > PICTURE_PATIENCE:
            return None
        if now - self._looked_for.get(page.id, -PICTURE_EVERY) < PICTURE_EVERY:
            return None
        self._looked_for[page.id] = now
        try:
            picture = self._pictures(page)
        except KillswitchError as error:
            _log.info("no picture for page %s yet: %s", page.id, error)
            return None
        except Exception:  # noqa: BLE001  the message itself must not wait for a bug in drawing
            self._count(self._name, "bug")
            _log.exception("page %s has no picture because of a bug", page.id)
            self._looked_for[page.id] = now + PICTURE_PATIENCE
            return None
        if picture is not None and len(picture.png) > MAX_BYTES:
            _log.warning("the picture for page %s is left out: %d bytes are too many", page.id, len(picture.png))
            return None
        return picture

    def _forget(self, entries: Entries) -> None:
        """Drop what is remembered of entries that are no longer in the outbox."""
        if len(self._views) + len(self._others) + len(self._changed_at) + len(self._looked_for) > 4 * len(entries) + 64:
            self._views = {root: one for root, one in self._views.items() if root in entries}
            self._others = {key: at for key, at in self._others.items() if key[0] in entries}
            self._changed_at = {root: at for root, at in self._changed_at.items() if root in entries}
            self._looked_for = {root: at for root, at in self._looked_for.items() if root in entries}

    # --- one step -------------------------------------------------------------------------------

    def _make(self, work: _Work, reading: int) -> bool:
        """Commit the step, make it, and note how it ended. False if it could not be begun, because of the pace."""
        if work.step is not Step.SHOW and not self._pace.take(self._monotonic()):
            return False
        upkeep = message_upkeep.begun(work.entry.delivery(self._name).upkeep or Upkeep(), work.step, self._owner)
        self._not_before = self._monotonic() + GAP
        self._changed_at[work.id] = reading
        key = keys.outbox(work.id)
        put = Put(key, outbox_entry.to_document(outbox_entry.kept_up(work.entry, self._name, upkeep)))
        if not isinstance(self._store.commit((Compare(key, work.revision),), (put,)), Committed):
            return True  # another process has changed the entry; the next reading shows what is left
        try:
            self._perform(work, upkeep.number)
        finally:
            self._changed_at[work.id] = self._entries()[0]
        return True

    def _perform(self, work: _Work, number: int) -> None:
        page_id, step = work.id, work.step
        try:
            reference = self._send(work, Deadline(self._send_timeout, self._monotonic))
        except Unavailable as error:
            _log.info("%s of page %s at %s: not taken, trying again: %s", step, page_id, self._name, error)
            if step is not Step.SHOW:
                self._note(page_id, lambda upkeep: message_upkeep.not_taken(upkeep, number, step))
            self._pause(error)
        except OutcomeUnknown as error:
            _log.info("%s of page %s at %s: the answer was lost: %s", step, page_id, self._name, error)
            if step is not Step.SHOW:
                self._note(page_id, lambda upkeep: message_upkeep.ended(upkeep, number))
            self._pause(None)
        except KillswitchError as error:
            _log.warning("%s of page %s at %s: refused: %s", step, page_id, self._name, error)
            self._note(page_id, _refusal(number, step, error))
            self._pause(error)
        else:
            self._failures = 0
            self._note(page_id, lambda upkeep: _done(upkeep, number, work), reference)

    def _send(self, work: _Work, deadline: Deadline) -> str:
        """Make the step. Returns the message's new reference, "" if it stays."""
        reference = work.entry.delivery(self._name).reference
        match work.step:
            case Step.SHOW:
                self._pager.show(work.known.view, work.known.flag_revision, reference, deadline=deadline)
            case Step.REPLACE:
                return self._pager.send_view(work.known.view, work.known.flag_revision, deadline=deadline)
            case Step.DETAIL:
                self._pager.send_detail(work.entry.page, reference, deadline=deadline)
            case Step.PICTURE:
                assert work.picture is not None
                self._pager.send_picture(work.picture, reference, deadline=deadline)
        return ""

    def _note(self, page_id: str, change: Callable[[Upkeep], Upkeep], reference: str = "") -> None:
        """Write how a step has ended. What cannot be written now shows as a step that was begun and not ended."""
        key = keys.outbox(page_id)
        for _ in range(_RETRIES):
            item = self._store.get(key)
            if item is None:
                return
            entry = outbox_entry.from_document(item.value, page=page_id)
            after = outbox_entry.kept_up(
                entry, self._name, change(entry.delivery(self._name).upkeep or Upkeep()), reference=reference
            )
            put = Put(key, outbox_entry.to_document(after))
            if isinstance(self._store.commit((Compare(key, item.mod_revision),), (put,)), Committed):
                return

    def _pause(self, error: KillswitchError | None) -> None:
        wish = error.retry_after if isinstance(error, Unavailable) else None
        grown = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 20), _LONGEST_PAUSE)
        self._failures += 1
        self._not_before = self._monotonic() + max(GAP, min(wish, _LONGEST_WISH) if wish is not None else grown)


def _threads(entries: Entries, receiver: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The pages that the receiver has taken, each with those that follow it; the newest first."""
    followers: dict[str, list[str]] = {}
    for page_id, (entry, _) in entries.items():
        if entry.page.follows is not None:
            followers.setdefault(entry.page.follows, []).append(page_id)
    roots = {
        page_id: entry.created_at
        for page_id, (entry, _) in entries.items()
        if entry.page.follows is None and entry.delivery(receiver).state is DeliveryState.DELIVERED
    }
    for root in sorted(roots, key=lambda page_id: (-roots[page_id], page_id)):
        yield root, tuple(sorted(followers.get(root, ())))


def _done(upkeep: Upkeep, number: int, work: _Work) -> Upkeep:
    match work.step:
        case Step.SHOW:
            return message_upkeep.shown(upkeep, number, work.known.wanted)
        case Step.REPLACE:
            return message_upkeep.replaced(upkeep, number, work.known.wanted)
        case _:
            return message_upkeep.ended(upkeep, number)


def _refusal(number: int, step: Step, error: KillswitchError) -> Callable[[Upkeep], Upkeep]:
    if isinstance(error, AccessDenied):
        return lambda upkeep: message_upkeep.denied(upkeep, number, step)
    gone = isinstance(error, MessageGone)
    return lambda upkeep: message_upkeep.refused(upkeep, number, step, gone=gone)
