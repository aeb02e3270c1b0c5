"""Evidence from a real Prometheus: a restarted replica judges as one that never stopped, bad canaries and healthy ones.

The history is made by promtool: six rollouts of two hours, counters scraped every 15 s with a phase of their own.
Replicas are accumulators on a virtual clock over the real source, restarted every ten minutes or never.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from killswitch.deadline import Deadline
from killswitch.flags.flag import arm
from killswitch.model import Counts, Matcher, Rollout
from killswitch.sources import Source
from killswitch.sources.opening import open_source
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.evidence_view import EvidenceView
from tests.doubles.scripted_source import ALL_RULES, BOUNDS, COHORTS, rollout
from tests.servers.prometheus import PrometheusServer, openmetrics

START = 1_776_600_000.0
SCRAPE = 15.0
WARM, LIVE = 3600.0, 3600.0
ARMED = START + WARM
ONSET = ARMED + 1200.0
BAD = {"errors": 0.20, "refuses": 0.25, "disliked": 0.06}
HEALTHY = ("calm", "bursty", "restarts")
REQUESTS = {"control": 140.0, "canary": 10.0}  # a scrape
USUAL = {"errors_total": 0.01, "refusals_total": 0.011, "thumbs_total": 0.005}
BROKEN = {"errors": "errors_total", "refuses": "refusals_total", "disliked": "thumbs_total"}


def recording() -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for number, name in enumerate([*BAD, *HEALTHY]):
        luck = random.Random(number)
        for cohort in ("control", "canary"):
            labels = f'rollout="{name}",cohort="{cohort}"'
            totals = dict.fromkeys(["requests_total", *USUAL], 0)
            buckets = [0] * len(BOUNDS)
            for scrape in range(int((WARM + LIVE) / SCRAPE) + 1):
                at = START + scrape * SCRAPE + 3.7 * (number + 1) % SCRAPE
                if cohort == "canary" and at < ARMED:
                    continue
                if name == "restarts" and scrape == 350:  # the service begins again: counters at zero
                    totals, buckets = dict.fromkeys(totals, 0), [0] * len(BOUNDS)
                made = max(0, round(luck.gauss(REQUESTS[cohort], REQUESTS[cohort] ** 0.5)))
                totals["requests_total"] += made
                common = 8 if name == "bursty" and scrape % 70 < 4 else 1  # both cohorts at once
                for metric, usual in USUAL.items():
                    bad = cohort == "canary" and at > ONSET and BROKEN.get(name) == metric
                    share = BAD[name] if bad else usual * common
                    totals[metric] += sum(luck.random() < share for _ in range(made))
                for _ in range(made):
                    slow = luck.lognormvariate(0.0, 0.5)
                    for index, bound in enumerate(BOUNDS):
                        buckets[index] += slow <= bound
                for metric, value in totals.items():
                    series.setdefault(f"{metric}{{{labels}}}", []).append((at, value))
                for bound, value in zip(BOUNDS, buckets, strict=True):
                    le = "+Inf" if bound == float("inf") else f"{bound:g}"
                    series.setdefault(f'latency_bucket{{{labels},le="{le}"}}', []).append((at, value))
    return openmetrics(series)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with PrometheusServer(tmp_path_factory.mktemp("evidence"), history=recording()) as server:
        opened = open_source(f"prometheus+{server.url}", scrape_interval=SCRAPE)
        yield opened
        opened.close()


def all_armed() -> list[ArmedRollout]:
    found: list[ArmedRollout] = []
    for name in [*BAD, *HEALTHY]:
        flag = arm(
            None,
            rollout=name,
            control="model-old",
            canary="model-new",
            percent=5.0,
            stage="ramp_5",
            now=ARMED,
            by="ann",
        )
        mine = (Matcher("rollout", "=", name),)
        cohorts = {cohort: (*mine, *matchers) for cohort, matchers in COHORTS.items()}
        usual = rollout(name, ALL_RULES)
        rules = Rollout(name, usual.control, usual.canary, cohorts, usual.rules)
        found.append(ArmedRollout(rules, flag, flag.armed_at))
    return found


def judged(
    source: Source, *, restart_every: int | None
) -> tuple[dict[str, tuple[float, str]], dict[str, EvidenceView]]:
    """When each rollout first had a breach and of which rule; and what is known at the end."""
    everybody = all_armed()
    accumulator = EvidenceAccumulator(step=30.0)
    first: dict[str, tuple[float, str]] = {}
    for number in range(1, int(LIVE / 30.0)):
        tick = ARMED + 30.0 * number
        if restart_every is not None and number % restart_every == 0:
            accumulator = EvidenceAccumulator(step=30.0)
        catch_up(source, accumulator, everybody, tick, Deadline(30.0))
        for armed in everybody:
            for rule in armed.rollout.rules:
                view = accumulator.view_for(armed, rule)
                if view is not None and view.value >= view.needed:
                    first.setdefault(armed.rollout.name, (tick, rule.name))
    views = {
        f"{armed.rollout.name} {rule.name}": view
        for armed in everybody
        for rule in armed.rollout.rules
        if (view := accumulator.view_for(armed, rule)) is not None
    }
    return first, views


def test_restarts_change_neither_what_a_replica_sees_nor_when(source: Source) -> None:
    """A replica that restarts every ten minutes sees the same, at the same time, as one that never stopped."""
    steady, steady_views = judged(source, restart_every=None)
    restarted, restarted_views = judged(source, restart_every=20)
    assert steady == restarted
    assert sorted(steady) == sorted(BAD)
    rules = {"errors": "error_rate", "refuses": "refusal_rate", "disliked": "thumbs_down_rate"}
    assert {name: rule for name, (_, rule) in steady.items()} == rules
    assert all(ONSET < at <= ONSET + 900 for at, _ in steady.values())
    assert steady_views.keys() == restarted_views.keys()
    for key, view in steady_views.items():
        other = restarted_views[key]
        assert view.value == pytest.approx(other.value, rel=1e-6)
        assert (view.since, view.until, view.updated_at) == (other.since, other.until, other.updated_at)
        assert view.trials_canary == pytest.approx(other.trials_canary, rel=1e-6)
        assert view.events_canary == pytest.approx(other.events_canary, rel=1e-6, abs=1e-6)


def test_what_was_counted_is_what_was_made(source: Source) -> None:
    """Disjoint steps lose nothing and count nothing twice: an hour of them is the counter's own difference."""
    armed = next(armed for armed in all_armed() if armed.rollout.name == "calm")
    wants = EvidenceAccumulator(step=30.0).wants(armed)
    want = next(want for want in wants if want.rule == "error_rate")
    ticks = [ARMED + 60.0 + 30.0 * number for number in range(100)]
    readings = source.read_back([want], ticks, Deadline(30.0))
    counted = [readings[tick][want.key].control for tick in ticks]
    trials = sum(one.trials for one in counted if isinstance(one, Counts))
    assert trials == pytest.approx(100 * 2 * REQUESTS["control"], rel=0.02)
