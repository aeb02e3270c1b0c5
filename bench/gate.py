"""How often the promotion gate is wrong, and how many rows it asks: whole runs of models whose numbers are known.

    python -m bench.gate [--runs 2000] [--only gate-power] [--write docs/gate-statistics.md]

All draws have fixed seeds. Both cores are used.
"""

from __future__ import annotations

import argparse
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

from bench.gate_traffic import Array, GateTraffic, run
from bench.tables import markdown, write_between_markers
from killswitch.gate.intervals import mean_ratio, p95_ratio
from killswitch.roles.bars import Bars
from killswitch.roles.gate_record import GateVerdict

PORTION = 100  # runs that one process takes at a time
SIZES = (200, 500, 1000, 2000, 5000)
AT_A_BAR = 1000  # rows of the golden set of the second table


@dataclass(frozen=True)
class Cell:
    """Runs of one candidate over golden sets of ``rows`` rows; ``share`` of the asked runs is drawn."""

    name: str
    traffic: GateTraffic
    rows: int
    share: float = 1.0


@dataclass(frozen=True)
class CellEnds:
    """How the runs of a cell ended, and the rows that each asked."""

    verdicts: Counter[GateVerdict]
    rows: tuple[int, ...]

    def percent(self, verdict: GateVerdict) -> str:
        return f"{100 * self.verdicts[verdict] / len(self.rows):.1f}%"


OWN = GateTraffic()
LEVELS = (
    ("as prod: schema 99.8%, agreement 97%, prod with itself 97%", OWN, 1.0),
    ("schema 97%", replace(OWN, schema=0.97), 1.0),
    ("agreement 90%", replace(OWN, agreement=0.90), 1.0),
    ("as prod, which agrees with itself on 99%", replace(OWN, agreement=0.99, own=0.99), 0.1),
    ("as prod, which agrees with itself on 93%", replace(OWN, agreement=0.93, own=0.93), 0.1),
    ("agreement 90%, prod with itself 93%", replace(OWN, agreement=0.90, own=0.93), 0.1),
    ("p95 1.5 times", replace(OWN, slower=1.5), 0.1),
    ("cost 1.2 times", replace(OWN, dearer=1.2), 0.1),
)
BARS = (
    ("schema 99%", replace(OWN, schema=0.99)),
    ("agreement 95%, prod with itself 97%: at both of its bars", replace(OWN, agreement=0.95)),
    ("agreement 95%, prod with itself 99.9%", replace(OWN, agreement=0.95, own=0.999)),
    ("agreement 91%, prod with itself 93%", replace(OWN, agreement=0.91, own=0.93)),
    ("the same, of rows that are no harder for both", replace(OWN, agreement=0.91, own=0.93, hard=0.0)),
    ("p95 1.3 times", replace(OWN, slower=1.3)),
    ("p95 1.3 times, in whole ms, sigma 0.3", replace(OWN, slower=1.3, sigma=0.3, milliseconds=True)),
    ("cost 1.05 times", replace(OWN, dearer=1.05)),
    ("schema 99%, failures in clumps of 5", replace(OWN, schema=0.99, clump=5)),
    ("schema 97%, failures in clumps of 5", replace(OWN, schema=0.97, clump=5)),
    ("as prod, 2% of rows in storms of 20 where half of all calls fail", replace(OWN, storm=0.02)),
)


def drawn(work: tuple[GateTraffic, int, int, int]) -> tuple[Counter[GateVerdict], tuple[int, ...]]:
    """Some runs of one cell."""
    traffic, rows, first, count = work
    ends = [run(traffic.drawn(rows, seed), Bars()) for seed in range(first, first + count)]
    return Counter(verdict for verdict, _ in ends), tuple(asked for _, asked in ends)


@cache
def _processes() -> Pool:
    return get_context("spawn").Pool(os.cpu_count())


def ends_of(cell: Cell, runs: int) -> CellEnds:
    count = max(round(runs * cell.share), 1)
    work = [
        (cell.traffic, cell.rows, 1_000_000 + first, min(PORTION, count - first)) for first in range(0, count, PORTION)
    ]
    parts = _processes().map(drawn, work, chunksize=1)
    return CellEnds(sum((one for one, _ in parts), Counter()), tuple(asked for _, rows in parts for asked in rows))


