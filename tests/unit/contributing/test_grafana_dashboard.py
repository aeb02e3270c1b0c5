"""The Grafana dashboard: current, provisioned anywhere as it is, and asking only for what the daemon exposes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docs.tools import grafana
from killswitch.flags.flag import trip
from killswitch.flags.transitions import Actor
from killswitch.status.self_metrics import SelfMetrics
from tests.doubles.pages import AT, armed

REPOSITORY = Path(__file__).parents[3]
_FAMILY = re.compile(r"killswitch_[a-z_]+")


def test_the_dashboard_is_current() -> None:
    for path in (grafana.DASHBOARD, grafana.OF_THE_CHART):
        assert (REPOSITORY / path).read_text(encoding="utf-8") == grafana.text()


def test_the_datasource_is_a_variable_and_nothing_is_an_input() -> None:
    """``__inputs`` breaks provisioning, and a fixed uid is another one in every Grafana."""
    made = json.loads(grafana.text())
    assert "__inputs" not in made
    assert set(re.findall(r'"uid": "([^"]*)"', grafana.text())) == {"${datasource}", grafana.UID}
    assert [one["name"] for one in made["templating"]["list"]] == ["datasource", "rollout", "rule"]


def test_every_query_asks_for_families_that_exist() -> None:
    known = {family.name for family in SelfMetrics("1").registry.collect()}
    for title, expr in grafana.queries(grafana.dashboard()):
        for name in _FAMILY.findall(expr):
            assert re.sub(r"_(total|bucket)$", "", name) in known, (title, name)


def test_panels_have_ids_titles_and_places_of_their_own() -> None:
    panels = grafana.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_marks_are_the_moments_themselves() -> None:
    """A trip is marked at its own time, in milliseconds, whenever it was scraped."""
    metrics = SelfMetrics("1")
    flag = armed()
    metrics.flag("copilot", flag)
    name = "killswitch_stage_timestamp_seconds"
    assert metrics.registry.get_sample_value(name, {"rollout": "copilot", "stage": flag.stage}) == flag.stages[-1].at
    stopped = trip(
        flag, rollout=flag.rollout, reason="x", rules=(), incident="i", now=AT, by="c", actor=Actor.CONTROLLER
    )
    metrics.flag("copilot", stopped)
    assert metrics.registry.get_sample_value(name, {"rollout": "copilot", "stage": flag.stage}) is None
    assert metrics.registry.get_sample_value("killswitch_trip_timestamp_seconds", {"rollout": "copilot"}) == AT
    metrics.forget("copilot")
    assert metrics.registry.get_sample_value("killswitch_trip_timestamp_seconds", {"rollout": "copilot"}) is None
    marks = grafana.dashboard()["annotations"]["list"]
    assert all(mark["useValueForTime"] and mark["expr"].endswith("* 1000") for mark in marks)
