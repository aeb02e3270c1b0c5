"""From recorded pairs to the report: opens them, decides, and counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from killswitch.shadow.criteria import DEFAULTS as DEFAULT_CRITERIA
from killswitch.shadow.criteria import TITLES, Criteria, Measure
from killswitch.shadow.decision import ShadowDecision, assess
from killswitch.shadow.evidence.columns import PairColumns
from killswitch.shadow.evidence.measures import compare
from killswitch.shadow.findings import CriterionFinding, judged
from killswitch.shadow.pairs import open_pairs
from killswitch.shadow.recorded_columns import columns_of
from killswitch.shadow.report.building import ClassStanding, Context, ToneEvidence, report_of
from killswitch.shadow.report.document import CriterionRow, Decided, ShadowReport


@dataclass(frozen=True, slots=True)
class ReportQuestion:
    """What is asked of which records.

    ``source``: the folder of records, or one file. ``since``, ``until``: Unix seconds, None for all there is; ``last``:
    only so many seconds before the newest record. ``settled``: records from then on are left out, and the report does
    not say so: it is the same whenever it is made, once its records are older. ``percent``: the share of control's
    requests that is sampled, 0 to 100. ``requests_per_month``: control's. Both only say what 100 % would cost.
    ``wins``: a judge's view by pair.
    """

    source: Path
    rollout: str
    criteria: Criteria = field(default_factory=Criteria)
    since: float | None = None
    until: float | None = None
    last: float | None = None
    settled: float | None = None
    percent: float | None = None
    requests_per_month: float | None = None
    wins: Mapping[str, float] = field(default_factory=dict)


def read_report(question: ReportQuestion) -> ShadowReport:
    """The report. Raises BadSettings if there are no records, if they cannot be read, or if DuckDB is missing."""
    ends = [end for end in (question.until, question.settled) if end is not None]
    with open_pairs(
        question.source,
        question.rollout,
        since=question.since,
        until=min(ends, default=None),
        last=question.last,
    ) as connection:
        columns = columns_of(connection, wins=question.wins)
        decision = assess(columns, question.criteria)
        context = Context(
            rollout=question.rollout,
            decided=_decided(decision, question.criteria),
            since=question.since,
            until=question.until,
            percent=question.percent,
            requests_per_month=question.requests_per_month,
            classes={
                one.name: ClassStanding(one.standing.value, one.must_pass, one.sentence) for one in decision.classes
            },
            tone=_tone(columns, decision, question.criteria),
        )
        return report_of(connection, columns, context)


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
