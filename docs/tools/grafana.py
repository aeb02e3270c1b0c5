"""Makes the Grafana dashboard, ``deploy/grafana/killswitch.json``, from the metrics that the daemon exposes.

``python -m docs.tools.grafana`` in the repository's root writes it; ``--check`` says whether it is current, which a
unit test asks, too. The datasource is a variable, so that the file can be provisioned anywhere as it is. Every replica
exposes its own view: each query takes the greatest over replicas.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from killswitch.generated_files import write_or_check

COMMAND: Final = "python -m docs.tools.grafana"
DASHBOARD: Final = Path("deploy/grafana/killswitch.json")
OF_THE_CHART: Final = Path("deploy/helm/files/dashboard.json")  # a chart reads no file outside of it
UID: Final = "killswitch"

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_OF: Final = 'rollout=~"$rollout"'
_OF_RULE: Final = 'rollout=~"$rollout",rule=~"$rule"'
# the unit of each part of a rule's chart, by the query's letter: rules have one of these units
_UNITS: Final = {"fraction": "percentunit", "seconds": "s", "number": "none"}
_VERDICTS: Final = {"HEALTHY": ("green", 0), "SUSPECT": ("orange", 2), "BREACH": ("red", 3), "UNKNOWN": ("text", 1)}

Json = dict[str, Any]


def dashboard() -> Json:
    """The dashboard, as Grafana 10 and later take it."""
    panels: list[Json] = []
    panels += _row("Now", 0, [_verdicts(), _percent(), _ages()])
    panels += _row(
        "Rules: both cohorts against the limit, $rule", 1, [_cohorts(), _evidence(), _requests()], repeat="rule"
    )
    panels += _row("The controllers", 2, [_trips(), _trip_seconds(), _cycles(), _surroundings(), _pages()])
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return {
        "uid": UID,
        "title": "LLM canary kill switch",
        "description": "Both cohorts of every rule against its limit, with trips and stages marked.",
        "tags": ["llm", "canary", "killswitch"],
        "editable": True,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_datasource(), _variable("rollout", "rollout"), _variable("rule", "rule")]},
        "annotations": {"list": [_trip_marks(), _stage_marks()]},
        "panels": panels,
    }


def queries(made: Json) -> Iterator[tuple[str, str]]:
    """Every PromQL query of a dashboard, with the name of the panel, annotation or variable that asks it."""
    for panel in made["panels"]:
        for target in panel.get("targets", ()):
            yield str(panel["title"]), str(target["expr"])
    for mark in made["annotations"]["list"]:
        yield str(mark["name"]), str(mark["expr"])


def text() -> str:
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


# --- variables and marks ------------------------------------------------------------------------


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}


def _variable(name: str, label: str) -> Json:
    narrowed = f"{{{_OF}}}" if name == "rule" else ""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values(killswitch_rule_verdict{narrowed}, {label})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _trip_marks() -> Json:
    expr = f"max by (rollout) (killswitch_trip_timestamp_seconds{{{_OF}}}) * 1000"
    return _marks("Trips", "red", expr, "{{rollout}} tripped", "everyone gets control")


def _stage_marks() -> Json:
    expr = f"max by (rollout, stage) (killswitch_stage_timestamp_seconds{{{_OF}}}) * 1000"
    return _marks("Stages", "blue", expr, "{{rollout}}: {{stage}}", "the stage began")


def _marks(name: str, colour: str, expr: str, title: str, said: str) -> Json:
    """Moments that are a series' value in milliseconds: exact, whenever they were scraped."""
    return {
        "name": name,
        "enable": True,
        "iconColor": colour,
        "datasource": _SOURCE,
        "expr": expr,
        "step": "60s",
        "titleFormat": title,
        "textFormat": said,
        "tagKeys": "rollout",
        "useValueForTime": True,
    }


# --- panels -------------------------------------------------------------------------------------


