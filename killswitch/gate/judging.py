"""The verdict of the gate: four numbers with their intervals against their bars, and the floor of agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from killswitch.gate.floor import Floor, floor_of, repeats
from killswitch.gate.look_schedule import looks, schedule
from killswitch.gate.numbers import agreement_number, cost_number, latency_number, schema_number
from killswitch.gate.observations import Observation
from killswitch.gate.point_estimates import compared
from killswitch.roles.bars import Bars
from killswitch.roles.gate_record import GateNumber, GateVerdict
from killswitch.wording import counted

__all__ = ["Floor", "GateOutcome", "judged", "looks", "repeats"]


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """``verdict`` TOO_FEW_ROWS: ask more rows, if there are any; any other verdict: stop. ``why``: one sentence."""

    verdict: GateVerdict
    numbers: tuple[GateNumber, ...]
    floor: Floor
    why: str


def judged(observations: Sequence[Observation], bars: Bars, *, rows: int, point_estimates: bool = False) -> GateOutcome:
    """What ``observations``, the first rows of a golden set of ``rows`` rows in the order asked, say.

    Numbers are ``schema``, ``agreement``, ``latency``, ``cost``, in this order. Between two looks nothing is decided.
    ``point_estimates``: plain values are compared with the bars once all rows are asked, and no interval decides.
    Raises ValueError for no observations or more than rows, and for latencies or costs that are no numbers.
    """
    seen = len(observations)
    if not 1 <= seen <= rows:
        raise ValueError(f"{seen} observations of a golden set of {rows} rows; give between 1 and {rows}")
    _check(observations)
    look = next(one for one in schedule(rows, bars) if one.rows >= seen)
    floor = floor_of(observations, look)
    numbers: tuple[GateNumber, ...] = (
        schema_number(observations, bars, look),
        agreement_number(observations, bars, look, floor),
        latency_number(observations, bars, look),
        cost_number(observations, bars, look),
    )
    if point_estimates:
        numbers = tuple(compared(one) for one in numbers)
    next_look = rows if point_estimates else look.rows
    if seen < next_look:
        why = f"{seen} of {rows} rows are asked; the next look is after {next_look}"
        return GateOutcome(GateVerdict.TOO_FEW_ROWS, tuple(map(_open, numbers)), floor, why)
    verdict, why = _together(numbers)
    if not look.may_pass and verdict in {GateVerdict.PASS, GateVerdict.NEEDS_APPROVAL}:
        verdict = GateVerdict.TOO_FEW_ROWS
        why = f"all is good on {seen} of {rows} rows; a later look may pass it"
    return GateOutcome(verdict, numbers, floor, why)


def _check(observations: Sequence[Observation]) -> None:
    for at, one in enumerate(observations):
        for value in (one.prod_seconds, one.candidate_seconds, one.prod_cost, one.candidate_cost):
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(
                    f"row {at} has a latency or a cost of {value}; it must be a number of at least 0, or None"
                )
        for cost, guessed in ((one.prod_cost, one.prod_guessed), (one.candidate_cost, one.candidate_guessed)):
            if cost is not None and not 0 <= guessed <= cost:
                raise ValueError(f"row {at} has a cost of {cost}, of which {guessed} are guessed")


# what a run says if a number says it, the first that applies
_ORDER = (GateVerdict.FAIL, GateVerdict.UNKNOWN, GateVerdict.TOO_FEW_ROWS, GateVerdict.NEEDS_APPROVAL)


def _together(numbers: Sequence[GateNumber]) -> tuple[GateVerdict, str]:
    for verdict in _ORDER:
        found = [one for one in numbers if one.verdict is verdict]
        if found and verdict is GateVerdict.TOO_FEW_ROWS:
            return verdict, _not_clear(found)
        if found:
            return verdict, ". ".join(f"{one.name}: {one.sentence}" for one in found)
    return GateVerdict.PASS, "all four numbers are on the good side of their bars"


def _not_clear(found: Sequence[GateNumber]) -> str:
    """Short, because each number's own sentence has its interval and what it lacks."""
    names = " and ".join(filter(None, (", ".join(one.name for one in found[:-1]), found[-1].name)))
    rows = max(one.rows for one in found)
    said = f"{names} {'is' if len(found) == 1 else 'are'} not clear on {counted(rows, 'row')}"
    missing = [one.rows_missing for one in found if one.rows_missing is not None]
    if len(missing) < len(found):
        return f"{said}; how many rows would decide cannot be said yet"
    return f"{said}; about {counted(max(missing), 'more row')} would probably decide"


def _open(number: GateNumber) -> GateNumber:
    return number if number.verdict is GateVerdict.UNKNOWN else replace(number, verdict=GateVerdict.TOO_FEW_ROWS)