def power(runs: int) -> str:
    rows = []
    for name, traffic, share in LEVELS:
        for size in SIZES:
            ends = ends_of(Cell(name, traffic, size, share), runs)
            said = [ends.percent(one) for one in GateVerdict if one is not GateVerdict.UNKNOWN]
            asked = f"{np.mean(ends.rows):,.0f}, {np.quantile(ends.rows, 0.9):,.0f}"
            rows.append((name, f"{size:,}", f"{len(ends.rows):,}", *said, asked))
            print(" | ".join(rows[-1]), flush=True)
    head = ("candidate", "golden rows", "runs", "PASS", "FAIL", "TOO FEW", "APPROVAL", "asked: mean, 90% within")
    return "How runs ended, and how many rows they asked.\n\n" + markdown(head, rows)


def at_a_bar(runs: int) -> str:
    rows = []
    for name, traffic in BARS:
        ends = ends_of(Cell(name, traffic, AT_A_BAR), runs)
        rows.append((name, *(ends.percent(one) for one in GateVerdict if one is not GateVerdict.UNKNOWN)))
        print(" | ".join(rows[-1]), flush=True)
    return f"{runs:,} runs each, {AT_A_BAR:,} golden rows.\n\n" + markdown(
        ("candidate", "PASS", "FAIL", "TOO FEW", "APPROVAL"), rows
    )


Pair = Callable[[np.random.Generator, int], tuple[Array, Array]]


def _log_normal(sigma: float) -> Pair:
    return lambda draw, rows: tuple(np.exp(sigma * draw.normal(size=(2, rows))))


def _rare(draw: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """The candidate's calls cost 20 times as much in 2 % of rows, and as much as prod's on average."""
    one, other = np.exp(0.3 * draw.normal(size=(2, rows)))
    return one * np.where(draw.random(rows) < 0.02, 20.0, 1.0) / 1.38, other


def _pareto(draw: np.random.Generator, rows: int) -> tuple[Array, Array]:
    one, other = draw.random((2, rows)) ** (-1 / 1.5)
    return one, other


def _bootstrap(candidate: Array, prod: Array, draw: np.random.Generator, of: Callable[[Array], Array]) -> Array:
    """Ratios of rows drawn again, by pairs."""
    picked = draw.integers(0, len(prod), (600, len(prod)))
    ratios: Array = of(candidate[picked]) / of(prod[picked])
    return ratios


def _p95s(values: Array) -> Array:
    at = math.ceil(0.95 * values.shape[1]) - 1
    found: Array = np.partition(values, at, axis=1)[:, at]
    return found


def _means(values: Array) -> Array:
    found: Array = values.mean(axis=1)
    return found


Ratio = Callable[[Array, Array, float, float], tuple[float, float]]
RATIOS: tuple[tuple[str, Pair, Ratio, Callable[[Array], Array]], ...] = (
    ("p95, log-normal sigma 1", _log_normal(1.0), p95_ratio, _p95s),
    ("p95, Pareto 1.5", _pareto, p95_ratio, _p95s),
    ("mean, log-normal sigma 1", _log_normal(1.0), mean_ratio, _means),
    ("mean, log-normal sigma 1.5", _log_normal(1.5), mean_ratio, _means),
    ("mean, 2% of calls 20 times as dear", _rare, mean_ratio, _means),
)
RATIO_LEVELS = (0.05, 0.0125)


def intervals(runs: int) -> str:
    """How often the upper end is below the true ratio 1, at two levels."""
    rows = []
    runs = max(runs // 2, 1)
    for name, pair, ratio, of in RATIOS:
        for size in (50, 200, 500):
            draw = np.random.default_rng(19)
            missed = np.zeros((2, len(RATIO_LEVELS)))
            for _ in range(runs):
                candidate, prod = pair(draw, size)
                ratios = _bootstrap(candidate, prod, draw, of)
                missed[0] += [ratio(candidate, prod, level, level)[1] < 1 for level in RATIO_LEVELS]
                missed[1] += np.quantile(ratios, [1 - level for level in RATIO_LEVELS]) < 1
            cells = [f"{100 * share:.1f}%" for share in (missed / runs).ravel()]
            rows.append((name, f"{size:,}", *cells))
            print(" | ".join(rows[-1]), flush=True)
    head = ("ratio", "rows", "ours, 5%", "ours, 1.25%", "bootstrap, 5%", "bootstrap, 1.25%")
    return f"{runs:,} draws each.\n\n" + markdown(head, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--only", choices=("gate-power", "gate-bars", "gate-intervals"))
    parser.add_argument("--write", type=Path, help="the page whose tables are replaced")
    given = parser.parse_args(arguments)
    tables: dict[str, Callable[[int], str]] = {
        "gate-power": power,
        "gate-bars": at_a_bar,
        "gate-intervals": intervals,
    }
    for name, table in tables.items():
        if given.only in {None, name}:
            text = table(given.runs)
            if given.write is not None:
                write_between_markers(given.write, name, text)


if __name__ == "__main__":
    main()
