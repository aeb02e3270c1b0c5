"""How each scope stands: used, leased, caps and forecast, as a person and a page are shown them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.errors import BadDocument
from killswitch.spend.books import Book, from_document
from killswitch.spend.caps import Period
from killswitch.spend.forecast import Forecast
from killswitch.stores import Snapshot, keys
from killswitch.timestamps import to_iso
from killswitch.wording import money_in_words


@dataclass(frozen=True, slots=True)
class Standing:
    """One scope and period at ``now`` (Unix seconds). ``book`` has the period that ``now`` is in, or a later one."""

    book: Book
    now: float

    @property
    def used(self) -> int:
        """Micro-dollars that are spent or may have been spent by now."""
        return self.book.current.used

    @property
    def leased(self) -> int:
        """Micro-dollars that processes hold and have surely not spent."""
        return self.book.current.leased - sum(block.mark for block in self.book.current.blocks.values())

    @property
    def soft(self) -> Forecast | None:
        return None if self.book.soft is None else self.book.forecast(self.book.soft, self.now)

    @property
    def hard(self) -> Forecast | None:
        return None if self.book.hard is None else self.book.forecast(self.book.hard, self.now)

    @property
    def sentence(self) -> str:
        """What comes next: ``soft cap reached; cap reached Thu 14:00 UTC at this rate``."""
        if self.book.current.start > self.now:
            begins = to_iso(self.book.current.start)
            return f"its period begins {begins}: the clock of a process was ahead, or ours is late"
        soft, hard = self.soft, self.hard
        account = self.book.current
        # a request that costs more than the whole cap is refused however much is left
        if hard is not None and not hard.reached and (account.used_up or account.short > hard.limit):
            asked = money_in_words(account.short)
            return (
                f"a request that may cost {asked} has no room in what is left; the period ends {to_iso(self.book.end)}"
            )
        if hard is not None and (hard.reached or soft is None):
            return hard.sentence()
        said = [soft.sentence("soft cap")] if soft is not None else []
        # a soft cap that lies ahead is what comes first
        if hard is not None and (soft is None or soft.reached):
            said.append(hard.sentence())
        return "; ".join(said) or "counted without a cap"

    def document(self) -> dict[str, Any]:
        """As JSON: amounts in micro-dollars, times in ISO 8601; None where there is no such cap or forecast."""
        book, account = self.book, self.book.current
        return {
            "scope": book.scope,
            "period": book.period.value,
            "start": to_iso(account.start),
            "end": to_iso(book.end),
            "used_micros": self.used,
            "spent_micros": account.spent + account.beyond,
            "leased_micros": self.leased,
            "overrun_micros": account.overrun,
            "beyond_cap_micros": account.beyond,
            "soft_micros": book.soft,
            "hard_micros": book.hard,
            "soft_reached_at": _at(self.soft),
            "hard_reached_at": _at(self.hard),
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class CapStanding:
    """One cap of a rollout's rule file, as status shows it. ``standing``: None where the ledger was not read.

    ``unknown``: why the use is not known, None if it is; then what is used is a lower bound.
    """

    scope: str
    period: str
    standing: Standing | None
    unknown: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON: `Standing.document`, or scope and period alone, with ``unknown``; ``line`` is all of it in words."""
        found = {"scope": self.scope, "period": self.period} if self.standing is None else self.standing.document()
        return {**found, "unknown": self.unknown, "line": self.line}

    @property
    def line(self) -> str:
        """``shadow:support per day: $4.00 used, soft $40.00, hard $50.00; cap reached Thu 14:00 UTC at this rate``."""
        where, standing = f"{self.scope} per {self.period}", self.standing
        if standing is None:
            return f"{where}: UNKNOWN: {self.unknown}"
        used = f"{money_in_words(standing.used)} used"
        limits = [
            f"{name} {money_in_words(limit)}"
            for name, limit in (("soft", standing.book.soft), ("hard", standing.book.hard))
            if limit is not None
        ]
        if self.unknown is not None:
            return f"{where}: UNKNOWN, at least {', '.join((used, *limits))}: {self.unknown}"
        return f"{where}: {', '.join((used, *limits))}; {standing.sentence}"


def standings(snapshot: Snapshot, now: float) -> tuple[tuple[Standing, ...], Mapping[str, str]]:
    """Every scope and period under `keys.LEDGER`, and the problem of each book that cannot be read, by its key."""
    found: list[Standing] = []
    problems: dict[str, str] = {}
    for item in snapshot.items:
        scope, _, period = item.key.removeprefix(keys.LEDGER).rpartition("/")
        try:
            book = from_document(item.value, scope, Period(period))
        except (BadDocument, ValueError) as error:
            problems[item.key] = f"{error}; repair or delete {item.key} in the store"
        else:
            found.append(Standing(book.advance(now), now))
    order = list(Period)
    return tuple(sorted(found, key=lambda one: (one.book.scope, order.index(one.book.period)))), problems


def _at(one: Forecast | None) -> str | None:
    return None if one is None or one.at is None else to_iso(one.at)
