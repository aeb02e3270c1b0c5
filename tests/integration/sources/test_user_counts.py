"""Users counted by a label, step by step: every source counts the same ones, and each storm once in five minutes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.model import (
    Cohort,
    Counts,
    Matcher,
    Measurement,
    Range,
    RatioSignal,
    Reason,
    Selector,
    Unreadable,
    Want,
)
from killswitch.sources import Source, user_counts
from killswitch.sources.opening import open_source
from killswitch.sources.prometheus import user_queries
from tests.servers.prometheus import PrometheusServer, keep_as_scraped, openmetrics

SOURCES = ("prometheus", "scrape", "recording")
COHORTS = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}
START = (time.time() // 3600 - 1) * 3600
STEP, SCRAPES = 30.0, 100
Points = list[tuple[float, float]]


def points(counts: list[int], first: int = 0) -> Points:
    """A counter's samples, one each 15 s, 5 s after the step begins; ``counts`` are what it had counted."""
    return [(START + 5 + 15 * (first + at), float(count)) for at, count in enumerate(counts)]


def all_series() -> dict[str, Points]:
    found: dict[str, Points] = {}

    def add(case: str, user: str, counts: list[int], *, kind: str = "ok", pod: str = "a", first: int = 0) -> None:
        name = f'q_total{{case="{case}",cohort="canary",instance="{pod}",kind="{kind}",end_user="{user}"}}'
        found[name] = points(counts, first)

    steady = list(range(1, SCRAPES + 1))
    # a user who fails in each scrape from the 25th on, next to one who never does
    add("storm", "calm", steady)
    add("storm", "stormy", [0] * 25 + list(range(1, SCRAPES - 24)), kind="error")
    # the first request of a user makes the counter, at 1
    add("born", "old", steady)
    add("born", "new", [1] * 60, first=40)
    add("born", "failed", [1] * 60, kind="error", first=40)
    # one pod of two comes back after ten minutes with all that it had counted
    add("back", "steady", steady)
    for user in range(5):
        name = f'q_total{{case="back",cohort="canary",instance="b",kind="error",end_user="{user}"}}'
        found[name] = [*points([7] * 20), *points([8] * 30, first=60)]
    # a restart
    add("restart", "one", [*range(50, 90), *range(1, 61)])
    # requests without a user count one by one
    add("unnamed", "None", [3 * at for at in range(SCRAPES)])
    add("unnamed", "", [2 * at for at in range(SCRAPES)])
    add("unnamed", "named", [5 * at for at in range(SCRAPES)])
    luck = random.Random(7)
    for user in range(40):
        for kind, often in (("ok", 0.3), ("error", 0.03)):
            begins = luck.choice([0, 0, luck.randrange(80)])
            counts, value = [], luck.randrange(3)
            for _ in range(SCRAPES - begins):
                value += luck.random() < often
                counts.append(value)
            add("random", str(user), counts, kind=kind, pod=luck.choice("ab"), first=begins)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("users")
    text = openmetrics(all_series())
    (folder / "recording.om").write_text(text)
    keep_as_scraped(text, folder / "samples.sqlite")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[PrometheusServer]:
    with PrometheusServer(folder / "prometheus", history=(folder / "recording.om").read_text()) as server:
        yield server


def opened(name: str, folder: Path, server: PrometheusServer) -> Source:
    match name:
        case "prometheus":
            return open_source(f"prometheus+{server.url}", scrape_interval=15)
        case "recording":
            return open_source(f"recording://{folder / 'recording.om'}", scrape_interval=15)
        case _:
            return open_source("scrape+http://127.0.0.1:9", scrape_interval=15, samples=folder / "samples.sqlite")


def want(case: str, kind: Range = Range.STEP, seconds: float = STEP) -> Want:
    matchers = (Matcher("case", "=", case),)
    events = Selector("q_total", (*matchers, Matcher("kind", "=", "error")))
    signal = RatioSignal((events,), (Selector("q_total", matchers),), "end_user")
    return Want(case, "error_rate", "step", signal, COHORTS, seconds, kind)


def read(source: Source, case: str, ticks: list[float]) -> list[Measurement]:
    found = source.read_back([want(case)], ticks, Deadline(30.0))
    return [found[tick][case, "error_rate", "step"].canary for tick in ticks]


def steps(first: int, last: int) -> list[float]:
    return [START + STEP * at for at in range(first, last + 1)]


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, folder: Path, server: PrometheusServer) -> Iterator[Source]:
    source = opened(request.param, folder, server)
    yield source
    source.close()


def test_a_storm_counts_once_in_five_minutes(source: Source) -> None:
    """The storm begins in step 13, and the five minutes of the clock in step 21, 31 and 41."""
    found = read(source, "storm", steps(12, 45))
    counts = [each for each in found if isinstance(each, Counts)]
    assert len(counts) == len(found)
    assert [at for at, each in enumerate(counts, 12) if each.events == 1] == [13, 21, 31, 41]
    assert all(each.trials == (2 if each.events else 1) for each in counts)


def test_a_users_first_request_counts(source: Source) -> None:
    assert read(source, "born", steps(20, 22)) == [Counts(0, 1), Counts(1, 3), Counts(0, 1)]


def test_what_a_pod_brings_back_counts_nothing(source: Source) -> None:
    """Five users of ten minutes ago come back with their pod in one step: that step has no answer, and no later one."""
    found = read(source, "back", steps(30, 33))
    assert isinstance(found[1], Unreadable)
    assert found[1].reason is Reason.GAP
    assert [found[0], *found[2:]] == [Counts(0, 1)] * 3


def test_a_restart_loses_one_step(source: Source) -> None:
    assert read(source, "restart", steps(20, 22)) == [Counts(0, 1), Counts(0, 0), Counts(0, 1)]


def test_requests_without_a_user_count_one_by_one(source: Source) -> None:
    assert read(source, "unnamed", steps(10, 11)) == [Counts(0, 11)] * 2


def test_every_source_counts_the_same_users(folder: Path, server: PrometheusServer) -> None:
    """Also when ticks are asked one by one, as the daemon does, and between the steps of the grid."""
    ticks = [*steps(5, 50), *(tick + 7 for tick in steps(11, 40))]
    by_source = [read(opened(name, folder, server), "random", ticks) for name in SOURCES]
    one_by_one = [read(opened("prometheus", folder, server), "random", [tick])[0] for tick in ticks]
    assert by_source[0] == by_source[1] == by_source[2] == one_by_one
    assert sum(each.events for each in one_by_one if isinstance(each, Counts)) > 20


def test_too_many_counters_are_unknown(folder: Path, server: PrometheusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a Prometheus is not asked again for ten minutes."""
    for module in (user_counts, user_queries):
        monkeypatch.setattr(module, "MOST_SERIES", 30)
    for name in SOURCES:
        source = opened(name, folder, server)
        (found,) = read(source, "random", steps(30, 30))
        assert isinstance(found, Unreadable)
        assert "20,000" in found.detail
        assert "remove `per`" in found.detail
        monkeypatch.setattr(user_queries, "MOST_SERIES", 20_000)
        assert isinstance(read(source, "random", steps(31, 31))[0], Unreadable)
        source.close()
