"""What a store has, as a real Prometheus and a recording say it: the same, bounded, and an error where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from bench.histories import MONDAY, History, openmetrics
from killswitch.deadline import Deadline
from killswitch.model import Matcher, Reason, Selector, Unreadable
from killswitch.sources.inventory import MOST_VALUES, ListsMetrics
from killswitch.sources.prometheus.source import Prometheus
from killswitch.sources.recording import Recording
from tests.doubles.http_double import Answer, HttpDouble
from tests.servers.prometheus import PrometheusServer

HISTORY = History(seconds=7200.0, labels={"job": "copilot"})
AT = MONDAY + 7200.0
REQUESTS = Selector("llm_requests_total")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, ListsMetrics]]:
    """The same samples; also a counter with a value of a label for each of 200 users."""
    folder = tmp_path_factory.mktemp("inventory")
    users = [
        f'users_total{{user="u{user}"}} {user * tick} {AT - 300 + 15 * tick}'
        for user in range(200)
        for tick in range(20)
    ]
    text = "\n".join([*openmetrics(HISTORY).splitlines()[:-1], *users, "# EOF", ""])
    (folder / "x.om").write_text(text)
    with PrometheusServer(folder / "prometheus", history=text) as server:
        source = Prometheus(server.url)
        yield {"prometheus": source, "recording": Recording(folder / "x.om")}
        source.close()


@pytest.fixture(params=["prometheus", "recording"])
def store(request: pytest.FixtureRequest, stores: Mapping[str, ListsMetrics]) -> ListsMetrics:
    return stores[request.param]


def within() -> Deadline:
    return Deadline(20.0)


def test_names_labels_and_values_are_those_of_the_samples(store: ListsMetrics) -> None:
    names = store.metric_names(None, AT, within())
    assert not isinstance(names, Unreadable)
    assert {"llm_requests_total", "llm_latency_ms_bucket", "users_total"} <= names
    having = store.metric_names(Matcher("outcome", "=", "error"), AT, within())
    assert having == frozenset({"llm_requests_total"})
    assert store.label_names("llm_requests_total", AT, within()) == frozenset({"model", "cohort", "outcome", "job"})
    assert store.label_values("cohort", AT, within()) == frozenset({"control", "canary"})
    assert store.metric_names(Matcher("cohort", "=", 'x"} or up{a="'), AT, within()) == frozenset()


def test_growth_is_counted_by_the_values_of_labels(store: ListsMetrics) -> None:
    growth = store.growth(REQUESTS, ("cohort", "model"), 3600.0, AT, within())
    assert not isinstance(growth, Unreadable)
    found = {tuple(row.labels.values()): row.growth for row in growth.rows}
    assert list(found) == [("control", "model-old"), ("canary", "model-new")]
    assert found["control", "model-old"] == pytest.approx(50 * 3600 * 0.95, rel=0.02)
    assert not growth.more


def test_of_many_values_the_largest_alone_are_answered(store: ListsMetrics) -> None:
    growth = store.growth(Selector("users_total"), ("user",), 300.0, AT, within())
    assert not isinstance(growth, Unreadable)
    assert growth.more
    assert len(growth.rows) == MOST_VALUES
    assert growth.rows[0].labels == {"user": "u199"}


def test_series_and_scrapes_are_counted(store: ListsMetrics) -> None:
    assert store.series_count(Selector("users_total"), AT, within()) == 200
    assert store.series_count(Selector("nothing_total"), AT, within()) == 0
    assert store.typical_interval(REQUESTS, AT, within()) == pytest.approx(15.0)
    nothing = store.typical_interval(Selector("nothing_total"), AT, within())
    assert isinstance(nothing, Unreadable)
    assert nothing.reason is Reason.NO_DATA


def test_a_server_that_is_gone_answers_nothing_as_empty() -> None:
    """Each question is Unreadable, and none is an empty answer."""
    gone = Prometheus("http://127.0.0.1:9")
    answers = [
        gone.metric_names(None, AT, within()),
        gone.label_names("up", AT, within()),
        gone.label_values("job", AT, within()),
        gone.series_count(REQUESTS, AT, within()),
        gone.growth(REQUESTS, ("cohort",), 60.0, AT, within()),
        gone.typical_interval(REQUESTS, AT, within()),
    ]
    gone.close()
    assert [answer.reason for answer in answers if isinstance(answer, Unreadable)] == [Reason.SOURCE_DOWN] * 6


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"status":"success","data":["up"],"warnings":["store 2 is down"]}', Reason.PARTIAL_ANSWER),
        ('{"status":"success","isPartial":true,"data":["up"]}', Reason.PARTIAL_ANSWER),
        ('{"status":"success","data":{"up":1}}', Reason.GARBAGE),
        ('{"status":"success","data":[1]}', Reason.GARBAGE),
        ('{"status":"error","data":["up"]}', Reason.GARBAGE),
        ("<html>", Reason.GARBAGE),
    ],
)
def test_a_part_of_a_list_is_no_list(body: str, reason: Reason) -> None:
    """And a store behind the server that is down was asked to be an error, also of names."""
    with HttpDouble(lambda _: Answer(body=body.encode())) as server:
        source = Prometheus(server.url)
        answers = [
            source.metric_names(None, AT, within()),
            source.metric_names(Matcher("job", "=", "x"), AT, within()),
            source.label_names("up", AT, within()),
            source.label_values("job", AT, within()),
        ]
        source.close()
        asked = [request.path + request.body.decode() for request in server.received]
    assert [answer.reason for answer in answers if isinstance(answer, Unreadable)] == [reason] * 4
    assert all("partial_response=false" in one and "start=" in one for one in asked)
