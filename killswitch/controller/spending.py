"""Money in each cycle: the caps of rule files go to the ledger, and people are paged where one is reached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from killswitch.controller.announcements import Announcements
from killswitch.controller.live_spend import UNREAD_FOR, LiveCounting
from killswitch.controller.recipients import Recipients
from killswitch.controller.store_health import StoreHealth
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, KillswitchError, OutcomeUnknown
from killswitch.model import Rollout
from killswitch.pages import spend_events
from killswitch.pages.outbox_entry import into_outbox
from killswitch.sources import Source
from killswitch.spend.books import Book, from_document, to_document
from killswitch.spend.live_counting import LiveSpend
from killswitch.spend.period_clock import PeriodClock, clocks_in_words
from killswitch.spend.prices import PriceList
from killswitch.spend.rule_files import ledger_scope
from killswitch.spend.ruling import RuledCaps
from killswitch.spend.standing import CapStanding, Standing, standings
from killswitch.spend_cap import SpendCap
from killswitch.stores import Compare, Lost, Put, Store, keys
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import last_step
from killswitch.wording import date_and_time, money_in_words

log = logging.getLogger(__name__)
_CANARY: Final = "rollout:"
_TRIES: Final = 20  # each lost comparison is the progress of some process that spends


class Spending:
    """What one replica does about money in a cycle. ``wall`` and ``monotonic`` are clocks in seconds."""

    def __init__(
        self,
        store: Store,
        source: Source,
        *,
        announcements: Announcements,
        recipients: Recipients,
        health: StoreHealth,
        step: float,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._clock = PeriodClock(wall, monotonic)
        self._clock_was_wrong = False
        self._step = step
        self._live = LiveSpend(store, wall=self._clock)
        self._counting = LiveCounting(source, self._live, announcements, step)
        self._recipients = recipients
        self._health = health
        self._caps = RuledCaps(store, wall=self._clock)
        self._standings: Mapping[str, Standing] = {}

    def count(
        self, all_armed: Sequence[ArmedRollout], prices: Mapping[str, PriceList], tick: float, deadline: Deadline
    ) -> None:
        """Add what the armed rollouts' users cost since they were last counted. Errors of the store are noted.

        Control's spend is counted as well, and has no cap.
        """
        self._look_at_the_clock()
        try:
            self._counting.count(all_armed, prices, last_step(tick, self._step), self._near_a_cap(), deadline)
        except OutcomeUnknown:
            return  # the next cycle counts on from what the store has
        except AccessDenied as error:
            log.error("live spend is not counted: %s; see etcd's roles in docs/security.md", error)  # noqa: TRY400  ours
        except KillswitchError as error:
            self._health.failed(error, writing=True)

    def _look_at_the_clock(self) -> None:
        """The store has answered in this cycle: no period is begun before it has begun there."""
        self._clock.note(self._store)
        ahead = self._clock.ahead
        if ahead and not self._clock_was_wrong:
            log.error("%s", clocks_in_words(ahead, "this controller's clock"))
        self._clock_was_wrong = bool(ahead)

    def _near_a_cap(self) -> frozenset[str]:
        """The rollouts whose canary has used half of a cap that it has not reached, as of the last `look`."""
        return frozenset(
            one.book.scope.removeprefix(_CANARY)
            for one in self._standings.values()
            if one.book.scope.startswith(_CANARY)
            and any(limit is not None and limit / 2 <= one.used < limit for limit in (one.book.soft, one.book.hard))
        )

    def used_up(self, armed: ArmedRollout) -> str | None:
        """Why the canary is to be tripped: a hard cap with `on_hard: trip` is used up, as of `look`; None otherwise."""
        for cap in armed.rollout.spend.caps:
            if cap.scope != "rollout" or cap.on_hard != "trip":
                continue
            standing = self._standings.get(keys.account(ledger_scope(cap.scope, armed.rollout.name), cap.per))
            if standing is not None and standing.book.hard is not None and standing.book.current.used_up:
                used, hard = money_in_words(standing.used), money_in_words(standing.book.hard)
                return (
                    f"SPEND_CAP: the canary has used {used} of its hard cap of {hard} per {cap.per}; until "
                    f"{date_and_time(standing.book.end)} a re-arm is tripped again, unless the cap is raised"
                )
        return None

    def caps_of(self, rollout: Rollout, *, armed: bool) -> tuple[CapStanding, ...]:
        """The caps of its rule file as of the last `look`, each with what is not known of its use.

        ``armed``: whether the canary has live traffic, which is to be counted.
        """
        return tuple(self._cap_of(rollout, cap, armed=armed) for cap in rollout.spend.caps)

    def _cap_of(self, rollout: Rollout, cap: SpendCap, *, armed: bool) -> CapStanding:
        scope = ledger_scope(cap.scope, rollout.name)
        standing = self._standings.get(keys.account(scope, cap.per))
        unknown = None
        if cap.scope == "rollout" and armed:
            unknown = self._counting.unknown.get(rollout.name) or self._live.lag(scope, self._clock(), UNREAD_FOR)
        if standing is None:
            unknown = unknown or "this controller has not read the account yet, or could not; see its log"
        return CapStanding(scope, cap.per, standing, unknown)

    def look(self, rollouts: Mapping[str, Rollout]) -> None:
        """Write the caps of these rule files, and page for those that are reached. A store's errors are noted."""
        self._standings = {}
        self._look_at_the_clock()
        if not self._caps.due(rollouts):
            return
        try:
            books = self._store.list(keys.LEDGER)
            self._live.note_books(books)
            self._caps.write(rollouts, books)
            found, _ = standings(books, self._clock())
            self._standings = {keys.account(one.book.scope, one.book.period): one for one in found}
            for standing in found:
                if _reached(standing.book) is not None and _is_paged(standing.book, rollouts):
                    self._page(standing.book)
        except OutcomeUnknown:
            return  # the next cycle looks again
        except AccessDenied as error:
            # flags can be changed all the same, so this is no outage
            if any(rollout.spend.caps for rollout in rollouts.values()):
                log.error("spend caps are not kept: %s; see etcd's roles in docs/security.md", error)  # noqa: TRY400  ours
            else:
                self._caps.give_up()
        except KillswitchError as error:
            self._health.failed(error, writing=True)

    def _page(self, seen: Book) -> None:
        """Page for the cap that is reached, once for each cap and period, whichever replica is first."""
        key = keys.account(seen.scope, seen.period)
        for _ in range(_TRIES):
            item = self._store.get(key)
            if item is None:
                return
            now = self._clock()
            try:
                book = from_document(item.value, seen.scope, seen.period).advance(now)
            except BadDocument:
                return  # `killswitch spend` names it
            name = _reached(book)
            if name is None or book.ruled is None:
                return
            build = spend_events.spend_hard if name == "hard" else spend_events.spend_soft
            rollout = book.ruled.rollout
            page = build(rollout, Standing(book, now), at=now, settings=self._recipients.of(rollout))
            marked = book.note_paged(name, _limit(book, name))
            if name == "hard":  # its page says so where the soft cap was passed at once
                marked = marked.note_paged("soft", _limit(book, "soft"))
            outcome = self._store.commit(
                (Compare(key, item.mod_revision),), (Put(key, to_document(marked)), into_outbox(page, at=now))
            )
            if not isinstance(outcome, Lost):
                return


def _is_paged(book: Book, rollouts: Mapping[str, Rollout]) -> bool:
    """Whether the cap is of our rule files, and has no page of another kind: a canary that is tripped has its own."""
    rollout = None if book.ruled is None else rollouts.get(book.ruled.rollout)
    if rollout is None:
        return False
    trips = {(ledger_scope(cap.scope, rollout.name), cap.per) for cap in rollout.spend.caps if cap.on_hard == "trip"}
    return not (book.current.used_up and (book.scope, book.period.value) in trips)


def _reached(book: Book) -> str | None:
    """The cap that is reached and was not paged in this period; a hard cap before a soft one."""
    used_up = book.current.used_up
    reached = {"hard": used_up, "soft": not used_up and book.soft is not None and book.current.used >= book.soft}
    return next((name for name, is_so in reached.items() if is_so and book.paged.get(name) != _limit(book, name)), None)


def _limit(book: Book, name: str) -> int:
    return (book.hard if name == "hard" else book.soft) or 0
