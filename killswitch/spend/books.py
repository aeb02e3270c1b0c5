"""A book: the stored document of one scope and kind of period, with its caps, its newest period and the one before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.spend.account import Account, Block
from killswitch.spend.caps import MOST_MICROS, Cap, Period
from killswitch.spend.forecast import Forecast, forecast
from killswitch.timestamps import HOUR, to_iso

FORMAT: Final = 1
MAX_BYTES: Final = 512 * 1024
_TRAIL_EVERY: Final = 300.0  # seconds between two samples of what was used


@dataclass(frozen=True, slots=True)
class CapLimits:
    """A soft and a hard cap in micro-dollars; None is no such limit."""

    soft: int | None = None
    hard: int | None = None


@dataclass(frozen=True, slots=True)
class Ruled:
    """The caps that the rule file of ``rollout`` says."""

    rollout: str
    limits: CapLimits


_NOTHING_PAGED: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Book:
    """``current`` is the newest period that any process has seen; ``previous`` takes late settlements of the last one.

    Periods only advance: a process whose clock was set back spends from ``current``, and opens no older period again.
    ``soft`` and ``hard`` are the caps in force: the lower of what a rule file says (``ruled``) and of what the newest
    process has ``stated``. ``trail``: what was used before, as (Unix seconds, micro-dollars), for the rate of the last
    hour. ``paged``: for which caps of the current period people were paged, as micro-dollars by ``soft`` or ``hard``.
    """

    scope: str
    period: Period
    soft: int | None
    hard: int | None
    current: Account
    previous: Account | None = None
    trail: tuple[tuple[float, int], ...] = ()
    stated: CapLimits = CapLimits()
    ruled: Ruled | None = None
    paged: Mapping[str, int] = field(default_factory=lambda: _NOTHING_PAGED)

    @classmethod
    def begin(cls, cap: Cap, at: float) -> Book:
        """A book of nothing spent, for the period that ``at`` (Unix seconds) is in."""
        current = Account(start=cap.period.start(at), hard=cap.hard)
        return cls(cap.scope, cap.period, cap.soft, cap.hard, current, stated=CapLimits(cap.soft, cap.hard))

    @property
    def end(self) -> float:
        """Unix seconds: the end of the current period."""
        return self.period.end(self.current.start)

    def account(self, start: float) -> Account | None:
        """The account of the period that began at ``start``, None where it is closed for good."""
        return next((one for one in (self.current, self.previous) if one is not None and one.start == start), None)

    def replace(self, account: Account) -> Book:
        """With this account in the place of the one of the same period."""
        if account.start == self.current.start:
            return replace(self, current=account)
        return replace(self, previous=account)

    def state(self, cap: Cap) -> Book:
        """With the caps that a process states."""
        return _in_force(replace(self, stated=CapLimits(cap.soft, cap.hard)))

    def rule(self, rollout: str, cap: Cap) -> Book:
        """With the caps that the rule file of ``rollout`` says."""
        return _in_force(replace(self, ruled=Ruled(rollout, CapLimits(cap.soft, cap.hard))))

    def lift(self) -> Book:
        """Without the caps of a rule file: what a process has stated is in force again."""
        return _in_force(replace(self, ruled=None))

    def note_paged(self, name: str, limit: int) -> Book:
        """Remember that people were paged for this cap in the current period."""
        return replace(self, paged=MappingProxyType({**self.paged, name: limit}))

    def advance(self, at: float) -> Book:
        """With the period that ``at`` is in, if that is a newer one."""
        start = self.period.start(at)
        if start <= self.current.start:
            return self
        return replace(
            self, current=Account(start=start, hard=self.hard), previous=self.current, trail=(), paged=_NOTHING_PAGED
        )

    def note(self, at: float) -> Book:
        """With a sample of what is used at ``at``, if the newest one is some minutes old."""
        if self.trail and at - self.trail[-1][0] < _TRAIL_EVERY:
            return self
        kept = [one for one in self.trail if one[0] >= at - HOUR - 2 * _TRAIL_EVERY]
        return replace(self, trail=(*kept, (at, self.current.used)))

    def forecast(self, limit: int, now: float) -> Forecast:
        """When ``limit`` is reached."""
        current = self.current
        return forecast(limit, current.used, start=current.start, end=self.end, now=now, trail=self.trail)


def _in_force(book: Book) -> Book:
    """With the lower of the caps that are ruled and stated."""
    soft, hard = book.stated.soft, book.stated.hard
    if book.ruled is not None:
        soft, hard = _lower(soft, book.ruled.limits.soft), _lower(hard, book.ruled.limits.hard)
    return replace(book, soft=soft, hard=hard, current=replace(book.current, hard=hard))


def to_document(book: Book) -> bytes:
    document = {
        "format": FORMAT,
        "scope": book.scope,
        "period": book.period.value,
        "soft": book.soft,
        "hard": book.hard,
        "current": _account_document(book.current),
        "previous": None if book.previous is None else _account_document(book.previous),
        "trail": [[round(at), used] for at, used in book.trail],
        "stated": {"soft": book.stated.soft, "hard": book.stated.hard},
        "ruled": None
        if book.ruled is None
        else {"rollout": book.ruled.rollout, "soft": book.ruled.limits.soft, "hard": book.ruled.limits.hard},
        "paged": dict(book.paged),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _account_document(account: Account) -> dict[str, Any]:
    return {
        "start": to_iso(account.start),
        "hard": account.hard,
        "spent": account.spent,
        "beyond": account.beyond,
        "overrun": account.overrun,
        "short": account.short,
        "blocks": [
            {"owner": owner, "size": block.size, "mark": block.mark, "turn": block.turn}
            for owner, block in account.blocks.items()
        ],
    }


def from_document(value: bytes, scope: str, period: Period) -> Book:
    """The inverse of `to_document`. Raises BadDocument for anything that is not this book."""
    fields = parse_object(value, f"ledger of {scope} per {period.value}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']!r:.40}; this version reads {FORMAT}")
    if (fields.text("scope"), fields.text("period")) != (scope, period.value):
        raise BadDocument(f"{fields.where}: it is the ledger of another scope or period")
    previous, ruled = fields.raw.get("previous"), fields.raw.get("ruled")
    in_force = _limits(fields)
    return Book(
        scope=scope,
        period=period,
        soft=in_force.soft,
        hard=in_force.hard,
        current=_account(Fields(fields.raw.get("current"), f"{fields.where}, current")),
        previous=None if previous is None else _account(Fields(previous, f"{fields.where}, previous")),
        trail=tuple(_samples(fields)),
        # a book of an older version has one pair of caps, which a process has stated
        stated=_limits(Fields(fields.raw.get("stated", fields.raw), f"{fields.where}, stated")),
        ruled=None if ruled is None else _ruled(Fields(ruled, f"{fields.where}, ruled")),
        paged=_paged(Fields(fields.raw.get("paged", {}), f"{fields.where}, paged")),
    )


def _limits(fields: Fields) -> CapLimits:
    return CapLimits(_limit(fields, "soft"), _limit(fields, "hard"))


def _ruled(fields: Fields) -> Ruled:
    return Ruled(fields.text("rollout"), _limits(fields))


def _paged(fields: Fields) -> Mapping[str, int]:
    found = {name: _limit(fields, name) for name in ("soft", "hard")}
    return MappingProxyType({name: limit for name, limit in found.items() if limit is not None})


def _lower(one: int | None, other: int | None) -> int | None:
    """The lower of two limits, of which either may be missing."""
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _account(fields: Fields) -> Account:
    blocks: dict[str, Block] = {}
    for one in fields.objects("blocks"):
        owner = one.text("owner")
        block = Block(_micros(one, "size"), _micros(one, "mark"), _micros(one, "turn"))
        if owner in blocks or block.mark > block.size:
            raise BadDocument(f"{one.where}: a second block of {owner!r:.80}, or a mark beyond its block")
        blocks[owner] = block
    return Account(
        start=fields.time("start"),
        hard=_limit(fields, "hard"),
        spent=_micros(fields, "spent"),
        beyond=_micros(fields, "beyond"),
        overrun=_micros(fields, "overrun"),
        short=_limit(fields, "short") or 0,
        blocks=MappingProxyType(blocks),
    )


def _samples(fields: Fields) -> Iterable[tuple[float, int]]:
    listed = fields.raw.get("trail", [])
    if not isinstance(listed, list):
        raise BadDocument(f"{fields.where}: trail must be a list")
    for one in listed:
        if not isinstance(one, list) or len(one) != 2 or not all(type(number) is int for number in one):
            raise BadDocument(f"{fields.where}: trail must be pairs of whole numbers")
        yield float(one[0]), one[1]


def _micros(fields: Fields, name: str) -> int:
    value = fields.integer(name)
    if not 0 <= value <= 100 * MOST_MICROS:
        raise BadDocument(f"{fields.where}: {name} is out of range: {value!r:.40}")
    return value


def _limit(fields: Fields, name: str) -> int | None:
    return None if fields.raw.get(name) is None else _micros(fields, name)
