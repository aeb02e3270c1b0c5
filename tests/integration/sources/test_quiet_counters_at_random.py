"""The cheap question about quiet counters, of random pods: to the bit what the full one answers at the same moment.

Samples may come late. So there is a metric for each tick, with the samples that had arrived by then, and every query
of a tick is about its metric. One Prometheus has them all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Matcher, Selector
from killswitch.sources.asks import Ask, Shape, Sum
from killswitch.sources.columns import Answers, Column
from killswitch.sources.prometheus.source import Prometheus
from tests.servers.prometheus import PrometheusServer, openmetrics

START = 1_770_000_000.0
STEP, SCRAPE = 30.0, 15.0
TICKS = [START + STEP * at for at in range(4, 30)]
FLEETS = 80
LAG = 5.0  # seconds after a tick at which it is read
EDGES = ("0.1", "1.0", "+Inf")
JUMPS = (2**20, 2**28 - 1, 2**28, 2**28 + 7, 3 * 2**28, 2**32 - 1, 2**32, 2**33 + 1)
MISHAPS = (
    *("", "", "", "dies", "born", "gap", "restarts", "dips", "jumps", "fractions", "nan", "an edge comes"),
    *("late", "late dip", "late restart"),
)

Sample = tuple[float, float, float]  # when it was taken, when it arrived, value


@dataclass
class Pod:
    """One process: what each of its series showed, and when that arrived."""

    name: str
    series: dict[str, list[Sample]] = field(default_factory=lambda: {"requests": [], **{edge: [] for edge in EDGES}})


def _totals(mishap: str, scrapes: int, when: range, chance: random.Random) -> Iterator[float | None]:
    """What the pod shows at each scrape; None where it is not scraped. It has its mishap at the scrapes ``when``."""
    total, share, jump = chance.choice([0.0, 5.0, 1000.0, 2.0**40]), chance.choice([0, 1, 3, 10]), chance.choice(JUMPS)
    for at in range(scrapes):
        total += chance.randint(0, share) + (0.1 if mishap == "fractions" else 0.0)
        if at == when.start:
            total = {"restarts": 1.0, "late restart": 0.0, "jumps": total + jump}.get(mishap, total)
        born = mishap != "born" or at >= when.start
        gone = (mishap == "dies" and at >= when.start) or (mishap == "gap" and at in when)
        if gone or not born:
            yield None
        elif at in when and mishap == "nan":
            yield math.nan
        else:
            yield total // 3 if at in when and mishap in {"dips", "late dip"} else total


def _pod(name: str, chance: random.Random) -> Pod:
    """Some have no mishap: the counters of a fleet are to be quiet most of the time."""
    scrapes = int((TICKS[-1] - START) / SCRAPE) + 1
    offset = chance.choice([0.0, 0.0, 2.5, 14.999, 0.001, chance.randrange(15_000) / 1000])
    mishap = chance.choice(MISHAPS)
    begins = chance.randrange(8, scrapes - 4)
    when = range(begins, begins + chance.choice([1, 1, 2, 3, 5, 8]))
    pod = Pod(name)
    for at, total in enumerate(_totals(mishap, scrapes, when, chance)):
        stamp = START + SCRAPE * at + offset
        late = mishap.startswith("late") and at in when
        arrives = 0.5 + (START + SCRAPE * when.stop + offset if late else stamp)
        for number, (key, samples) in enumerate(pod.series.items()):
            if total is None or (mishap == "an edge comes" and key == "0.1" and at < begins):
                continue
            whole = key in {"requests", "+Inf"} or math.isnan(total)
            samples.append((stamp, arrives, total if whole else total * number // 4))
    return pod


def _fleet(number: int) -> list[Pod]:
    chance = random.Random(number)
    pods = [_pod(f"pod-{at}", chance) for at in range(chance.choice([1, 2, 2, 3, 4]))]
    if chance.random() < 0.2:  # one takes the place of another, at what it had counted or at nothing
        old, at, new = pods[0], START + SCRAPE * chance.randrange(10, 50), Pod("heir")
        falls_to = chance.choice([0.0, 1.0])
        for key, samples in old.series.items():
            new.series[key] = [(stamp, came, value * falls_to) for stamp, came, value in samples if stamp >= at]
            old.series[key] = [one for one in samples if one[0] < at]
        pods.append(new)
    return pods


def _asks() -> list[Sum]:
    asks = []
    for number in range(FLEETS):
        fleet = Matcher("fleet", "=", str(number))
        asks.append(Sum(Shape.STEP, Selector("requests_total", (fleet,)), STEP))
        asks.append(Sum(Shape.STEP, Selector("latency_bucket", (fleet,)), STEP, by_le=True))
    return asks


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    series: dict[str, list[tuple[float, float]]] = {}
    for number in range(FLEETS):
        for pod in _fleet(number):
            for key, samples in pod.series.items():
                labels = f'fleet="{number}",instance="{pod.name}"' + ("" if key == "requests" else f',le="{key}"')
                metric = "requests_total" if key == "requests" else "latency_bucket"
                for at, tick in enumerate(TICKS):
                    seen = [(stamp, value) for stamp, arrived, value in samples
                            if arrived <= tick + LAG and tick - 420 < stamp]  # fmt: skip
                    series[f"at{at}_{metric}{{{labels}}}"] = seen
    folder: Path = tmp_path_factory.mktemp("at-random")
    with PrometheusServer(folder, history=openmetrics(series)) as server:
        yield server


class Moment:
    """A source that is asked at the moment of one tick after the other."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = Prometheus(url, timeout=30.0)
        self.at = 0
        body = self.source._client.body

        def of_this_moment(text: str, *rest: object) -> bytes:
            for metric in ("requests_total", "latency_bucket"):
                text = text.replace(metric, f"at{self.at}_{metric}")
            return body(text, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(self.source._client, "body", of_this_moment)

    def steps(self, asks: Sequence[Ask], at: int) -> Answers:
        self.at = at
        self.source._dialect.learn(TICKS[at], Deadline(30))
        return self.source._steps_at(asks, frozenset(), [TICKS[at]], Deadline(30))

    def cheap(self, asks: Sequence[Sum], at: int) -> Mapping[Ask, Column]:
        """What the cheap question says, whether or not it would be asked."""
        self.at = at
        self.source._dialect.learn(TICKS[at], Deadline(30))
        planned = self.source._plan_quick(tuple(asks), self.source._dialect.ranges)
        parts = [self.source._client.columns(query, text, [TICKS[at]], Deadline(30)) for query, text in planned]
        return {ask: part[ask] for part in parts for ask in part}


def _differing(found: Answers, expected: Answers) -> dict[Ask, tuple[Column, Column]]:
    """In print, since NaN is like itself there."""
    return {ask: (found[ask], expected[ask]) for ask in found if repr(found[ask]) != repr(expected[ask])}


def test_random_pods_read_as_by_a_new_replica(server: PrometheusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Born, dead, restarted, away, late, lower, far higher, with fractions, not a number: at every tick the same."""
    asks, running = _asks(), Moment(server.url, monkeypatch)
    for at in range(len(TICKS)):
        fresh = Moment(server.url, monkeypatch)
        expected = fresh.steps(asks, at)
        fresh.source.close()
        wrong = _differing(running.steps(asks, at), expected)
        assert not wrong, (at, wrong)
    running.source.close()


def test_a_cheap_number_is_the_full_one_at_any_time(server: PrometheusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was known before is needed: each number proves itself."""
    asks, source, numbers = _asks(), Moment(server.url, monkeypatch), 0
    for at in range(len(TICKS)):
        fresh = Moment(server.url, monkeypatch)
        expected = fresh.steps(asks, at)
        fresh.source.close()
        found = {ask: column for ask, column in source.cheap(asks, at).items() if column != [None]}
        numbers += len(found)
        wrong = _differing(found, expected)
        assert not wrong, (at, wrong)
    assert numbers > len(asks) * len(TICKS) / 6  # or hardly anything was compared
    source.source.close()