def _row(title: str, place: int, panels: list[Json], *, repeat: str | None = None) -> list[Json]:
    """A heading and its panels, three next to each other."""
    top = place * 20
    head: Json = {
        "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
    }  # fmt: skip
    if repeat is not None:
        head["repeat"] = repeat
    for number, panel in enumerate(panels):
        panel["gridPos"] = {"x": number % 3 * 8, "y": top + 1 + number // 3 * 9, "w": 8, "h": 9}
    return [head, *panels]


def _panel(kind: str, title: str, said: str, targets: list[tuple[str, str]], **defaults: Any) -> Json:
    """``targets``: PromQL and legend of each query. Their letters are A, B, C and so on."""
    return {
        "type": kind,
        "title": title,
        "description": said,
        "datasource": _SOURCE,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for number, (expr, legend) in enumerate(targets)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
    }


def _lines(title: str, said: str, targets: list[tuple[str, str]], **defaults: Any) -> Json:
    panel = _panel("timeseries", title, said, targets, **defaults)
    panel["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    return panel


def _verdicts() -> Json:
    """One lane for each rule: the worst verdict that any replica has of it."""
    worst = " or ".join(
        f'label_replace(max by (rollout, rule) (killswitch_rule_verdict{{{_OF},verdict="{name}"}}) * {rank}, '
        f'"verdict", "{name}", "", "")'
        for name, (_, rank) in _VERDICTS.items()
    )
    mappings = {str(rank): {"text": name, "color": colour, "index": rank} for name, (colour, rank) in _VERDICTS.items()}
    panel = _panel(
        "state-timeline",
        "Verdicts",
        "What each rule says. UNKNOWN is never health.",
        [(f"max by (rollout, rule) ({worst})", "{{rollout}} {{rule}}")],
        mappings=[{"type": "value", "options": mappings}],
    )
    panel["options"] = {"showValue": "never", "mergeValues": True}
    return panel


def _percent() -> Json:
    expr = f"max by (rollout) (killswitch_canary_percent{{{_OF}}})"
    said = "The share of users who get the canary, as the flag says."
    return _lines(
        "Users with the canary", said, [(expr, "{{rollout}}")],
        unit="percent", min=0, custom={"lineInterpolation": "stepAfter"},
    )  # fmt: skip


def _ages() -> Json:
    expr = f"time() - max by (rollout) (killswitch_last_good_evaluation_timestamp_seconds{{{_OF}}})"
    return _lines(
        "Since the last good evaluation", "Over two minutes, no replica sees how the canary does.",
        [(expr, "{{rollout}}")], unit="s", min=0,
    )  # fmt: skip


def _cohorts() -> Json:
    """One panel for each rule. A query for each unit, so that each is printed in its own."""
    targets: list[tuple[str, str]] = []
    overrides: list[Json] = []
    for unit, of_grafana in _UNITS.items():
        for family, by, legend in (
            ("killswitch_rule_value", "rollout, rule, cohort", "{{rollout}} {{cohort}}"),
            ("killswitch_rule_limit", "rollout, rule", "{{rollout}} limit"),
        ):
            letter = chr(ord("A") + len(targets))
            targets.append((f'max by ({by}) ({family}{{{_OF_RULE},unit="{unit}"}})', legend))
            overrides.append({
                "matcher": {"id": "byFrameRefID", "options": letter},
                "properties": [{"id": "unit", "value": of_grafana}],
            })  # fmt: skip
    panel = _lines("Both cohorts and the limit", "In the window, in the rule's unit.", targets)
    dashed = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 4]}}
    overrides.append({"matcher": {"id": "byRegexp", "options": "/limit$/"}, "properties": [dashed]})
    panel["fieldConfig"]["overrides"] = overrides
    return panel


def _evidence() -> Json:
    return _lines(
        "Evidence",
        "If the canary is within its limits, the chance of what was seen is 1 in this. It trips at the line.",
        [
            (f"max by (rollout, rule) (killswitch_rule_evidence{{{_OF_RULE}}})", "{{rollout}}"),
            (f"max by (rollout, rule) (killswitch_rule_evidence_needed{{{_OF_RULE}}})", "{{rollout}} trips at"),
        ],
        custom={"scaleDistribution": {"type": "log", "log": 10}},
        min=1,
    )


def _requests() -> Json:
    expr = f"max by (rollout, rule, cohort) (killswitch_rule_samples{{{_OF_RULE}}})"
    return _lines("Requests in the window", "Of each cohort.", [(expr, "{{rollout}} {{cohort}}")], min=0)


def _trips() -> Json:
    expr = f"sum by (rollout, outcome) (increase(killswitch_trips_total{{{_OF}}}[$__range]))"
    panel = _panel("table", "Trips that were decided", "By outcome, in the time shown.", [(expr, "")])
    panel["targets"][0] |= {"instant": True, "format": "table"}
    return panel


def _trip_seconds() -> Json:
    expr = "histogram_quantile(0.99, sum by (le) (increase(killswitch_trip_seconds_bucket[$__range])))"
    said = "From the tick to the answered commit; 99 of 100 were faster. Not a number where there was no trip."
    return _panel("stat", "Seconds to a flip", said, [(expr, "p99")], unit="s")


def _cycles() -> Json:
    expr = "histogram_quantile(0.99, sum by (instance, le) (rate(killswitch_cycle_seconds_bucket[$__rate_interval])))"
    return _lines("One cycle", "99 of 100 were faster.", [(expr, "{{instance}}")], unit="s", min=0)


def _surroundings() -> Json:
    return _lines(
        "Stores and rules",
        "1: it answered last time, or the newest rule files are in force.",
        [
            ("min by (instance) (killswitch_store_up)", "{{instance}} flag store"),
            ("min by (instance) (killswitch_source_up)", "{{instance}} metric source"),
            ("min by (instance) (killswitch_rules_reload_ok)", "{{instance}} rules"),
        ],
        min=0,
        max=1,
    )


def _pages() -> Json:
    expr = "sum by (receiver, outcome) (increase(killswitch_pages_total[$__rate_interval]))"
    return _lines("Pages", "By receiver and outcome.", [(expr, "{{receiver}} {{outcome}}")], min=0)


def main() -> int:
    return write_or_check({DASHBOARD: text(), OF_THE_CHART: text()}, command=COMMAND, check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
