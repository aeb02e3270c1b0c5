"""The series that every source is to read alike: counters, buckets and layouts, scrape by scrape."""

from __future__ import annotations

import random
import time

from killswitch.model import Cohort
from tests.servers.prometheus import openmetrics

# on the grid of every step used here, and recent enough for `scrape`, which forgets after 25 hours
START = (time.time() // 3600 - 1) * 3600
MINUTES = 20
INTERVALS = (10, 15, 20, 30, 60)

Points = list[tuple[float, float]]


def counter(interval: float, phase: float, seed: int, *, mean: float = 20, already: float = 1_000_000) -> Points:
    """A counter that has been counting for long, scraped exactly every ``interval`` seconds."""
    luck, value, points = random.Random(seed), already, []
    for at in range(int(MINUTES * 60 / interval)):
        value += luck.randint(0, int(2 * mean))
        points.append((START + at * interval + phase, value))
    return points


def cases(interval: int) -> dict[str, Points]:
    def of(phase: float, seed: int = 1) -> Points:
        return counter(interval, phase, seed)

    half = interval / 2
    burst = [(stamp, value + (100 if at > 20 else 0)) for at, (stamp, value) in enumerate(of(0.0))]
    reset = [(stamp, value - (1_000_000 if at >= 17 else 0)) for at, (stamp, value) in enumerate(of(half))]
    late = [(stamp + (0.4 * interval if at == 14 else 0.0), value) for at, (stamp, value) in enumerate(of(0.1))]
    luck = random.Random(2)
    jitter = [(round(stamp + luck.uniform(-0.2, 0.2), 3), value) for stamp, value in of(half)]
    return {
        "aligned": of(0.0),
        "just-after": of(0.001),
        "just-before": of(interval - 0.001),
        "half-way": of(half),
        "burst": burst,
        "reset": reset,
        "late": late,
        "missing": [point for at, point in enumerate(of(half)) if at not in {11, 12}],
        "appears": of(half)[9:],
        "ends": of(half)[: -int(420 / interval)],
        "jitter": jitter,
        "from-zero": counter(interval, half, 3, already=0),
    }


def recording() -> str:
    series: dict[str, Points] = {}
    for interval in INTERVALS:
        for case, points in cases(interval).items():
            for cohort in Cohort:
                labels = f'case="{case}",cohort="{cohort}"'
                series[f'requests_{interval}_total{{{labels},instance="a"}}'] = points
                series[f'requests_{interval}_total{{{labels},instance="b"}}'] = counter(interval, 3.217, 9)
                for le, share in (("100", 0.25), ("250.0", 0.5), ("1000", 0.9), ("+Inf", 1.0)):
                    name = f'latency_{interval}_bucket{{{labels},instance="a",le="{le}"}}'
                    series[name] = [(stamp, share * value) for stamp, value in points]
            labels = f'case="{case}",cohort="canary",instance="a"'
            series[f"errors_{interval}_total{{{labels}}}"] = [(stamp, value // 10) for stamp, value in points]
            # of instance a alone, so that its own gaps show
            series[f"alone_{interval}_total{{{labels}}}"] = points
    series |= mixed_layouts() | changed_layouts()
    return openmetrics(series)


LAYOUTS = {
    "some": (("100", "250.0", "1000", "+Inf"), ("100.0", "500", "1000", "+Inf")),
    "none": (("100", "+Inf"), ("200", "+Inf")),
}


def mixed_layouts() -> dict[str, Points]:
    """Two pods each; the second has other buckets, and twice the requests. The control's have the same ones."""
    series = {}
    for case, of_canary in LAYOUTS.items():
        for cohort in Cohort:
            for pod in (0, 1):
                for le in of_canary[pod if cohort is Cohort.CANARY else 0]:
                    share = min(1.0, float(le) / 2000)
                    name = f'mixed_bucket{{case="{case}",cohort="{cohort}",le="{le}",pod="{pod}"}}'
                    series[name] = [(stamp, share * value) for stamp, value in counter(15, 2.5, pod)]
    return series


CHANGES = [(first, missed) for first in (40, 41) for missed in (0, 3)]  # the first scrape that is other, and how


# many were missed before it; with the first at 40, the change falls between two steps
def changed_layouts() -> dict[str, Points]:
    """Two pods each: ``respelt`` by an upgrade to Prometheus 3; ``redeployed``, where one gets other buckets."""
    series: dict[str, Points] = {}
    for first, missed in CHANGES:
        for pod in (0, 1):
            points = counter(15, 2.5, pod)
            restarts = pod == 0
            before, after = points[:first], points[first + missed :]
            for case, old, new in (
                ("respelt", ("2.5", "100", "1000", "+Inf"), ("2.5", "100.0", "1000.0", "+Inf")),
                ("redeployed", *((("100", "1000", "+Inf"), ("100", "500", "+Inf")) if restarts else (_ALL, _ALL))),
            ):
                for les, some in ((old, before), (new, after)):
                    zero = before[-1][1] if case == "redeployed" and restarts and some is after else 0.0
                    for le in les:
                        name = f'changed_bucket{{case="{case}-{first}-{missed}",cohort="canary",le="{le}",pod="{pod}"}}'
                        grown = [(stamp, true_share(float(le)) * (value - zero)) for stamp, value in some]
                        series.setdefault(name, []).extend(grown)
    return series


_ALL = ("100", "500", "1000", "+Inf")


def true_share(edge: float) -> float:
    return min(1.0, edge / 2000)
