"""The four numbers of the gate, each with its interval, its verdict and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from killswitch.gate.floor import MOST_OWN, Floor
from killswitch.gate.intervals import mean_ratio, p95, p95_ratio, share_high, share_low
from killswitch.gate.look_schedule import Look
from killswitch.gate.observations import Observation
from killswitch.gate.percentages import high_end, low_end, percent, ratio, true_ratio
from killswitch.gate.rows_missing import (
    fewest_for_p95,
    fewest_for_schema,
    margin_missing,
    ratio_missing,
    share_missing,
)
from killswitch.roles.bars import Bars
from killswitch.roles.gate_record import GateNumber, GateVerdict
from killswitch.wording import counted, money_in_words

Array = np.ndarray[Any, Any]


def schema_number(observations: Sequence[Observation], bars: Bars, look: Look) -> GateNumber:
    """The share of rows on which the candidate's answer fits the schema; a failed call does not."""
    good = sum(one.schema_ok for one in observations)
    rows = len(observations)
    low, high = share_low(good, rows, look.for_it), share_high(good, rows, look.against_it)
    verdict = _of_share(low, high, bars.schema)
    said = (
        f"{good} of {rows} answers of the candidate fit the schema ({percent(good / rows)}); the true share is between "
        f"{low_end(low)} and {high_end(high)}, the bar is {percent(bars.schema)}"
    )
    fewest = fewest_for_schema(bars)
    if verdict is _FEW and fewest is None:
        said += "; no number of rows can show that no answer ever fails, so set the bar below 100%"
    elif verdict is _FEW and fewest is not None and rows < fewest:
        said += (
            f"; {counted(rows, 'row')} cannot show {percent(bars.schema)}, even without a failure: {fewest} are needed"
        )
    missing = share_missing(good / rows, rows, bars.schema, bars) if verdict is _FEW and fewest is not None else None
    return _number("schema", good / rows, low, high, bars.schema, verdict, rows, missing, said)


def agreement_number(observations: Sequence[Observation], bars: Bars, look: Look, floor: Floor) -> GateNumber:
    """The share of rows on which the candidate says what prod says; a failed call or a missing label is a mismatch.

    Good: at least the bar, or nearly as often as prod agrees with itself; each has half of the error of passing. Bad:
    below the bar and too far from prod's floor.
    """
    good = sum(one.agrees for one in observations)
    rows = len(observations)
    low, high = share_low(good, rows, look.for_it / 2), share_high(good, rows, look.against_it)
    verdict = _of_share(low, high, bars.agreement)
    said = (
        f"the candidate agrees with prod on {good} of {rows} rows ({percent(good / rows)}); the true share is between "
        f"{low_end(low)} and {high_end(high)}, the bar is {percent(bars.agreement)}"
    )
    if verdict is not GateVerdict.PASS and _contradicts_itself(floor, look):
        verdict = GateVerdict.UNKNOWN
        said += (
            f"; prod agrees with itself on fewer than {percent(1 - MOST_OWN)} of rows, so this says nothing: "
            "look at the rows on which prod changes its mind"
        )
    elif verdict is not GateVerdict.PASS and floor.is_near_enough:
        verdict = GateVerdict.PASS
        said += f"; it is as near to prod as prod is to itself, within {percent(floor.margin)}"
    elif verdict is GateVerdict.FAIL and not floor.is_too_far:
        verdict = _FEW
        said += "; prod disagrees with itself nearly as often, so that the bar alone cannot fail it"
    missing = _agreement_missing(good / rows, rows, bars, look, floor) if verdict is _FEW else None
    return _number("agreement", good / rows, low, high, bars.agreement, verdict, rows, missing, said)


def latency_number(observations: Sequence[Observation], bars: Bars, look: Look) -> GateNumber:
    """p95 of the candidate over p95 of prod, on rows that both have answered."""
    both = np.array(
        [
            (one.candidate_seconds, one.prod_seconds)
            for one in observations
            if one.candidate_seconds is not None and one.prod_seconds is not None
        ]
    ).reshape(-1, 2)
    rows = len(both)
    if rows == 0:
        return _unknown("latency", bars.latency, 0, "no row was answered by both models")
    candidate, prod = both[:, 0], both[:, 1]
    if p95(prod) <= 0 or p95(candidate) <= 0:
        return _unknown("latency", bars.latency, rows, "a p95 of latency is 0 s: the clock of the calls is too coarse")
    value = p95(candidate) / p95(prod)
    low, high = p95_ratio(candidate, prod, look.against_it, look.for_it)
    verdict = _of_ratio(low, high, bars.latency, GateVerdict.FAIL)
    missing = ratio_missing(value, (low, high), bars.latency, bars, look, rows) if verdict is _FEW else None
    said = (
        f"p95 is {p95(candidate):.3f} s for the candidate and {p95(prod):.3f} s for prod, {ratio(value)}, on "
        f"{counted(rows, 'row')} answered by both; {true_ratio(low, high)}, the bar is {ratio(bars.latency)}"
    )
    fewest = fewest_for_p95(bars)
    if verdict is _FEW and rows < fewest:
        said += f"; too few for the slowest 5%: at least {fewest} are needed"
        missing = max(missing or 0, fewest - rows)
    return _number("latency", value, low, high, bars.latency, verdict, rows, missing, said)


