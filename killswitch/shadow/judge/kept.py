"""Recorded pairs whose texts were kept, in the order of judging."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from killswitch.shadow.judge.sampling import is_sampled, place_of
from killswitch.shadow.judge.texts import PairTexts
from killswitch.shadow.pairs import open_pairs

AT_ONCE = 200

_IDS = """
select pair, identical, coalesce(control_text <> '' and other_text <> '', false) from pairs
where kind = 'candidate' and comparable and control_tool_calls = 0 and other_tool_calls = 0
"""
_TEXTS = """
select pair, "at", generation, other_model, prompt_text, control_text, other_text, prompt_class, "user" from pairs
where kind = 'candidate' and comparable and list_contains(?, pair)
"""


class KeptPairs:
    """The sampled pairs of a rollout's records. ``without_texts``: of them, those that differ, have no texts,
    and were not ``judged`` when they had.

    An identical pair needs no texts. Those without texts cannot be judged; where texts are kept of some kinds of
    difference only, the win rate would be of those kinds, so they are counted and keep the judge from gating.
    """

    def __init__(self, records: Path, rollout: str, *, share: float, judged: Callable[[str], bool]) -> None:
        self._records = records
        self._rollout = rollout
        self._share = share
        self._judged = judged
        self.without_texts = 0

    def take(self) -> Iterator[PairTexts]:
        """Raises BadSettings if there are no records, or DuckDB is not installed."""
        with open_pairs(self._records, self._rollout) as connection:
            sampled = [row for row in connection.execute(_IDS).fetchall() if is_sampled(row[0], self._share)]
            sampled.sort(key=lambda row: place_of(row[0]))
            usable = [row for row in sampled if row[1] or row[2]]
            self.without_texts = sum(not (row[1] or row[2] or self._judged(row[0])) for row in sampled)
            for begin in range(0, len(usable), AT_ONCE):
                ids = [row[0] for row in usable[begin : begin + AT_ONCE]]
                rows = {row[0]: row for row in connection.execute(_TEXTS, [ids]).fetchall()}
                yield from (_texts(rows[pair]) for pair in ids)


def _texts(row: tuple[Any, ...]) -> PairTexts:
    pair, at, generation, candidate, request, control, other, prompt_class, user = row
    return PairTexts(
        pair, at, generation, candidate or "", request or "", control or "", other or "", prompt_class or "", user or ""
    )
