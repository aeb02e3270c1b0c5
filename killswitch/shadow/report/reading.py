"""From recorded pairs to the report: opens them, decides, and counts."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from killswitch.shadow.agreement import agreement_of
from killswitch.shadow.criteria import DEFAULTS as DEFAULT_CRITERIA
from killswitch.shadow.criteria import OPTIONAL, TITLES, Criteria, Measure
from killswitch.shadow.decision import ShadowDecision, assess
from killswitch.shadow.dropped_requests import dropped_requests
from killswitch.shadow.evidence.columns import PairColumns
from killswitch.shadow.evidence.measures import compare
from killswitch.shadow.findings import CriterionFinding, judged
from killswitch.shadow.judge.summary import sentences
from killswitch.shadow.judge.verdicts import JudgeFindings, read_findings
from killswitch.shadow.pairs import open_pairs
from killswitch.shadow.recorded_columns import columns_of
from killswitch.shadow.report import queries
from killswitch.shadow.report.building import ClassStanding, Context, ToneEvidence, examples_of, report_of
from killswitch.shadow.report.document import CriterionRow, Decided, JudgeSaid, ShadowReport
from killswitch.shadow.similarity import CharacterGrams


@dataclass(frozen=True, slots=True)
class ReportQuestion:
    """What is asked of which records.

    ``source``: the folder of records, or one file. ``since``, ``until``: Unix seconds, None for all there is; ``last``:
    only so many seconds before the newest record. ``settled``: records from then on are left out, and the report does
    not say so: it is the same whenever it is made, once its records are older. ``percent``: the share of control's
    requests that is sampled, 0 to 100. ``requests_per_month``: control's. Both only say what 100 % would cost.
    ``criteria``: None for the defaults.
    """

    source: Path
    rollout: str
    criteria: Criteria | None = None
    as_points: bool = False
    since: float | None = None
    until: float | None = None
    last: float | None = None
    settled: float | None = None
    percent: float | None = None
    requests_per_month: float | None = None
    generation: int | None = None

    @property
    def end(self) -> float | None:
        """Records from then on are left out; None for none."""
        return min((one for one in (self.until, self.settled) if one is not None), default=None)


def read_decision(question: ReportQuestion) -> ShadowDecision:
    """What the report would decide, without the rest of it. Raises as `read_report`."""
    judge = _judge_of(question)
    with _opened(question) as connection:
        columns = _columns(connection, judge, _dropped(connection, question))
        return assess(columns, _criteria(question, judge))


def read_report(question: ReportQuestion) -> ShadowReport:
    """The report. Raises BadSettings if there are no records, if they cannot be read, or if DuckDB is missing.

    Raises Unavailable if the judge's verdicts cannot be read.
    """
    judge = _judge_of(question)
    criteria = _criteria(question, judge)
    with _opened(question) as connection:
        examples, texts_left_out = examples_of(connection)
        dropped = _dropped(connection, question)
        columns = _columns(connection, judge, dropped)
        decision = assess(columns, criteria)
        measure = CharacterGrams()
        context = Context(
            rollout=question.rollout,
            decided=_decided(decision, criteria),
            since=question.since,
            until=question.until,
            dropped=dropped,
            percent=question.percent,
            requests_per_month=question.requests_per_month,
            measures=(measure.name,),
            classes={
                one.name: ClassStanding(one.standing.value, one.must_pass, one.sentence) for one in decision.classes
            },
            tone=_tone(columns, decision, criteria),
            examples=examples,
            texts_left_out=texts_left_out,
            judge=None if judge is None else JudgeSaid(judge.win_rate, judge.gates, tuple(sentences(judge))),
            measure_agreement=(agreement_of(measure).sentence(),),
        )
        return report_of(connection, columns, context)


def _judge_of(question: ReportQuestion) -> JudgeFindings | None:
    if question.source.is_file():
        return None
    return read_findings(question.source, question.rollout, generation=question.generation)


def _opened(question: ReportQuestion) -> AbstractContextManager[Any]:
    return open_pairs(
        question.source,
        question.rollout,
        since=question.since,
        until=question.end,
        last=question.last,
        generation=question.generation,
    )


def _dropped(connection: Any, question: ReportQuestion) -> dict[str, int] | None:
    begin = question.since if question.last is None else _oldest_minute(connection)
    return dropped_requests(question.source, question.rollout, since=begin, until=question.end)


def _columns(connection: Any, judge: JudgeFindings | None, dropped: dict[str, int] | None) -> PairColumns:
    wins = judge.scores if judge is not None and judge.gates else {}
    return columns_of(connection, wins=wins, dropped=dropped)


def _criteria(question: ReportQuestion, judge: JudgeFindings | None) -> Criteria:
    """Those asked for; else the defaults, with the win rate from when the judge's agreement allows it to decide."""
    criteria = question.criteria or Criteria()
    if question.criteria is None and judge is not None and judge.gates:
        win_rate = next(one for one in OPTIONAL if one.measure is Measure.WIN_RATE)
        criteria = replace(criteria, each=(*criteria.each, win_rate))
    return replace(criteria, as_points=True) if question.as_points else criteria


def _oldest_minute(connection: Any) -> float | None:
    oldest = queries.period(connection)["oldest"]
    return None if oldest is None else float(oldest - oldest % 60.0)


def _decided(decision: ShadowDecision, criteria: Criteria) -> Decided:
    return Decided(
        verdict=decision.verdict.value,
        sentence=decision.sentence,
        more_pairs=decision.more_pairs,
        as_points=criteria.as_points,
        wrong_go=criteria.wrong_go,
        wrong_no_go=criteria.wrong_no_go,
        lost_share=decision.lost_share,
        criteria=tuple(_row(one) for one in decision.criteria),
    )


def _row(finding: CriterionFinding) -> CriterionRow:
    return CriterionRow(
        measure=finding.criterion.measure.value,
        title=TITLES[finding.criterion.measure],
        standing=finding.standing.value,
        candidate=_known(finding.candidate),
        reference=_known(finding.reference),
        limit=finding.criterion.written,
        pairs=finding.pairs,
        noise_pairs=finding.noise_pairs,
        odds_within=_known(finding.odds_within),
        odds_to_pass=_known(finding.odds_to_pass),
        odds_worse=_known(finding.odds_worse),
        odds_to_fail=_known(finding.odds_to_fail),
        more_pairs=finding.more_pairs,
        sentence=finding.sentence,
    )


def _tone(columns: PairColumns, decision: ShadowDecision, criteria: Criteria) -> ToneEvidence:
    """What is proven of the openings, also where they are no criterion."""
    found = next((one for one in decision.criteria if one.criterion.measure is Measure.OPENINGS), None)
    if found is None or math.isnan(found.odds_worse):
        criterion = next(one for one in DEFAULT_CRITERIA if one.measure is Measure.OPENINGS)
        wrong_no_go = Criteria().no_go_alpha(criterion)
        found = judged(compare(columns, criterion), wrong_go=criteria.wrong_go, wrong_no_go=wrong_no_go)
    return ToneEvidence(_known(found.odds_worse_at_all), _known(found.odds_to_fail), found.sentence)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
