"""From wants to a handful of queries, with nothing a label value can break out of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.model import Cohort, Matcher, QuantileSignal, QuerySignal, Range, RatioSignal, Selector, Want
from killswitch.sources.asks import Same, Shape, Sum, evidence_step, needs
from killswitch.sources.labels import quote
from killswitch.sources.prometheus import promql
from killswitch.sources.prometheus.queries import Query, Ranges, plan

COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
RANGES = Ranges(15.0, left_open=True)


def windowed(series: str, by: str = " by (service)", window: str = "300s") -> str:
    """What is asked of a window: -Inf where a counter fell in it."""
    return f"sum{by} (increase({series}[{window}])) + ln(max{by} (resets({series}[{window}])) < bool 1)"


LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def unquoted(literal: str) -> str:
    """What PromQL's lexer makes of a string literal; fails on a line break or an unknown escape."""
    assert literal[0] == literal[-1] == '"'
    inside = literal[1:-1]
    assert "\n" not in inside
    replaced = re.sub(
        r"\\(x[0-9a-f]{2}|[\\nrt\"])",
        lambda found: (
            {"n": "\n", "r": "\r", "t": "\t"}.get(found[1])
            or (chr(int(found[1][1:], 16)) if found[1][0] == "x" else found[1])
        ),
        inside,
    )
    assert LITERAL.fullmatch(literal)
    return replaced


def asks(
    *values: str, shape: Shape = Shape.INCREASE, by_le: bool = False, fixed: tuple[Matcher, ...] = ()
) -> list[Sum]:
    return [Sum(shape, Selector("x_total", (*fixed, Matcher("service", "=", value))), 300.0, by_le) for value in values]


@given(st.text())
def test_a_quoted_text_is_one_literal_that_means_exactly_that_text(text: str) -> None:
    assert unquoted(quote(text)) == re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), st.text())
def test_an_alternation_matches_its_values_and_nothing_else(values: list[str], other: str) -> None:
    matcher = promql.one_of("service", values)
    if "=~" in matcher:
        pattern = unquoted(matcher.removeprefix("service=~"))
        assert all(re.fullmatch(pattern, value) for value in values)
        assert (re.fullmatch(pattern, other) is not None) == (other in values)
    else:
        assert unquoted(matcher.removeprefix("service=")) == values[0]


@pytest.mark.parametrize("name", ['x"} or vector(1) or {a="', "x total", "by", "", "größe"])
def test_a_metric_name_that_is_none_stands_quoted(name: str) -> None:
    text = promql.selector(Selector(name, (Matcher("a", "=", "b"),)))
    assert text == "{__name__=" + quote(name) + ',a="b"}'


def test_a_label_name_that_is_none_stands_quoted() -> None:
    assert promql.matcher(Matcher('a="b"} or x{c', "=", "d")) == '"a=\\"b\\"} or x{c"="d"'


@pytest.mark.parametrize(
    ("seconds", "text"), [(300.0, "300s"), (44.999, "44999ms"), (0.0015, "2ms"), (86400.0, "86400s")]
)
def test_a_duration_is_whole_seconds_or_milliseconds(seconds: float, text: str) -> None:
    assert promql.duration(seconds) == text


def test_what_differs_in_values_alone_shares_one_query() -> None:
    (query,) = plan([*asks("a", "b|c"), *asks("a")])
    assert query.text(RANGES) == windowed(r'x_total{service=~"a|b\\|c"}')
    assert {values: ask.selector for values, ask in query.cells.items()} == {
        ("a",): asks("a")[0].selector,
        ("b|c",): asks("b|c")[0].selector,
    }


def test_a_thousand_rollouts_cost_as_many_queries_as_one() -> None:
    def queries(rollouts: int) -> list[Query]:
        errors = Matcher("outcome", "!~", "ok|success")
        wants = []
        for at in range(rollouts):
            service = Matcher("service", "=", f"svc-{at}")
            trials = (Selector("requests_total", (service,)),)
            signal = RatioSignal((Selector("requests_total", (service, errors)),), trials)
            wants.append(Want(f"r{at}", "error_rate", "window", signal, COHORTS, 300.0))
            signal = RatioSignal((Selector("refusals_total", (service,)),), trials)
            wants.append(Want(f"r{at}", "refusal_rate", "window", signal, COHORTS, 300.0))
        every = [ask for want in wants for cohort in Cohort for ask in needs(want, cohort, 15.0, Same()).at_once]
        return plan(ask for ask in every if isinstance(ask, Sum))

    assert len(queries(1000)) == len(queries(1)) == 4


def test_closer_looks_of_a_thousand_rollouts_share_one_query() -> None:
    """Each knows its own processes by the labels that tell rollouts and cohorts apart."""
    failed, found = Matcher("outcome", "=", "error"), []
    for at in range(1000):
        service = Matcher("service", "=", f"svc-{at}")
        basis = Selector("x_total", (service,))
        found.append(Sum(Shape.CLOSE_STEP, Selector("x_total", (failed, service)), 30.0, basis=basis))
    (query,) = plan(found)
    text = query.text(RANGES)
    assert "service_instance_id, service)" in text
    assert "outcome)" not in text.replace("by (outcome, service)", "")
    assert len(text) < 1_000_000  # well within what a server takes in a form


