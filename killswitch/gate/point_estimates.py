"""The plain comparison of four values with their bars, and what it is worth at this many rows."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.special import bdtrc

from killswitch.gate.percentages import percent
from killswitch.roles.gate_record import GateNumber, GateVerdict

# a bad candidate whose chance to pass is said: the share of rows on which it is right
BAD = {"schema": 0.97, "agreement": 0.90}


def compared(number: GateNumber) -> GateNumber:
    """The number judged by its value alone; what no value says (an unknown cost) stays as it is."""
    if number.value is None:
        return number
    is_share = number.name in BAD
    if number.value >= number.bar if is_share else number.value <= number.bar:
        verdict = GateVerdict.PASS
    else:
        verdict = GateVerdict.NEEDS_APPROVAL if number.name == "cost" else GateVerdict.FAIL
    plain = number.sentence.partition(";")[0]
    return replace(number, verdict=verdict, rows_missing=None, sentence=f"{plain}{_worth(number)}")


def _worth(number: GateNumber) -> str:
    """What a comparison without an interval may overlook."""
    if number.name not in BAD:
        return f", by its plain value, which is uncertain; the bar is {number.bar:g}"
    share = BAD[number.name]
    chance = float(bdtrc(math.ceil(number.bar * number.rows - 1e-9) - 1, number.rows, share))
    return (
        f", by its plain value against {percent(number.bar)}: with {number.rows} rows a candidate of {percent(share)} "
        f"would pass this with a chance of {percent(chance)}"
    )
