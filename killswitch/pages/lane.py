"""One receiver's lane: which pages the receiver should get now, one message at a time.

A lane sends at most one message a second, gathers pages into a digest if there are too many to read, and waits with
growing pauses while its receiver fails. Lanes do not know each other, so a receiver that hangs delays no other.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Unavailable
from killswitch.pages import digest
from killswitch.pages.ledger import DeliveryOutcome, PageLedger, Result
from killswitch.pages.message_pace import MessagePace
from killswitch.pages.outbox_entry import DeliveryState, OutboxEntry
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers import Addressed, Answering, Gathering, Pager, ThreadingPager

_log = logging.getLogger(__name__)

# Pages about traffic go before pages about the kill switch itself.
_URGENCY = {
    PageKind.TRIPPED: 0,
    PageKind.PINNED: 0,
    PageKind.CANNOT_ACT: 1,
    PageKind.CONTROL_DROWNS: 1,
    PageKind.NAME_TAKEN: 2,
    PageKind.BLIND: 2,
    PageKind.RECOVERED: 8,
    PageKind.RE_ARMED: 8,
    PageKind.ACKNOWLEDGED: 8,
    PageKind.ENDED: 8,
    PageKind.FOLLOWED: 9,
}


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The limits of delivery; seconds unless named otherwise.

    ``claim_ttl``: how soon a dead replica's pages are taken over. ``send_timeout``: the total time of one attempt.
    ``first_pause`` doubles with each failure up to ``longest_pause``; a ``Retry-After`` of the receiver is obeyed up to
    ``longest_wish``. Beyond ``single_pages_per_minute``, pages are gathered, and digests are ``digest_gap`` apart.
    ``useful_life``: a page older than this is given up.
    """

    claim_ttl: float = 10.0
    send_timeout: float = 8.0
    fallback_after: float = 120.0
    message_gap: float = 1.0
    single_pages_per_minute: int = 5
    digest_gap: float = 10.0
    first_pause: float = 1.0
    longest_pause: float = 30.0
    longest_wish: float = 60.0
    useful_life: float = 86400.0


