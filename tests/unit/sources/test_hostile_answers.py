"""Whatever a metric store answers: a number from a good answer, a reason from any other, never an exception."""

from __future__ import annotations

import copy
import io
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.flags.flag import arm
from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Decide,
    Limits,
    Matcher,
    QuantileSignal,
    QuerySignal,
    RatioSignal,
    Reading,
    Reason,
    Rule,
    Scalar,
    Selector,
    Unit,
    Unreadable,
    Verdict,
    Want,
)
from killswitch.net.bounded_http import NoAnswer
from killswitch.sources.prometheus.session import PrometheusSession
from killswitch.sources.prometheus.source import Prometheus
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import Evaluator
from tests.doubles.scripted_source import rollout

TICK = 1_770_000_000.0
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
ERRORS = Want("r", "errors", "window", RatioSignal((Selector("errors_total"),), (Selector("all_total"),)), COHORTS, 300)
LATENCY = Want("r", "p95", "window", QuantileSignal(Selector("latency_bucket"), 0.95), COHORTS, 300)
FREE = Want("r", "free", "window", QuerySignal("free_canary", "free_control"), COHORTS, 300)
WANTS = (ERRORS, LATENCY, FREE)

Answer = Callable[[str], tuple[int, bytes] | tuple[int, bytes, dict[str, str]]]


