"""Every query of the Grafana dashboard against the Prometheus of the demo, which scrapes a daemon's own metrics."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import start_http_server

from docs.tools import grafana
from killswitch.demo.pace import Pace
from killswitch.demo.servers import start_prometheus
from killswitch.status import reports
from killswitch.status.self_metrics import SelfMetrics
from tests.doubles import web_pages
from tests.doubles.pages import AT
from tests.servers.etcd import wait_until

SPEED = 30.0  # a scrape a second


@pytest.fixture(name="prometheus", scope="module")
def scraped() -> Iterator[str]:
    metrics = SelfMetrics("1")
    server, thread = start_http_server(0, addr="127.0.0.1", registry=metrics.registry)
    reports.publish(web_pages.report(), None, metrics)
    metrics.store_up.set(1)
    metrics.source_up.set(1)
    metrics.trips.labels(web_pages.NAME, "tripped").inc()
    metrics.trip_seconds.observe(0.7)
    metrics.pages.labels("slack", "delivered").inc()
    running = start_prometheus([f"http://127.0.0.1:{server.server_port}/metrics"], Pace(SPEED))
    try:
        yield running.url.removeprefix("prometheus+")
    finally:
        running.child.stop()
        server.shutdown()
        thread.join(10)


def _asked(prometheus: str, expr: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expr})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{query}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def _filled_in(expr: str) -> str:
    for variable, value in (("$rollout", ".+"), ("$rule", ".+"), ("$__rate_interval", "1m"), ("$__range", "1m")):
        expr = expr.replace(variable, value)
    assert "$" not in expr
    return expr


# no rule of the world has a number without a unit
_NOTHING = {'unit="number"'}


def test_every_query_returns_series(prometheus: str) -> None:
    asked = list(grafana.queries(grafana.dashboard()))
    assert len(asked) > 15
    for title, expr in asked:
        if any(part in expr for part in _NOTHING):
            assert _asked(prometheus, _filled_in(expr)) == []
            continue
        wait_until(lambda: _asked(prometheus, _filled_in(expr)), f"series of {title}: {expr}", seconds=30)  # noqa: B023


def test_a_trip_and_a_stage_are_marked_at_their_time(prometheus: str) -> None:
    marks = {mark["name"]: _filled_in(mark["expr"]) for mark in grafana.dashboard()["annotations"]["list"]}
    wait_until(lambda: _asked(prometheus, marks["Trips"]), "the trip", seconds=30)
    (trip,) = _asked(prometheus, marks["Trips"])
    assert trip["metric"] == {"rollout": web_pages.NAME}
    assert float(trip["value"][1]) == AT * 1000
    stages = {found["metric"]["rollout"]: float(found["value"][1]) for found in _asked(prometheus, marks["Stages"])}
    assert stages["search-answers"] == (AT - 7200) * 1000
    assert web_pages.NAME not in stages


def test_the_variables_find_rollouts_and_rules(prometheus: str) -> None:
    for variable in grafana.dashboard()["templating"]["list"][1:]:
        family, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        wait_until(lambda: _asked(prometheus, _filled_in(family)), "verdicts", seconds=30)  # noqa: B023
        assert all(label in series["metric"] for series in _asked(prometheus, _filled_in(family)))
