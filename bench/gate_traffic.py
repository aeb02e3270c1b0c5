"""Golden rows as the gate's statistics see them, drawn from models whose true numbers are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from killswitch.gate.floor import REPEATED_FIRST, REPEATED_LATER
from killswitch.gate.judging import judged, looks, repeats
from killswitch.gate.observations import Observation
from killswitch.roles.bars import Bars
from killswitch.roles.gate_record import GateVerdict

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class GateTraffic:
    """True numbers of a candidate and of prod.

    ``schema``, ``agreement``, ``own``: shares of the candidate's fitting answers, of its agreement with prod, and of
    prod's with itself. ``hard``: the correlation of what makes either disagree. ``slower``: p95 over prod's; latencies
    are log-normal with ``sigma``, of whose variance ``shared`` is the row's. ``dearer``: cost over prod's, with a row's
    cost log-normal of sigma 1 and each call's own of ``cost_noise``. ``clump``: mean length of runs of failed calls
    that make up the candidate's misses of the schema. ``storm``: share of rows in runs of 20 where calls of both models
    fail. ``milliseconds``: latencies in whole ones.
    """

    schema: float = 0.998
    agreement: float = 0.97
    own: float = 0.97
    hard: float = 0.5
    slower: float = 1.0
    sigma: float = 1.0
    shared: float = 0.5
    dearer: float = 1.0
    cost_noise: float = 0.1
    clump: int = 1
    storm: float = 0.0
    milliseconds: bool = False

    def drawn(self, rows: int, seed: int) -> list[Observation]:
        """Rows as if prod had been asked twice on each."""
        draw = np.random.default_rng(seed)
        schema = ~_runs(draw, rows, 1 - self.schema, self.clump)
        row = draw.normal(size=rows)
        agrees, own = (
            ndtr(math.sqrt(self.hard) * row + math.sqrt(1 - self.hard) * draw.normal(size=rows)) < share
            for share in (min(self.agreement / self.schema, 1.0), self.own)
        )
        stormy = _runs(draw, rows, self.storm, 20)
        prod_fails, candidate_fails = (stormy & (draw.random(rows) < 0.5) for _ in range(2))
        schema &= ~candidate_fails
        agrees &= schema & ~prod_fails
        own &= ~prod_fails & ~(stormy & (draw.random(rows) < 0.5))
        prod, candidate = self._seconds(draw, rows)
        costs = 400 * np.exp(draw.normal(size=rows) + self.cost_noise * draw.normal(size=(2, rows)))
        costs[1] *= self.dearer
        marks = zip(schema.tolist(), agrees.tolist(), own.tolist(), strict=True)
        seconds = zip(prod.tolist(), candidate.tolist(), prod_fails.tolist(), candidate_fails.tolist(), strict=True)
        return [
            Observation(fits, same, itself, None if lost else slow, None if missed else other, first, second)
            for (fits, same, itself), (slow, other, lost, missed), (first, second) in zip(
                marks, seconds, np.rint(costs).astype(int).T.tolist(), strict=True
            )
        ]

    def _seconds(self, draw: np.random.Generator, rows: int) -> Array:
        row = math.sqrt(self.shared) * draw.normal(size=rows)
        seconds = np.exp(self.sigma * (row + math.sqrt(1 - self.shared) * draw.normal(size=(2, rows))))
        seconds[1] *= self.slower
        return np.maximum(np.rint(1000 * seconds), 1) / 1000 if self.milliseconds else seconds


def _runs(draw: np.random.Generator, rows: int, share: float, length: int) -> Array:
    """Marks on a share of rows, in runs of this length."""
    if length == 1:
        return draw.random(rows) < share
    begins = draw.random(rows + length) < 1 - (1 - share) ** (1 / length)
    reach = np.cumsum(begins)
    return reach[length:] > reach[:-length]


def run(rows: list[Observation], bars: Bars) -> tuple[GateVerdict, int]:
    """A whole run of the gate, as a runner makes it: its verdict, and how many rows were asked."""
    seen: list[Observation] = []
    for look in looks(len(rows)):
        often = repeats(REPEATED_FIRST + 1, seen)  # it says the same of all rows between two looks but each 5th
        for at in range(len(seen), look):
            twice = often or at % REPEATED_LATER == 0 or at < REPEATED_FIRST
            seen.append(rows[at] if twice else replace(rows[at], prod_agrees_with_itself=None))
        verdict = judged(seen, bars, rows=len(rows)).verdict
        if verdict is not GateVerdict.TOO_FEW_ROWS:
            break
    return verdict, len(seen)
