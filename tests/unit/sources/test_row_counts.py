"""Requests counted from rows: the same wants as for counters, with an answer that a store would give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from killswitch.errors import BadSettings
from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Matcher,
    Measurement,
    Range,
    Reason,
    Unreadable,
    Want,
)
from killswitch.rules.presets import PRESETS
from killswitch.sources.rows.questions import PERIOD_MS, RowCell, RowQuestion, cells_of
from killswitch.sources.rows.reading import RowReader
from killswitch.sources.rows.request_table import RequestTable

TICK = 1_800_000_000.0
COHORTS = {
    cohort: (Matcher("rollout", "=", "r"), Matcher("cohort", "=", cohort.value)) for cohort in Cohort
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """``at`` and ``came`` (the time of its insertion) in seconds before `TICK`, negative for before."""

    at: float
    cohort: str = "canary"
    outcome: str = "ok"
    latency_ms: float = 300.0
    refused: bool = False
    user: str = ""
    came: float | None = None

    def counts_at(self, question: RowQuestion) -> int:
        at = round((TICK + self.at) * 1000)
        return max(at, at if self.came is None else round((TICK + self.came) * 1000) - question.late_after)


def answered(rows: Sequence[Row], question: RowQuestion) -> list[RowCell] | Unreadable:
    """What a store answers, in plain Python."""
    kept, met = [], set()
    for row in sorted(rows, key=lambda row: row.counts_at(question)):
        period = (row.user, row.counts_at(question) // PERIOD_MS)
        if question.judged and row.user and period in met:
            continue
        met.add(period)
        kept.append(row)
    cells: Counter[tuple[int, str, str, int, bool]] = Counter()
    for row in kept:
        at = row.counts_at(question)
        if question.bounds[0] <= at < question.bounds[-1]:
            slot = sum(bound <= at for bound in question.bounds) - 1
            edge = sum(edge < row.latency_ms for edge in question.edges) if question.edges else -1
            cells[slot, row.cohort, row.outcome, edge, row.refused] += 1
    return cells_of(
        question,
        [
            [slot, "r", cohort, "m", outcome, edge, str(number), refused * number, 0]
            for (slot, cohort, outcome, edge, refused), number in cells.items()
        ],
    )


def want(name: str, kind: Range = Range.STEP, seconds: float = 30.0, *, judged: bool = False) -> Want:
    metrics = PRESETS["cohort-labels"].metrics
    signal = (metrics.per_user if judged and metrics.per_user else metrics).signal(name)
    assert signal is not None
    return Want("r", name, str(kind), signal, COHORTS, seconds, kind)


def read(rows: Sequence[Row], asked: Want, tick: float = TICK, table: RequestTable | None = None) -> Measurement:
    reader = RowReader(table or RequestTable(), lambda question: answered(rows, question), interval=15)
    return reader.read_back([asked], [tick])[tick][asked.key].canary


def test_a_row_at_the_tick_is_in_the_next_step() -> None:
    rows = [Row(-30.001), Row(-30.0), Row(-0.001, outcome="error"), Row(0.0)]
    assert read(rows, want("error_rate")) == Counts(1, 2)
    assert read(rows, want("error_rate"), TICK + 30) == Counts(0, 1)


def test_a_late_row_is_counted_in_the_step_after_once() -> None:
    """It came 15 s after its step had been read, and 10 s are waited for."""
    rows = [Row(-1.0), Row(-1.0, came=25.0), Row(-1.0, came=9.0), Row(20.0)]
    assert read(rows, want("error_rate")) == Counts(0, 2)
    assert read(rows, want("error_rate"), TICK + 30) == Counts(0, 2)


def test_a_user_is_judged_once_in_five_minutes() -> None:
    rows = [Row(-20.0, user="a"), Row(-10.0, user="a", outcome="error"), Row(-9.0, user="b"), Row(-8.0), Row(-7.0)]
    assert read(rows, want("error_rate", judged=True)) == Counts(0, 4)
    assert read(rows, want("error_rate")) == Counts(1, 5)


def test_latencies_are_counted_at_each_edge() -> None:
    rows = [Row(-1.0, latency_ms=value) for value in (100.0, 100.001, 2000.0, 2e9)]
    found = read(rows, want("latency_p95"))
    assert isinstance(found, Buckets)
    counts = dict(zip(found.bounds, found.counts, strict=True))
    assert [counts[edge] for edge in (0.08, 0.1, 0.12, 2.0, math.inf)] == [0, 1, 2, 3, 4]


def test_no_rows_of_any_rollout_are_stale_and_not_zero() -> None:
    """Rows that no longer arrive look like a service without requests: no one may count them as zero."""
    quiet = [Row(-200.0), Row(-100.0, "control")]
    for kind, seconds in ((Range.STEP, 30.0), (Range.WINDOW, 300.0)):
        found = read(quiet, want("error_rate", kind, seconds))
        assert isinstance(found, Unreadable)
        assert found.reason is Reason.STALE
    assert read([*quiet, Row(-5.0, "control")], want("error_rate")) == Counts(0, 0)
    gone = read([Row(-400.0), Row(-5.0, "control")], want("error_rate"))
    assert isinstance(gone, Unreadable)
    assert gone.reason is Reason.NO_DATA


def test_a_failed_question_is_the_reason_of_each_want() -> None:
    down = Unreadable(Reason.SOURCE_DOWN, "down")
    reader = RowReader(RequestTable(), lambda _: down, interval=15)
    for name in ("error_rate", "latency_p95", "refusal_rate"):
        asked = want(name)
        assert reader.read_back([asked], [TICK])[TICK][asked.key].canary == down


def test_a_label_that_rows_do_not_have_is_named() -> None:
    asked = want("error_rate")
    cohorts = {cohort: (*matchers, Matcher("service", "=", "x")) for cohort, matchers in COHORTS.items()}
    found = read([Row(-1.0)], replace(asked, cohorts=cohorts))
    assert isinstance(found, Unreadable)
    assert "no label service" in found.detail


@pytest.mark.parametrize(
    "row",
    [
        [0, "r", "canary", "m", "ok", -1, 1, 0],
        [9, "r", "canary", "m", "ok", -1, 1, 0, 0],
        [0, "r", "canary", "m", "ok", -1, -1, 0, 0],
        [0, "r", "canary", "m", "ok", -1, 1.5, 0, 0],
        [0, "r", None, "m", "ok", -1, 1, 0, 0],
        [0, "r", "canary", "m", "ok", 7, 1, 0, 0],
        [True, "r", "canary", "m", "ok", -1, 1, 0, 0],
        "row",
    ],
)
def test_a_row_that_was_not_asked_for_is_garbage(row: object) -> None:
    found = cells_of(RowQuestion((0, 1000)), [row])
    assert isinstance(found, Unreadable)
    assert found.reason is Reason.GARBAGE


@pytest.mark.parametrize("name", ["a b", "x; drop", "a.b.c", '"x"', ""])
def test_a_name_that_is_no_plain_one_is_refused(name: str) -> None:
    with pytest.raises(BadSettings):
        RequestTable(name=name)
    with pytest.raises(BadSettings):
        RequestTable(outcome=name or "1")
