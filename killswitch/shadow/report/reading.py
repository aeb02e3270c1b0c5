"""From recorded pairs to the report: opens them, decides, and counts."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from killswitch.shadow.agreement import agreement_of
from killswitch.shadow.criteria import DEFAULTS as DEFAULT_CRITERIA
from killswitch.shadow.criteria import OPTIONAL, TITLES, Criteria, Measure
from killswitch.shadow.decision import ShadowDecision, assess, undecided
from killswitch.shadow.dropped_requests import dropped_requests
from killswitch.shadow.evidence.columns import PairColumns
from killswitch.shadow.evidence.measures import compare
from killswitch.shadow.findings import CriterionFinding, judged
from killswitch.shadow.judge.summary import sentences
from killswitch.shadow.judge.verdicts import JudgeFindings, read_findings
from killswitch.shadow.pairs import NEWEST, Newest, open_pairs
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
    ``criteria``: None for the defaults. ``generation``: None for the newest that there is in this time. ``"all"`` shows
    all of them together, and decides nothing. ``ignore_drops``: take it that nothing was dropped where that is unknown.
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
    generation: int | Literal["all"] | None = None
    ignore_drops: bool = False

    @property
    def end(self) -> float | None:
        """Records from then on are left out; None for none."""
        return min((one for one in (self.until, self.settled) if one is not None), default=None)


def read_decision(question: ReportQuestion) -> ShadowDecision:
    """What the report would decide, without the rest of it. Raises as `read_report`."""
    with _opened(question) as connection:
        judge = _judge_of(connection, question)
        dropped = _dropped(connection, question)
        columns = _columns(connection, judge, dropped)
        drops_known = dropped is not None or question.ignore_drops
        return _assessed(connection, columns, _criteria(question, judge), drops_known=drops_known)


def read_report(question: ReportQuestion) -> ShadowReport:
    """The report. Raises BadSettings if there are no records, if they cannot be read, or if DuckDB is missing.

    Raises Unavailable if the judge's verdicts cannot be read.
    """
    with _opened(question) as connection:
        judge = _judge_of(connection, question)
        criteria = _criteria(question, judge)
        examples, texts_left_out = examples_of(connection)
        dropped = _dropped(connection, question)
        columns = _columns(connection, judge, dropped)
        drops_known = dropped is not None or question.ignore_drops
        decision = _assessed(connection, columns, criteria, drops_known=drops_known)
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


def newer_pairs(question: ReportQuestion) -> int:
    """How many records `ReportQuestion.settled` leaves out. Raises as `read_report`."""
    with open_pairs(
        question.source,
        question.rollout,
        since=question.settled,
        until=question.until,
        generation=_generation(question),
    ) as connection:
        ((number,),) = connection.execute("SELECT count(*) FROM pairs").fetchall()
    return int(number)


def _assessed(connection: Any, columns: PairColumns, criteria: Criteria, *, drops_known: bool) -> ShadowDecision:
    decision = assess(columns, criteria, drops_known=drops_known, users=queries.users(connection))
    mixed = _mixed(connection)
    return undecided(decision, mixed) if mixed else decision


def _mixed(connection: Any) -> str:
    """Why these pairs are not one comparison of one canary with one control, "" if they are."""
    period = queries.period(connection)
    if len(period["generations"]) > 1:
        generations = [number for number, *_ in queries.generations(connection)]
        return (
            f"these pairs are of {len(generations)} generations, and a verdict is of one; give --generation"
            f" {generations[-1]}"
        )
    for what in ("canary", "control"):
        models = [model for model in period[f"{what}_models"] if model]
        if len(models) > 1:
            return (
                f"the pairs of one generation are of {len(models)} {what} models ({', '.join(models)}); give --since a"
                " time from which there is one"
            )
    return ""


def _judge_of(connection: Any, question: ReportQuestion) -> JudgeFindings | None:
    """What a judge said of the generations that are read."""
    if question.source.is_file():
        return None
    generations = queries.period(connection)["generations"]
    only = generations[0] if len(generations) == 1 else None
    return read_findings(question.source, question.rollout, generation=only)


def _opened(question: ReportQuestion) -> AbstractContextManager[Any]:
    return open_pairs(
        question.source,
        question.rollout,
        since=question.since,
        until=question.end,
        last=question.last,
        generation=_generation(question),
    )


def _generation(question: ReportQuestion) -> int | Newest | None:
    if question.generation is None:
        return NEWEST
    return None if question.generation == "all" else question.generation


def _dropped(connection: Any, question: ReportQuestion) -> dict[str, int] | None:
    """What was dropped while these pairs were made.

    A drop says its minute, and no generation. Those after the last pair of an earlier generation count, and those until
    the last pair of this one where there is a later one.
    """
    begin, end = question.since, question.end
    period = queries.period(connection)
    if period["generations"] and period["oldest"] is not None:
        first, last = period["generations"][0], period["generations"][-1]
        oldest = _minute(period["oldest"])
        others = queries.generations(connection)
        earlier = [_minute(newest) + 60.0 for number, _, _, newest in others if number < first]
        if question.last is not None:
            begin = oldest
        elif earlier:
            begin = max(min(oldest, max(earlier)), begin or 0.0)
        if any(number > last for number, *_ in others):
            end = min(_minute(period["newest"]) + 60.0, math.inf if end is None else end)
    return dropped_requests(question.source, question.rollout, since=begin, until=end)


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


def _minute(at: float) -> float:
    """When the minute of this time began."""
    return at - at % 60.0


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
        users=decision.users,
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
