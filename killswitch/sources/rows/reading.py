"""Wants read from a table of requests, whichever store holds it. A store only answers questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from killswitch.model import Readings, Unreadable, Want
from killswitch.sources.asks import Ask, Free, QueryLanguage, Users
from killswitch.sources.assembly import Assemblies
from killswitch.sources.columns import Column
from killswitch.sources.labels import quote
from killswitch.sources.rows.counting import RowCounts
from killswitch.sources.rows.questions import RowCell, RowQuestion
from killswitch.sources.rows.request_table import RequestTable

_TICKS_AT_ONCE: Final = 60  # each brings up to four bounds of slots
AskStore = Callable[[RowQuestion], Sequence[RowCell] | Unreadable]
"""Answers one question; never raises for what the store does."""


@dataclass(frozen=True, slots=True)
class RowLanguage:
    """As `QueryLanguage`: a person is shown which rows are counted."""

    table: RequestTable
    interval: float

    def typed(self, ask: Ask) -> str:
        """What is counted, in words that every store's SQL can be written from."""
        if isinstance(ask, Free):
            return ask.query
        if isinstance(ask, Users):
            return f"users, by {ask.per}, from the rows of {self.table.name}"
        chosen = " and ".join(f"{each.label} {each.operator} {quote(each.value)}" for each in ask.selector.matchers)
        where = f" where {chosen}" if chosen else ""
        return f"{ask.selector.metric} from the rows of {self.table.name}{where} in the last {ask.seconds:g} s"


class RowReader:
    """Reads wants at ticks. ``interval`` in seconds is how often rows come in; ``late_after`` see `RowQuestion`."""

    def __init__(self, table: RequestTable, ask: AskStore, *, interval: float, late_after: float = 10.0) -> None:
        self._table, self._ask = table, ask
        self._interval, self._late_after = interval, late_after
        self._language: QueryLanguage = RowLanguage(table, interval)
        self._assemblies = Assemblies()

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float]) -> Mapping[float, Readings]:
        """Every want's reading at each tick (Unix seconds)."""
        found: dict[float, Readings] = {}
        for start in range(0, len(ticks), _TICKS_AT_ONCE):
            found |= self._portion(wants, ticks[start : start + _TICKS_AT_ONCE])
        return found

    def _portion(self, wants: Sequence[Want], ticks: Sequence[float]) -> Mapping[float, Readings]:
        assembly = self._assemblies.of(wants, self._language)
        every = [
            ask
            for asked in assembly.asked.values()
            for need in asked.needs.values()
            for ask in (*need.at_once, *need.recent, *need.layout)
        ]
        counts = RowCounts(
            dict.fromkeys(every), ticks, self._table, interval=self._interval, late_after=self._late_after
        )
        answers: dict[Ask, Column] = counts.columns({each: self._ask(each) for each in counts.questions})
        return dict(zip(ticks, assembly.readings(answers, {}, {}, len(ticks)), strict=True))