class InProcess(HTTPAdapter):
    """Answers queries without a network: query -> status and body."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[dict[str, list[str]]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        form = parse_qs(body)
        self.asked.append(form)
        response = requests.Response()
        response.status_code, content, *headers = self.answer(form["query"][0])
        response.headers.update(*headers)
        response.raw = io.BytesIO(content)
        response.url = request.url or ""
        response.request = request
        return response


class InProcessSession(PrometheusSession):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.transport = InProcess(answer)

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        return self.transport


def read(answer: Answer, *wants: Want) -> dict[str, Reading]:
    source = Prometheus("http://in-process:9090", session=InProcessSession(answer), parallel=1)
    try:
        return {key[1]: reading for key, reading in source.read(wants or WANTS, TICK, Deadline(10)).items()}
    finally:
        source.close()


def reasons(answer: Answer, *wants: Want) -> set[Reason | None]:
    return {
        side.reason if isinstance(side, Unreadable) else None
        for reading in read(answer, *wants).values()
        for side in (reading.canary, reading.control)
    }


def good_rows(query: str) -> list[dict[str, Any]]:
    """What a healthy Prometheus would say: 5 errors of 500 requests in each cohort."""
    if query.startswith("free"):
        return [{"metric": {}, "value": [TICK, "7"]}]
    cohorts = [{"cohort": cohort.value} for cohort in Cohort]
    if query.startswith("max by"):  # how often a counter fell
        bucket = {"le": "+Inf"} if "latency" in query else {}
        return [{"metric": {**labels, **bucket}, "value": [TICK, "0"]} for labels in cohorts]
    if "count_over_time" in query:
        bucket = {"le": "+Inf"} if "latency" in query else {}
        return [{"metric": {**labels, **bucket}, "value": [TICK, "2"]} for labels in cohorts]
    if "latency" in query:
        edges = {"0.1": "100", "0.5": "400", "+Inf": "500"}
        return [
            {"metric": {**labels, "le": edge}, "value": [TICK, count]}
            for labels in cohorts
            for edge, count in edges.items()
        ]
    return [{"metric": labels, "value": [TICK, "5" if "errors" in query else "500"]} for labels in cohorts]


def envelope(rows: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}, **more}).encode()


def test_a_good_answer_gives_numbers() -> None:
    found = read(lambda query: (200, envelope(good_rows(query))))
    assert found["errors"].canary == Counts(5.0, 500.0)
    assert found["p95"].control == Buckets((0.1, 0.5, math.inf), (100.0, 400.0, 500.0))
    assert found["free"].canary == Scalar(7.0)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"<html>please log in</html>", Reason.GARBAGE),
        (200, b"", Reason.GARBAGE),
        (200, b'{"status":"success","data":{"resultType":"vector","result":[', Reason.GARBAGE),
        (200, b"[" * 100_000, Reason.GARBAGE),
        (200, b"null", Reason.GARBAGE),
        (200, b'{"status":"success"}', Reason.GARBAGE),
        (200, b'{"status":"error","data":{"resultType":"vector","result":[]}}', Reason.GARBAGE),
        (200, b'{"status":"success","data":{"resultType":"string","result":[1,"x"]}}', Reason.GARBAGE),
        (200, b'{"status":"success","data":{"resultType":"vector","result":{}}}', Reason.GARBAGE),
        (200, b"1" * 5000, Reason.GARBAGE),
        (200, envelope([]), Reason.NO_DATA),
        (200, envelope([], warnings=["one store did not answer"]), Reason.PARTIAL_ANSWER),
        (200, envelope([], warnings="all is well"), Reason.GARBAGE),
        (401, b"", Reason.SOURCE_REFUSED),
        (403, b"tenant unknown", Reason.SOURCE_REFUSED),
        (404, b"no such page", Reason.SOURCE_REFUSED),
        (422, b'{"status":"error","errorType":"execution"}', Reason.SOURCE_REFUSED),
        (429, b"slow down", Reason.SOURCE_DOWN),
        (500, b"oh", Reason.SOURCE_DOWN),
        (503, b'{"status":"error","errorType":"timeout","error":"query timed out"}', Reason.SOURCE_TIMEOUT),
    ],
)
def test_a_useless_answer_has_its_reason(status: int, body: bytes, reason: Reason) -> None:
    assert reasons(lambda _: (status, body)) == {reason}


@pytest.mark.parametrize(
    "mark",
    [
        {"isPartial": True},  # VictoriaMetrics' vmselect with a store down
        {"isPartial": "true"},
        {"is_partial": 1},
        {"partial": True},
        {"partialResponse": ["store 2"]},
        {"warnings": ["No StoreAPIs matched for this query"]},  # Thanos
    ],
)
def test_an_answer_marked_as_partial_in_any_spelling_is_not_read(mark: dict[str, Any]) -> None:
    """A smaller number of good answers is a higher share of errors: a false kill."""
    assert reasons(lambda query: (200, envelope(good_rows(query), **mark))) == {Reason.PARTIAL_ANSWER}


def test_a_servers_clock_is_read_though_a_store_behind_it_is_down() -> None:
    """The time comes from no store; a source without a clock would be called down, and not partial."""
    session = InProcessSession(lambda _: (200, envelope([{"metric": {}, "value": [TICK, str(TICK)]}], isPartial=True)))
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    assert source.now(Deadline(10)) == TICK
    source.close()


def test_a_mark_inside_the_data_counts_as_well() -> None:
    def answer(query: str) -> tuple[int, bytes]:
        document = json.loads(envelope(good_rows(query)))
        document["data"]["isPartial"] = True
        return 200, json.dumps(document).encode()

    assert reasons(answer) == {Reason.PARTIAL_ANSWER}


@pytest.mark.parametrize("mark", [{"isPartial": False}, {"partial": None}, {"stats": {"seriesFetched": "4"}}])
def test_an_answer_that_says_it_is_whole_is_read(mark: dict[str, Any]) -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query), **mark))) == {None}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("M3-Results-Limited", "max_fetch_series_limit_applied", Reason.PARTIAL_ANSWER),
        ("X-Partial-Response", "true", Reason.PARTIAL_ANSWER),
        ("X-Partial-Response", "false", None),
        ("M3-Results-Limited", "", None),
    ],
)
def test_a_header_can_say_that_an_answer_is_partial(name: str, value: str, reason: Reason | None) -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query)), {name: value})) == {reason}


def test_every_query_asks_for_a_whole_answer_or_none() -> None:
    session = InProcessSession(lambda query: (200, envelope(good_rows(query))))
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    source.read(WANTS, TICK, Deadline(10))
    source.close()
    assert session.transport.asked
    for form in session.transport.asked:
        assert (form["deny_partial_response"], form["partial_response"]) == (["1"], ["false"])
        assert form["latency_offset"] == ["1s"]
    assert session.headers["M3-Limit-Require-Exhaustive"] == "true"


def test_a_denied_partial_response_is_a_partial_answer() -> None:
    """A 503 because a partial response is denied counts as a partial answer."""
    said = b'{"status":"error","errorType":"503","error":"cannot fetch results: partial response is denied"}'
    assert reasons(lambda _: (503, said)) == {Reason.PARTIAL_ANSWER}


def test_parameters_that_a_server_refuses_are_left_out() -> None:
    """As Google's front ends do."""
    session = InProcessSession(lambda query: (200, envelope(good_rows(query))))
    good = session.transport.answer

    def answer(query: str) -> Any:
        if "partial_response" in session.transport.asked[-1]:
            return 400, b'{"error":{"code":400,"message":"Unknown name \\"partial_response\\": Cannot bind"}}'
        return good(query)

    session.transport.answer = answer
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    found = source.read(WANTS, TICK, Deadline(10))
    before = len(session.transport.asked)
    source.read(WANTS, TICK + 30, Deadline(10))
    source.close()
    assert found["r", "errors", "window"].canary == Counts(5.0, 500.0)
    assert not any("partial_response" in form for form in session.transport.asked[before:])


