"""How many pairs shadow mode needs to decide, and how often it decides wrongly, with the default criteria.

Each run draws pairs at random (`bench.shadow_traffic`) and is judged whenever the number of pairs has grown by a fifth,
as a cycle of the daemon would. A run ends at GO or NO_GO.

    python -m bench.shadow_power [--runs 40] [--only shadow-power] [--write docs/shadow-statistics.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.shadow_traffic import ShadowTraffic, drawn
from bench.tables import markdown, upper_bound, write_between_markers
from killswitch.shadow.criteria import Criteria
from killswitch.shadow.decision import GoNoGo, assess
from killswitch.shadow.evidence.columns import PairColumns

FIRST_LOOK = 60
GROWTH = 1.2


@dataclass(frozen=True, slots=True)
class Decided:
    """How a run ended, and after how many recorded pairs (both kinds together)."""

    verdict: GoNoGo
    pairs: int


def looks(most: int) -> Iterator[int]:
    size = float(FIRST_LOOK)
    while size < most:
        yield int(size)
        size *= GROWTH
    yield most


def first_decision(columns: PairColumns, criteria: Criteria | None = None) -> Decided:
    for size in looks(columns.size):
        verdict = assess(columns.where(slice(0, size)), criteria).verdict
        if verdict is not GoNoGo.NOT_YET:
            return Decided(verdict, size)
    return Decided(GoNoGo.NOT_YET, columns.size)


def in_one_class(pairs: int, seed: int) -> PairColumns:
    """A tenth of the traffic is a class in which the canary refuses 15 % more; all else is equal."""
    columns = drawn(ShadowTraffic(classes=tuple(f"class {n}" for n in range(10))), pairs, seed)
    extra = np.random.default_rng(seed + 1).random(pairs) < 0.15
    hit = (columns.prompt_class == 7) & ~columns.noise & extra & (columns.other.outcome == 0)
    return replace(columns, other=replace(columns.other, refused=columns.other.refused | hit))


Draw = Callable[[int, int], PairColumns]


def of(traffic: ShadowTraffic) -> Draw:
    return lambda pairs, seed: drawn(traffic, pairs, seed)


EQUAL = ShadowTraffic()
POWER: tuple[tuple[str, Draw, int], ...] = (
    ("equal: 60 % equivalent and 1 % other facts, as control with itself", of(EQUAL), 200_000),
    ("equal: 5 % other facts, as control with itself", of(replace(EQUAL, facts=0.05, facts_floor=0.05)), 400_000),
    ("refusals 1.1 % -> 8.7 %", of(replace(EQUAL, only_candidate=0.078)), 2000),
    ("refusals 1.1 % -> 3 %", of(replace(EQUAL, only_candidate=0.021)), 20_000),
    ("errors 0.3 % -> 3 %", of(replace(EQUAL, errors=0.03)), 40_000),
    ("other facts 1 % -> 3 %", of(replace(EQUAL, facts=0.03)), 200_000),
    ("other facts 1 % -> 6 %", of(replace(EQUAL, facts=0.06)), 40_000),
    ("equivalent 60 % -> 30 %", of(replace(EQUAL, equivalent=0.30)), 20_000),
    ("similarity 0.80 -> 0.70", of(replace(EQUAL, similarity=0.70)), 20_000),
    ("broken JSON 0.1 % -> 3 %", of(replace(EQUAL, broken=0.03)), 10_000),
    ("another language in 3 %", of(replace(EQUAL, language=0.03)), 40_000),
    ("other tool calls 0.5 % -> 6 %", of(replace(EQUAL, tool_calls=0.06)), 40_000),
    ('"I\'d be happy to help" 11 % -> 84 %', of(replace(EQUAL, happy=0.84)), 1000),
    ("p95 x 1.5", of(replace(EQUAL, slower=1.5)), 40_000),
    ("refuses 15 % more in one class of ten", in_one_class, 40_000),
)
MARGINS: tuple[tuple[str, Draw], ...] = (
    ("equal", of(EQUAL)),
    ("equal, ten classes", of(replace(EQUAL, classes=tuple(f"class {n}" for n in range(10))))),
    ("refusals at the margin", of(replace(EQUAL, only_candidate=0.007))),
    ("errors at the margin", of(replace(EQUAL, errors=0.008))),
    ("other facts at the margin", of(replace(EQUAL, facts=0.02))),
    ("equivalent at 70 % of the floor", of(replace(EQUAL, equivalent=0.42))),
    ("broken JSON at the margin", of(replace(EQUAL, broken=0.006))),
    ("another language at the margin", of(replace(EQUAL, language=0.005))),
    ("p95 x 1.2", of(replace(EQUAL, slower=1.2))),
)


def power(runs: int) -> str:
    rows = []
    for name, draw, most in POWER:
        ends = [first_decision(draw(most, 1000 + seed)) for seed in range(runs)]
        pairs = [end.pairs for end in ends]
        counts = ", ".join(f"{said} {n}" for said in GoNoGo if (n := sum(end.verdict is said for end in ends)))
        rows.append((name, counts, f"{np.median(pairs):,.0f}", f"{np.quantile(pairs, 0.9):,.0f}"))
        print(" | ".join(rows[-1]), flush=True)
    return markdown(("canary", f"verdicts of {runs} runs", "pairs, median", "90 % of runs"), rows)


def wrong(runs: int, most: int) -> str:
    rows = []
    for name, draw in MARGINS:
        ends = [first_decision(draw(most, 5000 + seed)) for seed in range(runs)]
        counts = {said: sum(end.verdict is said for end in ends) for said in (GoNoGo.GO, GoNoGo.NO_GO)}
        is_wrong = GoNoGo.NO_GO if name.startswith("equal,") or name == "equal" else GoNoGo.GO
        bound = upper_bound(counts[is_wrong], runs)
        rows.append((name, str(counts[GoNoGo.GO]), str(counts[GoNoGo.NO_GO]), f"{is_wrong}: {bound:.1%} at most"))
        print(" | ".join(rows[-1]), flush=True)
    return markdown(("canary", "GO", "NO_GO", "the wrong one, by the upper bound of 95 %"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--wrong-runs", type=int, default=300)
    parser.add_argument("--wrong-pairs", type=int, default=40_000)
    parser.add_argument("--only", choices=("shadow-power", "shadow-wrong"))
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    tables: dict[str, Callable[[], str]] = {
        "shadow-power": lambda: power(given.runs),
        "shadow-wrong": lambda: wrong(given.wrong_runs, given.wrong_pairs),
    }
    for name, table in tables.items():
        if given.only in (None, name):
            written = table()
            if given.write:
                write_between_markers(given.write, name, f"\n{written}")


if __name__ == "__main__":
    main()