class Lane:
    """Delivers to one receiver. ``due`` says whether this lane should send an entry now (a fallback waits).

    ``routed`` says whether a page's rule file lets this receiver have it. ``adapt`` makes the page that this receiver
    gets. ``age`` is in seconds. ``monotonic`` and ``wall`` are the clocks. ``count`` is called with the receiver and
    the name of each event. ``pace`` is shared with others that send to this receiver.
    """

    def __init__(
        self,
        pager: Pager,
        ledgers: Sequence[PageLedger],
        *,
        policy: DeliveryPolicy,
        due: Callable[[OutboxEntry], bool],
        routed: Callable[[Page], bool],
        adapt: Callable[[OutboxEntry], Page],
        age: Callable[[OutboxEntry], float],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        chance: random.Random,
        count: Callable[[str, str], None],
        pace: MessagePace | None = None,
    ) -> None:
        self.pager = pager
        self.name = pager.name
        self._ledgers = ledgers
        self._policy = policy
        self._due = due
        self._routed = routed
        self._adapt = adapt
        self._age = age
        self._monotonic = monotonic
        self._wall = wall
        self._chance = chance
        self._count = count
        self._pace = pace or MessagePace(policy.message_gap)
        # asked once: isinstance of a protocol is slow, and a thousand pages would ask it often
        self._addressed = pager if isinstance(pager, Addressed) else None
        self._answering = pager if isinstance(pager, Answering) else None
        self._following = pager if isinstance(pager, ThreadingPager) else None
        self._gathers = pager.gathers if isinstance(pager, Gathering) else True
        self._running = threading.Lock()
        self._next_message_at = 0.0
        self._failures = 0
        self._doubtful = False
        self._sent: dict[str, deque[float]] = {}
        self._last_digest: dict[str, float] = {}
        self._page_pauses: dict[str, tuple[int, float]] = {}

    def address(self, page: Page) -> str | None:
        """Where this receiver would put the page (a channel); None if the page is not for this receiver."""
        return self.reach(page) if self._routed(page) else None

    def reach(self, page: Page) -> str | None:
        """The same whatever the routes of the page's rule file say."""
        return self._addressed.address(page) if self._addressed is not None else ""

    def run(self) -> None:
        """Send at most one message. Never raises; returns at once if another thread is sending."""
        if not self._running.acquire(blocking=False):
            return
        try:
            self._run()
        except Exception:  # noqa: BLE001  the lane must go on, whatever the bug
            self._count(self.name, "bug")
            _log.exception("delivery to %s failed because of a bug", self.name)
            self._pause(None)
        finally:
            self._running.release()

    def _run(self) -> None:
        now = self._monotonic()
        if now < self._next_message_at or not self._pace.free(now):
            return
        for ledger in self._ledgers:
            waiting = self._waiting(ledger)
            if waiting:
                chosen = self._choose(waiting)
                if chosen and (not self._doubtful or self._answers()):
                    self._deliver(ledger, chosen)
                    return

    # --- what to send ---------------------------------------------------------------------------

    def _waiting(self, ledger: PageLedger) -> list[OutboxEntry]:
        now = self._monotonic()
        waiting = []
        for entry in ledger.held():
            delivery = entry.delivery(self.name)
            if delivery.final or self.address(entry.page) is None or not self._due(entry):
                continue
            if not ledger.ready(entry, self.name) or now < self._page_pauses.get(entry.id, (0, 0.0))[1]:
                continue
            if self._comes_too_early(ledger, entry):
                continue
            untold = self.name not in entry.deliveries and ledger.is_history(entry)
            old = self._age(entry) > self._policy.useful_life and delivery.state is not DeliveryState.SENDING
            if old or untold:
                _log.warning("page %s is given up for %s: %s", entry.id, self.name, delivery.error or "never sent")
                self._count(self.name, "given up")
                ledger.give_up(entry, self.name)
                continue
            waiting.append(entry)
        # A page that failed before goes after the others: the page itself may be the cause.
        return sorted(
            waiting,
            key=lambda e: (e.delivery(self.name).attempts, _URGENCY.get(e.page.kind, 5), e.created_at, e.id),
        )

    def _comes_too_early(self, ledger: PageLedger, entry: OutboxEntry) -> bool:
        """Whether this page continues one that this receiver does not have yet: no RECOVERED before its CANNOT_ACT."""
        before = ledger.entry(entry.page.follows) if entry.page.follows is not None else None
        if before is None or before.delivery(self.name).final or self.address(before.page) is None:
            return False
        return self._due(before)

    def _choose(self, waiting: Sequence[OutboxEntry]) -> Sequence[OutboxEntry]:
        """The pages of the next message: one, or all to one address that had its share of single messages."""
        now = self._monotonic()
        for first in waiting:
            address = self.address(first.page) or ""
            if not self._gathers or not self._had_its_share(address):
                return (first,)
            if now - self._last_digest.get(address, -self._policy.digest_gap) >= self._policy.digest_gap:
                return [entry for entry in waiting if (self.address(entry.page) or "") == address]
        return ()

    def _had_its_share(self, address: str) -> bool:
        """Whether a minute's worth of single messages has gone to this address (``single_pages_per_minute``)."""
        sent = self._sent.setdefault(address, deque(maxlen=self._policy.single_pages_per_minute))
        return sum(self._monotonic() - at < 60.0 for at in sent) >= self._policy.single_pages_per_minute

    # --- sending --------------------------------------------------------------------------------

    def _answers(self) -> bool:
        """Whether the receiver answers a harmless request. Asked before a second copy may be sent."""
        if self._answering is None:
            return True
        try:
            self._answering.answers(Deadline(self._policy.send_timeout, self._monotonic))
        except (Unavailable, OutcomeUnknown) as error:
            self._pause(error.retry_after if isinstance(error, Unavailable) else None)
            _log.info("%s does not answer yet: %s", self.name, error)
            return False
        except KillswitchError:
            return True  # it answers, even if with an error
        return True

    def _deliver(self, ledger: PageLedger, chosen: Sequence[OutboxEntry]) -> None:
        started = ledger.begin(chosen, self.name)
        if not started:
            return
        now = self._monotonic()
        self._next_message_at = now + self._policy.message_gap
        self._pace.take(now)
        address = self.address(started[0].page) or ""
        if self._had_its_share(address):
            self._last_digest[address] = now
        self._sent[address].append(now)
        outcome = self._send(ledger, started)
        ledger.finish(started, self.name, outcome)
        self._count(self.name, outcome.result.value)

    def _send(self, ledger: PageLedger, started: Sequence[OutboxEntry]) -> DeliveryOutcome:
        repeat = any(entry.delivery(self.name).may_have_arrived for entry in started)
        pages = [self._adapt(entry) for entry in started]
        page = pages[0] if len(pages) == 1 else digest.digest_of(pages)
        what = page.id if len(pages) == 1 else f"{len(pages)} pages in one message"
        deadline = Deadline(self._policy.send_timeout, self._monotonic)
        try:
            reference = self._hand_over(ledger, page, repeat, deadline)
        except OutcomeUnknown as error:
            _log.warning("%s to %s: sent, but the answer was lost: %s", what, self.name, error)
            self._doubtful = True
            self._pause(None)
            return DeliveryOutcome(Result.ANSWER_LOST, self._wall(), error=str(error))
        except Unavailable as error:
            _log.warning("%s to %s: not delivered, trying again: %s", what, self.name, error)
            self._pause(error.retry_after)
            return DeliveryOutcome(Result.NOT_TAKEN, self._wall(), error=str(error))
        except KillswitchError as error:
            _log.error("%s to %s: refused: %s", what, self.name, error)
            self._pause_after_refusal(started, error)
            return DeliveryOutcome(Result.NOT_TAKEN, self._wall(), error=str(error))
        except Exception as error:  # noqa: BLE001  a bug in a pager must not stop the lane
            # It is not known whether the page was sent. It counts as sent, so that copies stay bounded.
            _log.exception("%s to %s failed because of a bug", what, self.name)
            self._pause(None)
            return DeliveryOutcome(Result.ANSWER_LOST, self._wall(), error=f"bug: {type(error).__name__}")
        _log.info("%s delivered to %s (%s)", what, self.name, reference or "no reference")
        self._failures = 0
        self._doubtful = False
        for entry in started:
            self._page_pauses.pop(entry.id, None)
        return DeliveryOutcome(Result.TAKEN, self._wall(), reference=reference, possible_repeat=repeat)

    def _hand_over(self, ledger: PageLedger, page: Page, repeat: bool, deadline: Deadline) -> str:  # noqa: FBT001  private
        if page.follows is not None and self._following is not None:
            reference = ledger.reference(page.follows, self.name)
            if reference:
                return self._following.reply(page, reference, possible_repeat=repeat, deadline=deadline)
        return self.pager.send(page, possible_repeat=repeat, deadline=deadline)

    # --- pauses ---------------------------------------------------------------------------------

    def _pause(self, wish: float | None) -> None:
        """Wait before the next message: as long as the receiver asks (up to a limit), else longer each time."""
        policy = self._policy
        self._failures += 1
        if wish is not None:
            seconds = min(wish, policy.longest_wish)
        else:
            grown = policy.first_pause * 2.0 ** min(self._failures - 1, 20)
            seconds = min(grown, policy.longest_pause) * self._chance.uniform(0.5, 1.0)
        self._next_message_at = self._monotonic() + max(seconds, policy.message_gap)

    def _pause_after_refusal(self, refused: Sequence[OutboxEntry], error: KillswitchError) -> None:
        """Refused credentials concern every page, so the lane waits. Any other refusal concerns only these pages."""
        if isinstance(error, AccessDenied):
            self._pause(None)
            return
        now = self._monotonic()
        for entry in refused:
            failures = self._page_pauses.get(entry.id, (0, 0.0))[0] + 1
            pause = min(self._policy.first_pause * 2.0 ** min(failures - 1, 20), self._policy.longest_pause)
            self._page_pauses[entry.id] = (failures, now + pause * self._chance.uniform(0.5, 1.0))
        if len(self._page_pauses) > 10_000:
            self._page_pauses.clear()