def test_infos_and_old_style_warnings_are_no_partial_answer() -> None:
    """Infos, and what old servers call warnings, are no partial answer."""
    found = reasons(
        lambda query: (
            200,
            envelope(good_rows(query), infos=["metric might not be a counter"], warnings=["PromQL info: the same"]),
        )
    )
    assert found == {None}


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-1"])
def test_a_number_no_counter_can_have_is_numeric(number: str) -> None:
    def answer(query: str) -> tuple[int, bytes]:
        rows = good_rows(query)
        if "increase" in query:
            rows = [{**row, "value": [TICK, number]} for row in rows]
        return 200, envelope(rows)

    assert reasons(answer, ERRORS) == {Reason.NUMERIC}
    assert reasons(answer, LATENCY) == {Reason.NUMERIC}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: {**row, "value": [TICK, 7]},
        lambda row: {**row, "value": [TICK, "seven"]},
        lambda row: {**row, "value": [TICK, "1_0"]},
        lambda row: {**row, "value": [TICK]},
        lambda row: {**row, "value": [TICK - 60, "7"]},
        lambda row: {**row, "value": [str(TICK), "7"]},
        lambda row: {**row, "value": None},
        lambda row: {"metric": row["metric"], "histogram": [TICK, {"count": "7"}]},
        lambda row: {**row, "metric": None},
        lambda row: {**row, "metric": {**row["metric"], "le": 7}},
        lambda _: "row",
        lambda _: None,
    ],
)
def test_a_row_of_wrong_shape_is_garbage_and_never_a_number(spoil: Callable[[dict[str, Any]], Any]) -> None:
    found = reasons(lambda query: (200, envelope([*map(spoil, good_rows(query))])))
    assert found == {Reason.GARBAGE}


def test_series_told_twice_or_grouped_by_other_labels_are_garbage() -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query) * 2)), ERRORS, LATENCY) == {Reason.GARBAGE}
    stranger = {"metric": {"cohort": "canary", "pod": "a"}, "value": [TICK, "5"]}
    assert reasons(lambda query: (200, envelope([*good_rows(query), stranger])), ERRORS) == {Reason.GARBAGE}


def test_several_series_of_a_free_query_are_refused() -> None:
    assert reasons(lambda query: (200, envelope(good_rows(query) * 2)), FREE) == {Reason.SEVERAL_SERIES}


def test_a_histogram_without_its_last_bucket_is_garbage() -> None:
    def answer(query: str) -> tuple[int, bytes]:
        rows = good_rows(query)
        if "increase" in query:
            rows = [row for row in rows if row["metric"].get("le") != "+Inf"]
        return 200, envelope(rows)

    assert reasons(answer, LATENCY) == {Reason.GARBAGE}


@pytest.mark.parametrize("failing", ["errors_total", "latency_bucket", "free_canary"])
def test_one_failing_query_hurts_its_own_wants_alone(failing: str) -> None:
    found = read(lambda query: (500, b"") if failing in query else (200, envelope(good_rows(query))))
    hurt = {rule for rule, reading in found.items() if isinstance(reading.canary, Unreadable)}
    assert hurt == {{"errors_total": "errors", "latency_bucket": "p95", "free_canary": "free"}[failing]}
    assert isinstance(found["free"].control, Scalar)


