"""Draws rows from a stream of any length, in strata, without repeats, the same rows for the same seed.

Each input has a place of its own: a keyed hash of the input, the key being the seed. A stratum's sample is its inputs
of the smallest places. So equal inputs are one input, the order of the stream does not matter, and only the smallest
places are kept in memory (a "bottom-k sample"; Cohen and Kaplan, Summarizing data using bottom-k sketches, 2007).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

MOST_ROWS: Final = 5_000
MOST_STRATA: Final = 50
FEWEST: Final = 5  # rows of a stratum, however rare it is, where there are so many
REST: Final = "other"  # the stratum of all names after the first `MOST_STRATA`


@dataclass(frozen=True, slots=True)
class DrawnInput:
    """``where``: what finds it again in its source. ``place``: its keyed hash."""

    where: str | int
    stratum: str
    place: int


@dataclass(slots=True)
class _Stratum:
    """``heap``: the smallest places so far, as negative numbers, so that the largest is at the top."""

    heap: list[tuple[int, int, str | int]] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)

    def offer(self, place: int, order: int, where: str | int, most: int) -> None:
        if place in self.kept or (len(self.heap) == most and place >= -self.heap[0][0]):
            return
        self.kept.add(place)
        entry = (-place, -order, where)
        if len(self.heap) < most:
            heapq.heappush(self.heap, entry)
        else:
            gone = heapq.heappushpop(self.heap, entry)
            self.kept.discard(-gone[0])


class StratifiedDraw:
    """A sample of at most ``rows`` inputs. Raises ValueError for a number of rows that is not 1 to `MOST_ROWS`."""

    def __init__(self, rows: int, *, seed: int) -> None:
        if not 1 <= rows <= MOST_ROWS:
            raise ValueError(f"draw 1 to {MOST_ROWS:,} rows, not {rows:,}")
        self._rows = rows
        self._key = str(seed).encode()[:64]
        self._strata: dict[str, _Stratum] = {}
        self._offered = Counter[str]()

    @property
    def offered(self) -> Mapping[str, int]:
        """How many inputs each stratum has been offered, repeats included: its share of the traffic."""
        return dict(sorted(self._offered.items()))

    def offer(self, content: bytes, stratum: str, where: str | int) -> None:
        """``content``: the input itself, in one spelling."""
        name = stratum if stratum in self._strata or len(self._strata) < MOST_STRATA else REST
        self._offered[name] += 1
        of = self._strata.setdefault(name, _Stratum())
        of.offer(self.place(content), self._offered.total(), where, self._rows)

    def place(self, content: bytes) -> int:
        """Where the input stands among all, as likely anywhere: 128 bits."""
        return int.from_bytes(blake2b(content, digest_size=16, key=self._key).digest(), "big")

    def drawn(self) -> tuple[DrawnInput, ...]:
        """The sample, in the order of its places; an input that is in several strata is drawn in one of them."""
        wanted = shares({name: (self._offered[name], len(of.heap)) for name, of in self._strata.items()}, self._rows)
        seen: set[int] = set()
        found: list[DrawnInput] = []
        for name in sorted(self._strata):
            fresh = sorted((-place, where) for place, _, where in self._strata[name].heap if -place not in seen)
            for place, where in fresh[: wanted[name]]:
                seen.add(place)
                found.append(DrawnInput(where, name, place))
        return tuple(sorted(found, key=lambda one: one.place))


def shares(strata: Mapping[str, tuple[int, int]], rows: int) -> dict[str, int]:
    """How many rows each stratum gives: like its share of the traffic, but at least `FEWEST` where that is possible.

    ``strata``: by name, how many inputs were offered, and how many different ones there are to draw.
    """
    total = sum(offered for offered, _ in strata.values())
    least = min(FEWEST, rows // len(strata)) if strata else 0
    given = {name: min(least, different) for name, (_, different) in strata.items()}
    for _ in range(rows - sum(given.values())):
        open_ones = [name for name, (_, different) in strata.items() if given[name] < different]
        if not open_ones:
            break
        # the one that is furthest behind its share; of equals the first by name
        next_one = min(open_ones, key=lambda name: (given[name] - rows * strata[name][0] / total, name))
        given[next_one] += 1
    return given