def test_other_matchers_share_a_query_only_with_their_like() -> None:
    fails, works = Matcher("outcome", "=~", "error|timeout"), Matcher("outcome", "!=", "ok")
    queries = plan([*asks("a", "b", fixed=(fails,)), *asks("a", fixed=(works,))])
    assert sorted(query.text(RANGES) for query in queries) == [
        windowed('x_total{outcome!="ok",service="a"}'),
        windowed('x_total{outcome=~"error|timeout",service=~"a|b"}'),
    ]


def test_two_values_demanded_of_one_label_stay_a_contradiction() -> None:
    (query,) = plan(asks("b", fixed=(Matcher("service", "=", "a"),)))
    assert query.text(RANGES) == windowed('x_total{service="a",service="b"}')


def test_no_labels_to_tell_apart_is_one_sum() -> None:
    (query,) = plan([Sum(Shape.INCREASE, Selector("x_total"), 60.0)])
    assert query.text(RANGES) == windowed("x_total", "", "60s")
    assert RANGES.typed(asks("a")[0]) == 'sum (increase(x_total{service="a"}[300s]))'  # as a person would type it


@given(st.sets(st.text(max_size=5), min_size=1, max_size=60), st.integers(1, 11_000), st.booleans())
def test_every_ask_is_answered_by_exactly_one_query(values: set[str], ticks: int, by_le: bool) -> None:
    """However the plan is cut, every ask is answered by exactly one query."""
    wanted = asks(*values, by_le=by_le)
    answered = [ask for query in plan(wanted, ticks) for ask in query.cells.values()]
    assert sorted(answered, key=repr) == sorted(wanted, key=repr)


@pytest.mark.parametrize(("interval", "step"), [(10, 30), (15, 30), (20, 40), (30, 30), (60, 60), (7, 35), (0.1, 30.0)])
def test_the_evidence_step_is_a_multiple_of_the_interval(interval: float, step: float) -> None:
    """The evidence step is the first multiple of the scrape interval from 30 s on."""
    assert evidence_step(interval) == pytest.approx(step)


def test_a_step_asks_from_the_last_sample_before_it_to_its_last() -> None:
    """A step asks for what lies between its last sample and the last one before it."""
    ask = Sum(Shape.STEP, Selector("x_total"), 30.0)
    old = "last_over_time(x_total[300s] offset 30s)"
    new = "last_over_time(x_total[30s])"
    assert RANGES.typed(ask) == f"sum ({new} - {old})"
    (query,) = plan([ask])  # -Inf where a counter fell, or is new
    assert query.text(RANGES) == f"sum ((({new} - {old}) unless resets(x_total[330s]) > 0) or {new} - Inf)"


@pytest.mark.parametrize("shape", list(Shape))
def test_closed_ranges_are_asked_for_a_millisecond_less(shape: Shape) -> None:
    """A server whose ranges hold their first instant is asked for a millisecond less."""
    close = shape in {Shape.CLOSE_STEP, Shape.CLOSE_INCREASE, Shape.CLOSE_FALLS}
    (query,) = plan([Sum(shape, Selector("x_total"), 30.0, basis=Selector("all_total") if close else None)])
    ranges = re.findall(r"\[(\d+)s\]", query.text(RANGES))
    closed = re.findall(r"\[(\d+)ms\]", query.text(Ranges(15.0, left_open=False)))
    assert ranges
    assert [int(seconds) * 1000 - 1 for seconds in ranges] == list(map(int, closed))


def test_rare_scrapes_are_looked_for_over_at_least_four() -> None:
    """Scrapes that are far apart are looked for over at least four scrape intervals."""
    text = Ranges(120.0, left_open=True).typed(Sum(Shape.STEP, Selector("x_total"), 120.0))
    assert text.count("x_total[480s] offset 120s") == 1


def test_edges_that_some_histograms_lacked_are_asked_by_group() -> None:
    """The edges that some histograms lacked are asked for by group."""
    (query,) = plan(asks("a", "b", shape=Shape.LAYOUT, by_le=True))
    assert query.text(RANGES) == (
        'sum by (service, le) (count_over_time(x_total{service=~"a|b"}[300s]) ^ 2) / on (service) group_left () '
        'sum by (service) (count_over_time(x_total{le="+Inf",service=~"a|b"}[300s]) ^ 2) < 1'
    )


def test_a_step_asks_if_its_first_sample_has_the_same_edges() -> None:
    """A step asks whether the edges are those of the sample that it counts from."""

    def layout(kind: Range) -> float:
        signal = QuantileSignal(Selector("x_bucket"), 0.95)
        (ask,) = needs(Want("r", "p95", "p", signal, COHORTS, 30.0, kind), Cohort.CANARY, 15.0, Same()).layout
        assert isinstance(ask, Sum)
        return ask.seconds

    assert (layout(Range.WINDOW), layout(Range.STEP)) == (30.0, 90.0)


def test_a_free_query_is_asked_as_it_stands_for_each_cohort() -> None:
    want = Want("r", "q", "window", QuerySignal("canary_query", "control_query"), COHORTS, 300.0, Range.WINDOW)
    assert [RANGES.typed(ask) for cohort in Cohort for ask in needs(want, cohort, 15.0, Same()).at_once] == [
        "control_query",
        "canary_query",
    ]
