"""Sends TEST pages through receivers and says what each one answers. No flag and no outbox is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, OutcomeUnknown, Unavailable
from killswitch.pages.page import Page
from killswitch.pages.receivers import Addressed, Pager, ThreadingPager
from killswitch.pages.receivers.alert_life import KEEP_OPEN
from killswitch.pages.routing import receivers_of
from killswitch.pages.trial_page import trial_over

PATIENCE = 10.0  # seconds for one receiver


@dataclass(frozen=True, slots=True)
class Trial:
    """One TEST page to one receiver. ``rollouts``: whose pages go to this ``address`` ("" where there is only one)."""

    receiver: str
    address: str
    rollouts: tuple[str, ...]
    page: Page


@dataclass(frozen=True, slots=True)
class Tried:
    """What came back. ``seconds`` until then. ``problem``: why it was not taken; "" if it was.

    ``closed``: whether the alert that the page had opened was ended; None where there is none. ``left_open``: why not.
    """

    trial: Trial
    seconds: float
    reference: str = ""
    problem: str = ""
    closed: bool | None = None
    left_open: str = ""

    @property
    def taken(self) -> bool:
        return not self.problem


def trials(pages: Sequence[Page], pagers: Sequence[Pager], *, routed: bool) -> list[Trial]:
    """One TEST page for each receiver and each of its addresses; ``routed``: only where the pages' routes lead."""
    found: dict[tuple[str, str], Trial] = {}
    for page in pages:
        reached = {pager.name: address for pager in pagers if (address := _address(pager, page)) is not None}
        wanted = receivers_of(page, reached) if routed else frozenset(reached)
        for receiver in (pager.name for pager in pagers if pager.name in wanted):
            place = (receiver, reached[receiver])
            known = found.get(place)
            rollouts = (*(known.rollouts if known else ()), page.rollout)
            found[place] = Trial(receiver, reached[receiver], rollouts, known.page if known else page)
    return sorted(found.values(), key=lambda one: [pager.name for pager in pagers].index(one.receiver))


def try_each(
    wanted: Iterable[Trial], pagers: Sequence[Pager], *, keep_open: bool, monotonic: Callable[[], float]
) -> Iterator[Tried]:
    """Send each TEST page once; end what it would leave open, unless ``keep_open``. Never raises."""
    by_name = {pager.name: pager for pager in pagers}
    for one in wanted:
        pager = by_name[one.receiver]
        began = monotonic()
        try:
            reference = pager.send(one.page, possible_repeat=False, deadline=Deadline(PATIENCE, monotonic))
        except KillswitchError as error:
            yield Tried(one, monotonic() - began, problem=in_words(error))
            continue
        seconds = monotonic() - began
        if keep_open or one.receiver not in KEEP_OPEN:
            yield Tried(one, seconds, reference)
            continue
        try:
            _end(pager, one.page, reference, Deadline(PATIENCE, monotonic))
        except KillswitchError as error:
            yield Tried(one, seconds, reference, closed=False, left_open=in_words(error))
        else:
            yield Tried(one, seconds, reference, closed=True)


def in_words(error: KillswitchError) -> str:
    """The error, and what to do where it does not say so itself."""
    if isinstance(error, OutcomeUnknown):
        return f"{error}; look whether the TEST page is there"
    if isinstance(error, Unavailable):
        wait = f"; it asks to wait {error.retry_after:.0f} s" if error.retry_after is not None else ""
        return f"{error}{wait}; check that it is up and may be reached from here"
    return str(error)


def _end(pager: Pager, page: Page, reference: str, deadline: Deadline) -> None:
    over = trial_over(page)
    if isinstance(pager, ThreadingPager) and reference:
        pager.reply(over, reference, possible_repeat=False, deadline=deadline)
    else:
        pager.send(over, possible_repeat=False, deadline=deadline)


def _address(pager: Pager, page: Page) -> str | None:
    return pager.address(page) if isinstance(pager, Addressed) else ""
