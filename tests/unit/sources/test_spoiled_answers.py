"""Bodies of any shape, and ten thousand good answers spoiled: no exception, and only numbers that are possible."""

from __future__ import annotations

import copy
import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from killswitch.deadline import Deadline
from killswitch.flags.flag import arm
from killswitch.model import Buckets, Counts, Decide, Limits, Reading, Reason, Rule, Scalar, Unit, Unreadable, Verdict
from killswitch.sources.prometheus.source import Prometheus
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import Evaluator
from tests.doubles.scripted_source import rollout
from tests.unit.sources.in_process import ERRORS, TICK, WANTS, InProcessSession, envelope, good_rows

pytestmark = pytest.mark.simulation

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