def test_an_expected_failure_of_the_transport_has_its_reason() -> None:
    def refuse(_: str) -> tuple[int, bytes]:
        raise NoAnswer(Unavailable("nobody there"), sent=False)

    def denied(_: str) -> tuple[int, bytes]:
        raise NoAnswer(AccessDenied("bad certificate"), sent=False)

    def late(_: str) -> tuple[int, bytes]:
        raise NoAnswer(Unavailable("too late"), sent=True) from TimeoutError()

    def broken(_: str) -> tuple[int, bytes]:
        raise ZeroDivisionError

    assert reasons(refuse) == {Reason.SOURCE_DOWN}
    assert reasons(denied) == {Reason.SOURCE_REFUSED}
    assert reasons(late) == {Reason.SOURCE_TIMEOUT}
    assert reasons(broken) == {Reason.INTERNAL_ERROR}


def test_the_clock_raises_what_the_caller_can_act_on() -> None:
    def now(status: int, body: bytes) -> float:
        source = Prometheus("http://in-process:9090", session=InProcessSession(lambda _: (status, body)))
        try:
            return source.now(Deadline(10))
        finally:
            source.close()

    scalar = b'{"status":"success","data":{"resultType":"scalar","result":[1770000000.5,"1770000000.5"]}}'
    assert now(200, scalar) == 1_770_000_000.5
    with pytest.raises(AccessDenied):
        now(401, b"")
    for body in (b"<html>", scalar.replace(b'"1770000000.5"', b'"NaN"'), envelope([])):
        with pytest.raises(Unavailable):
            now(200, body)


# --- anything at all ----------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["NaN", "1", "-5", "+Inf"]),
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["metric", "value", "values", "le", "cohort", "status", "data", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
labels = st.dictionaries(
    st.sampled_from(["cohort", "le", "pod"]),
    st.sampled_from(["canary", "control", "+Inf", "0.1", ""]) | scalars,
    max_size=3,
)
values = st.lists(st.sampled_from([TICK, TICK + 1, "1"]) | scalars, min_size=1, max_size=3)
rows = st.fixed_dictionaries({"metric": labels | scalars}, optional={"value": values | scalars, "values": json_values})
documents = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["success", "success", "success", "error"]) | scalars,
        "data": st.fixed_dictionaries(
            {
                "resultType": st.sampled_from(["vector", "vector", "matrix", "scalar", "string"]) | scalars,
                "result": st.lists(rows | json_values, max_size=5) | json_values,
            }
        )
        | json_values,
    },
    optional={"warnings": json_values, "infos": json_values},
)
bodies = st.one_of(
    documents.map(lambda document: json.dumps(document).encode()),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: ("<html>" + text).encode(errors="replace")),
    st.tuples(documents, st.integers(0, 200)).map(lambda cut: json.dumps(cut[0]).encode()[: cut[1]]),
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[tuple[Prometheus, InProcessSession]]:
    session = InProcessSession(lambda _: (200, b""))
    source = Prometheus("http://in-process:9090", session=session, parallel=1)
    yield source, session
    source.close()


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.tuples(bodies, bodies, bodies, bodies), st.sampled_from([200, 200, 200, 200, 204, 302, 400, 503]))
def test_any_body_gives_no_exception_and_possible_numbers(
    hostile: tuple[Prometheus, InProcessSession], answers: tuple[bytes, ...], status: int
) -> None:
    """A body of any shape gives no exception, and only numbers that are possible."""
    source, session = hostile
    turn = iter(range(1_000_000))
    session.transport.answer = lambda _: (status, answers[next(turn) % len(answers)])
    check_possible(source.read(WANTS, TICK, Deadline(10)).values(), status)


@pytest.mark.parametrize("seed", range(10))
def test_10000_spoiled_answers_give_only_possible_numbers(
    seed: int, hostile: tuple[Prometheus, InProcessSession]
) -> None:
    """Ten thousand good answers, spoiled, give no exception and only numbers that are possible."""
    luck = random.Random(seed)
    source, session = hostile
    asked = 0

    def answer(query: str) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        return 200, spoiled(json.loads(envelope(good_rows(query))), luck)

    session.transport.answer = answer
    while asked < 1_000:
        check_possible(source.read(WANTS, TICK, Deadline(10)).values(), 200)