def cost_number(observations: Sequence[Observation], bars: Bars, look: Look) -> GateNumber:
    """Cost of a call of the candidate over that of prod; failed calls count. Above the bar a person has to approve.

    What lost attempts have cost is not known. It counts against the conclusion: in full for the candidate and as
    nothing for prod before it passes, and the other way round before it is called dearer.
    """
    rows = len(observations)
    unknown = sum(one.candidate_cost is None or one.prod_cost is None for one in observations)
    if unknown:
        return _unknown("cost", bars.cost, rows, _no_usage(observations, unknown))
    candidate, prod = _costs(observations)
    candidate_guessed = np.array([one.candidate_guessed for one in observations], float)
    prod_guessed = np.array([one.prod_guessed for one in observations], float)
    lost = int(np.count_nonzero(candidate_guessed + prod_guessed))
    if prod_guessed.any() and not (prod - prod_guessed).any():
        return _unknown("cost", bars.cost, rows, "no call of prod has said what it costs")
    if not prod.any():
        verdict = GateVerdict.NEEDS_APPROVAL if candidate.any() else GateVerdict.PASS
        said = "prod costs nothing, the candidate does" if candidate.any() else "both models cost nothing"
        return GateNumber("cost", None, None, None, bars.cost, verdict, rows, None, said)
    dearest, cheapest = (candidate, prod - prod_guessed), (candidate - candidate_guessed, prod)
    value = float(dearest[0].mean() / dearest[1].mean())
    low, high = mean_ratio(*dearest, look.against_it, look.for_it)
    if lost:
        low = mean_ratio(*cheapest, look.against_it, look.for_it)[0]
    verdict = _of_ratio(low, high, bars.cost, GateVerdict.NEEDS_APPROVAL)
    missing = ratio_missing(value, (low, high), bars.cost, bars, look, rows) if verdict is _FEW and not lost else None
    means = f"{_a_thousand(dearest[0])} with the candidate and {_a_thousand(dearest[1])} with prod"
    said = f"1,000 calls cost {means}, {ratio(value)}"
    if lost:
        said += (
            f" (on {counted(lost, 'row')} an attempt was lost: counted in full for the candidate, as nothing for prod)"
        )
    said += f"; {true_ratio(low, high)}, the bar is {ratio(bars.cost)}"
    return _number("cost", value, low, high, bars.cost, verdict, rows, missing, said)


def _costs(observations: Sequence[Observation]) -> tuple[Array, Array]:
    """Of the candidate and of prod, all known."""
    costs = np.array([(one.candidate_cost, one.prod_cost) for one in observations], float)
    return costs[:, 0], costs[:, 1]


_FEW = GateVerdict.TOO_FEW_ROWS
_EXACT = 1e-9  # how exactly the ends of a ratio are found


def _of_share(low: float, high: float, bar: float) -> GateVerdict:
    return GateVerdict.PASS if low >= bar else GateVerdict.FAIL if high < bar else _FEW


def _of_ratio(low: float, high: float, bar: float, above: GateVerdict) -> GateVerdict:
    return GateVerdict.PASS if high <= bar + _EXACT else above if low > bar + _EXACT else _FEW


def _agreement_missing(share: float, rows: int, bars: Bars, look: Look, floor: Floor) -> int | None:
    """By the bar or by the floor, whichever decides first."""
    by_bar = share_missing(share, rows, bars.agreement, bars, parts=2)
    if floor.more is None or floor.more_low is None or floor.more_high is None:
        return by_bar
    by_floor = margin_missing(
        floor.more, (floor.more_low, floor.more_high), floor.margin, bars, look, floor.rows, parts=2
    )
    if share < bars.agreement and floor.more <= floor.margin:
        return by_floor
    if share < bars.agreement:  # bad is what is shown to be bad by both
        return None if by_bar is None or by_floor is None else max(by_bar, by_floor)
    return by_bar


def _contradicts_itself(floor: Floor, look: Look) -> bool:
    if floor.disagreement is None:
        return False
    return share_low(round(floor.disagreement * floor.rows), floor.rows, look.against_it) > MOST_OWN


def _no_usage(observations: Sequence[Observation], unknown: int) -> str:
    """Prices are checked before a run, so what is not known is the usage that an answer names."""
    sides = [
        name
        for name, costs in (
            ("prod", [one.prod_cost for one in observations]),
            ("the candidate", [one.candidate_cost for one in observations]),
        )
        if None in costs
    ]
    return (
        f"the cost of {unknown} of {counted(len(observations), 'row')} is not known, because answers of "
        f"{' and of '.join(sides)} do not say how many tokens they used; have the server or gateway report `usage`"
    )


def _a_thousand(costs: Array) -> str:
    """What 1,000 calls cost, as a call alone costs a fraction of a cent."""
    return money_in_words(round(float(costs.mean()) * 1000))


def _unknown(name: str, bar: float, rows: int, said: str) -> GateNumber:
    return GateNumber(name, None, None, None, bar, GateVerdict.UNKNOWN, rows, None, said)


def _number(
    name: str,
    value: float,
    low: float,
    high: float,
    bar: float,
    verdict: GateVerdict,
    rows: int,
    missing: int | None,
    said: str,
) -> GateNumber:
    if verdict is _FEW:
        if missing is not None:
            more = f"about {counted(missing, 'more row')} would probably decide"
        elif math.isfinite(high):
            more = "it is too near to its bar to say how many rows would decide"
        else:
            more = "too little is known to say how many rows would decide"
        said = f"{said}; {more}"
    end = high if math.isfinite(high) else None
    return GateNumber(name, value, low, end, bar, verdict, rows, missing, said)
