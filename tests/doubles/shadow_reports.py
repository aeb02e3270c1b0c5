"""A report of shadow mode with every part filled in, and every text in it the same one."""

from __future__ import annotations

from killswitch.shadow.report.document import (
    BothWays,
    ClassRow,
    Cost,
    CriterionRow,
    Decided,
    Example,
    JudgeSaid,
    OpeningExample,
    OverFloor,
    PairCounts,
    Quantiles,
    RecordedPeriod,
    SecondsOfBoth,
    ShadowReport,
    SharePart,
    Spread,
    ThreeWays,
    Tone,
)
from tests.doubles.pair_records import BEGAN

SOME = SharePart(84, 100)
FEW = SharePart(11, 100)


def report_with(text: str, *, verdict: str = "NO_GO") -> ShadowReport:
    """Every name, sentence, opening and answer is ``text``. Two prompt classes, so that the table is shown."""
    over = OverFloor(text, SOME, FEW)
    ways = ThreeWays(text, FEW, SOME, FEW)
    known = Quantiles(100, 3, 80.0, 200.0)
    row = ClassRow(text, "FAIL", True, text, over, False, over, FEW, text, 0.4)
    example = Example(text, BEGAN, text, (text,), 0.97, text, text, f"{text} more")
    return ShadowReport(
        version="1.0",
        rollout=text,
        period=RecordedPeriod(BEGAN, BEGAN + 3600, BEGAN, BEGAN + 3600, (1,), (1,), (text,), (text,)),
        measures=(text,),
        decided=_decided(text, verdict),
        counts=PairCounts(120, 100, 90, {text: 10}, {text: 20}, 10, 9, {text: 1}),
        agreement=(over,),
        differences=(over,),
        refusals=BothWays(100, 1, 2, 3, 10, 0, 1, 1),
        cut=BothWays(90, 4, 5, 6, 9, 0, 2, 1, unknown=10, noise_unknown=1),
        outcomes=(ways,),
        tone=Tone((ways,), (ways,), 1e9, 100.0, text, text, (OpeningExample(text, text, text),)),
        formats=(ways,),
        languages=(ways,),
        spreads=(Spread(text, "", (10.0, 20.0, 50.0), (60, 40), (20, 80), known, known, 12.0, 1.0),),
        timings=(SecondsOfBoth(text, known, known),),
        cost=Cost(100, 3, 500.0, 700.0, 1e6, 5e8, 7e8, text),
        classes=(row, row),
        classes_left_out=1,
        examples=(example, Example(text, BEGAN, text, (text,), None, None, None, None)),
        texts_left_out=False,
        judge=JudgeSaid(0.4, False, (text,)),
        measure_agreement=(text,),
    )


def _decided(text: str, verdict: str) -> Decided:
    criterion = CriterionRow(text, text, "FAIL", 0.84, 0.11, "5pp", 100, 10, 1.0, 100.0, 1e9, 100.0, None, text)
    return Decided(verdict, f"{verdict}: {text}", None, False, 0.01, 0.01, 0.0, (criterion,))