@pytest.mark.parametrize("seed", range(10))
def test_no_garbage_in_10000_answers_is_judged_a_breach(
    seed: int, hostile: tuple[Prometheus, InProcessSession]
) -> None:
    """Of numbers that are none, of wrong types, of HTML and of half an answer: whatever can still be judged is well."""
    luck = random.Random(seed)
    source, session = hostile
    asked = 0

    def answer(query: str) -> tuple[int, bytes]:
        nonlocal asked
        whole = envelope(good_rows(query))
        if luck.random() < 0.5:  # garbage beside whole answers: what can be judged is
            return 200, whole
        asked += 1
        return 200, garbled(json.loads(whole), luck)

    session.transport.answer = answer
    verdicts: Counter[Verdict] = Counter()
    flag = arm(None, rollout="r", control="a", canary="b", percent=5.0, stage="x", now=TICK - 7200.0, by="ann")
    rule = Rule("error_rate", ERRORS.signal, Limits(maximum=0.02), Unit.FRACTION)
    armed = ArmedRollout(rollout("r", (rule,), decide=Decide.THRESHOLD), flag, flag.armed_at)
    while asked < 1_000:
        evaluator = Evaluator(interval=30.0, step=30.0)
        readings = source.read(evaluator.wants([armed], TICK), TICK, Deadline(10))
        verdicts.update(finding.verdict for finding in evaluator.judge([armed], TICK, readings)["r"])
    assert verdicts[Verdict.BREACH] == 0
    assert verdicts[Verdict.HEALTHY]
    assert verdicts[Verdict.UNKNOWN]


GARBAGE: tuple[Any, ...] = (
    "NaN", "+Inf", "-Inf", "-3", "0x10", "1e400", "", "500 ", "5_0_0", "\u0665\u0660\u0660", None, True, 7.5, 10**400,
    [], {}, "\ud800",
)  # fmt: skip


def garbled(document: Any, luck: random.Random) -> bytes:
    """A good answer with a number that is none, of which half is missing, or in whose place stands something else."""
    body = json.dumps(document).encode()
    match luck.randrange(6):
        case 0:
            return body[: luck.randrange(len(body))]
        case 1:
            return luck.choice((b"", b"<html>", b"null", b"[]", b'{"status":"error"}', b"\xff\xfe", b"{" * 100_000))
        case _:
            rows = document["data"]["result"]
            luck.choice(rows)["value"] = luck.choice((luck.choice(GARBAGE), [TICK, luck.choice(GARBAGE)]))
            return json.dumps(document).encode()


JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    7.5,
    1e999,
    "",
    "NaN",
    "-3",
    "+Inf",
    "0x10",
    "1e400",
    "\ud800",
    [],
    {},
    [[]],
    {"metric": {}},
    TICK,
)


def spoiled(document: Any, luck: random.Random) -> bytes:
    """A good answer with one to four of its parts removed, replaced, doubled; some with bytes cut or changed."""
    for _ in range(luck.randint(1, 4)):
        parts: list[tuple[Any, Any]] = []
        todo = [document]
        while todo:
            part = todo.pop()
            keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
            parts += [(part, key) for key in keys]
            todo += [part[key] for key in keys]
        if not parts:
            break
        part, key = luck.choice(parts)
        match luck.randrange(4):
            case 0:
                del part[key]
            case 1 if isinstance(part, list):
                part.append(copy.deepcopy(part[key]))
            case 2 if isinstance(part, dict):
                part[luck.choice(["le", "metric", "value", "values", "warnings", "pod", "data"])] = copy.deepcopy(
                    part[key]
                )
            case _:
                part[key] = copy.deepcopy(luck.choice(JUNK))
    body = bytearray(json.dumps(document).encode())
    match luck.randrange(6):
        case 0:
            del body[luck.randrange(len(body)) :]
        case 1:
            body[luck.randrange(len(body))] = luck.randrange(256)
    return bytes(body)


def check_possible(found: Iterable[Reading], status: int) -> None:
    for reading in found:
        for side in (reading.canary, reading.control):
            match side:
                case Counts(events, trials):
                    assert 0 <= events < math.inf
                    assert 0 <= trials < math.inf
                    assert status == 200
                case Buckets(bounds, counts):
                    assert bounds[-1] == math.inf
                    assert list(bounds) == sorted(bounds)
                    assert list(counts) == sorted(counts)
                    assert all(0 <= count < math.inf for count in counts)
                case Scalar(value):
                    assert math.isfinite(value)
                case Unreadable(reason, detail):
                    assert reason is not Reason.INTERNAL_ERROR, detail
                    assert detail
