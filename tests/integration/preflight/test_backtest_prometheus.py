"""Back-tests against a real Prometheus whose blocks promtool made: the same trips as from the recording itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.histories import MONDAY, Behaviour, History, openmetrics
from killswitch.errors import Unavailable
from killswitch.preflight.backtest.backtest import backtest
from killswitch.preflight.backtest.results import RolloutHistory, Terms
from killswitch.rules.loading import load_folder
from killswitch.sources.prometheus.source import Prometheus
from killswitch.sources.recording import Recording
from tests.servers.etcd import free_ports
from tests.servers.prometheus import PrometheusServer

HOUR = 3600.0
AT_THE_LIMIT = Behaviour(errors=0.02, refusals=0.061, thumbs_down=0.01)
RULES = """\
rollout: {name}
control: model-old
canary: model-new
match: {{service: {name}}}
rules:
  error_rate: {{max: 2%}}
  latency_p95: {{max_ratio: 1.5}}
  refusal_rate: {{max_increase: 5pp}}
  thumbs_down_rate: {{max_ratio: 2.0}}
decide: {decide}
"""


@dataclass(frozen=True)
class Expected:
    """What a history should lead to: no trip, or one by this rule so many seconds after the onset at most."""

    history: History
    rule: str | None = None
    within: float = 0.0


def _scenarios(interval: float) -> dict[str, Expected]:
    common = History(seconds=2.5 * HOUR, scrape_interval=interval, jitter=min(0.4, interval / 50))
    late = replace(common, onset=1.5 * HOUR)
    return {
        "healthy": Expected(common),
        "at-the-limit": Expected(replace(common, canary=AT_THE_LIMIT, seed=2)),
        "aligned": Expected(replace(common, offset=0.0, jitter=0.0, seed=3)),
        "restarts": Expected(replace(common, restarts=(HOUR, 1.4 * HOUR, 1.41 * HOUR), seed=4)),
        "gaps": Expected(replace(common, gaps=((HOUR, HOUR + 400), (1.6 * HOUR, 1.6 * HOUR + 45)), seed=5)),
        "missed": Expected(replace(common, missed=0.05, seed=6)),
        "swapped": Expected(replace(common, percent=95, seed=7)),
        "bursts": Expected(replace(common, clump=6, seed=8)),
        "heavy-tails": Expected(replace(common, control=Behaviour(spread=1.1), canary=Behaviour(spread=1.1), seed=9)),
        "errors": Expected(replace(late, canary=Behaviour(errors=0.1), seed=10), "error_rate", 600),
        "refusals": Expected(replace(late, canary=Behaviour(refusals=0.2), seed=11), "refusal_rate", 600),
        "slow": Expected(replace(late, canary=Behaviour(median=1.7), seed=12), "latency_p95", 900),
        "thumbs": Expected(replace(late, canary=Behaviour(thumbs_down=0.05), seed=13), "thumbs_down_rate", 1200),
        "errors-after-restart": Expected(
            replace(late, canary=Behaviour(errors=0.1), restarts=(1.5 * HOUR + 40,), seed=14), "error_rate", 600
        ),
        "errors-in-a-gap": Expected(
            replace(late, canary=Behaviour(errors=0.1), gaps=((1.48 * HOUR, 1.52 * HOUR),), seed=15), "error_rate", 900
        ),
        "judged": Expected(replace(late, canary=Behaviour(refusals=0.2), judged=True, seed=16), "refusal_rate", 600),
    }


def _rules(folder: Path, names: list[str], decide: str = "evidence") -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.yaml").write_text(RULES.format(name=name, decide=decide))
    return folder


def _trips(histories: tuple[RolloutHistory, ...]) -> dict[str, list[tuple[str, float]]]:
    return {one.rollout.name: [(trip.rule, trip.at) for trip in one.trips] for one in histories}


@pytest.mark.parametrize("interval", [10.0, 15.0, 20.0, 30.0, 60.0])
def test_prometheus_and_its_recording_give_the_same_trips(tmp_path: Path, interval: float) -> None:
    """Prometheus and the recording it was made of give the same trips, and only those that are due."""
    scenarios = _scenarios(interval)
    text = openmetrics(*(replace(each.history, labels={"service": name}) for name, each in scenarios.items()))
    (tmp_path / "history.om").write_text(text)
    rollouts = load_folder(_rules(tmp_path / "rules", list(scenarios))).rollouts
    recording = Recording(tmp_path / "history.om", scrape_interval=interval)
    terms = Terms(*recording.span, step=interval * math.ceil(30 / interval))
    recorded = backtest(recording, rollouts, terms)
    with PrometheusServer(tmp_path / "prometheus", history=text) as server:
        source = Prometheus(server.url, scrape_interval=interval, timeout=60)
        asked = backtest(source, rollouts, terms)
        source.close()
    assert _trips(asked) == _trips(recorded)
    for one in asked:
        expected = scenarios[one.rollout.name]
        assert [trip.rule for trip in one.trips] == ([expected.rule] if expected.rule else []), one.rollout.name
        for trip in one.trips:
            delay = trip.at - expected.history.onset_at
            assert 0 < delay <= expected.within, (one.rollout.name, delay)


def test_the_bare_rule_is_the_same_by_prometheus_and_recording(tmp_path: Path) -> None:
    history = History(
        seconds=1.5 * HOUR, onset=HOUR, canary=Behaviour(refusals=0.2), labels={"service": "bare"}, rate=20, seed=3
    )
    (tmp_path / "history.om").write_text(openmetrics(history))
    rollouts = load_folder(_rules(tmp_path / "rules", ["bare"], decide="threshold")).rollouts
    recording = Recording(tmp_path / "history.om")
    terms = Terms(*recording.span, rearm_after=600.0)
    with PrometheusServer(tmp_path / "prometheus", history=openmetrics(history)) as server:
        source = Prometheus(server.url, timeout=60)
        asked = backtest(source, rollouts, terms)
        source.close()
    assert _trips(asked) == _trips(backtest(recording, rollouts, terms))
    assert any(trip.rule == "refusal_rate" and trip.at > MONDAY + HOUR for trip in asked[0].trips)


def test_a_prometheus_that_is_down_is_an_error(tmp_path: Path) -> None:
    """A Prometheus that is down is an error, not a history without trips."""
    rollouts = load_folder(_rules(tmp_path / "rules", ["gone"])).rollouts
    source = Prometheus(f"http://127.0.0.1:{free_ports(1)[0]}", timeout=5)
    with pytest.raises(Unavailable, match="no answer"):
        backtest(source, rollouts, Terms(MONDAY, MONDAY + HOUR))
    source.close()
