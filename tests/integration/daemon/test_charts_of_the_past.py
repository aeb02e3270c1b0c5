"""A chart after a restart, filled from a real Prometheus: what it has, as it has it, and a gap where it has nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from killswitch.controller.trend_filling import TrendFilling
from killswitch.sources import Source
from killswitch.sources.opening import open_source
from killswitch.trends.memory import TrendMemory
from killswitch.trends.trend import Span
from tests.doubles.clock import VirtualClock
from tests.doubles.scripted_source import ERRORS, rollout
from tests.servers.prometheus import PrometheusServer, openmetrics

UNTIL = 1_776_609_000.0  # 2026-04-19 14:30 UTC, where steps of every length but the longest end
HOUR = 3600.0
SCRAPES = 15.0


def _history() -> str:
    """Seven hours: the canary is there for the last three, and fails ten times as often in the last one."""
    series: dict[str, list[tuple[float, float]]] = {}
    for cohort, since in (("control", UNTIL - 7 * HOUR), ("canary", UNTIL - 3 * HOUR)):
        requests = errors = 0.0
        named = {
            name: series.setdefault(f'{name}{{cohort="{cohort}"}}', []) for name in ("requests_total", "errors_total")
        }
        for number in range(round((UNTIL + 60 - since) / SCRAPES)):
            at = since + number * SCRAPES
            bad = cohort == "canary" and at > UNTIL - HOUR
            named["requests_total"].append((at, requests))
            named["errors_total"].append((at, errors))
            requests += 100.0
            errors += 10.0 if bad else 1.0
    return openmetrics(series)


@pytest.fixture(name="source", scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), history=_history()) as server:
        source = open_source(f"prometheus+{server.url}", scrape_interval=SCRAPES)
        yield source
        source.close()


def _filled(source: Source, span: Span) -> tuple[list[float | None], list[float | None], list[float | None]]:
    """Canary, control and limit over a span, in a replica that has just started."""
    memory, rules = TrendMemory(), {"copilot": rollout(rules=(ERRORS,))}
    filling = TrendFilling(memory, source, rollouts=lambda: rules, monotonic=VirtualClock().monotonic)
    assert filling.want("copilot", span, UNTIL)
    filling.look()
    (rule,) = memory.trend("copilot", span, UNTIL).rules
    return (
        [one.canary for one in rule.moments],
        [one.control for one in rule.moments],
        [one.limit for one in rule.moments],
    )


def test_the_last_hour_is_as_the_metric_store_has_it(source: Source) -> None:
    canary, control, limit = _filled(source, Span.HOUR)
    assert len(canary) == 60
    assert canary[-40:] == [pytest.approx(0.1, rel=0.02)] * 40
    assert control == [pytest.approx(0.01, rel=0.02)] * 60
    assert limit == [pytest.approx(0.02)] * 60


def test_before_the_canary_there_is_a_gap_and_control_goes_on(source: Source) -> None:
    canary, control, _ = _filled(source, Span.SIX_HOURS)
    assert canary[:29] == [None] * 29
    assert canary[35:48] == [pytest.approx(0.01, rel=0.02)] * 13
    assert canary[-8:] == [pytest.approx(0.1, rel=0.02)] * 8
    assert None not in control[1:]


def test_a_day_that_is_mostly_unknown_is_mostly_a_gap(source: Source) -> None:
    canary, control, _ = _filled(source, Span.DAY)
    assert canary[:40] == [None] * 40
    assert control[:33] == [None] * 33
    assert canary[-1] == pytest.approx(0.1, rel=0.02)
