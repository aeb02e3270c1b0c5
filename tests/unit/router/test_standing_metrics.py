"""The router's own state as metrics: every series from the start, one standing at a time."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from killswitch.router.failsafe import RouterState
from killswitch.router.observers import Happening
from killswitch.router.snapshot import ObeyedFlag
from killswitch.router.standing_metrics import StandingMetrics
from tests.doubles.held_split import armed


def snapshot(standing: RouterState, percent: float = 5.0) -> ObeyedFlag:
    split = armed(percent, generation=7, revision=4711)
    return ObeyedFlag(percent, "", split.control_route, split.canary_route, standing, "why", None, 7, 4711)


def standings(registry: CollectorRegistry, rollout: str) -> set[str]:
    name = "killswitch_router_standing"
    return {s for s in RouterState if registry.get_sample_value(name, {"rollout": rollout, "standing": s.value}) == 1.0}


def test_what_is_obeyed_is_exported_and_one_standing_holds() -> None:
    registry = CollectorRegistry()
    metrics = StandingMetrics("copilot", registry)
    assert standings(registry, "copilot") == set()
    metrics.settled(snapshot(RouterState.ARMED))
    assert standings(registry, "copilot") == {RouterState.ARMED}
    metrics.settled(snapshot(RouterState.TRIPPED, 0.0))
    assert standings(registry, "copilot") == {RouterState.TRIPPED}
    for name, value in (("canary_percent", 0.0), ("generation", 7.0), ("revision", 4711.0)):
        assert registry.get_sample_value(f"killswitch_router_{name}", {"rollout": "copilot"}) == value


def test_what_happens_is_counted_from_0() -> None:
    registry = CollectorRegistry()
    metrics = StandingMetrics("copilot", registry)
    for what in Happening:
        labels = {"rollout": "copilot", "what": what.value}
        assert registry.get_sample_value("killswitch_router_events_total", labels) == 0.0
        metrics.happened(what)
        assert registry.get_sample_value("killswitch_router_events_total", labels) == 1.0


def test_two_rollouts_share_a_registry_and_not_their_values() -> None:
    registry = CollectorRegistry()
    one, other = StandingMetrics("one", registry), StandingMetrics("other", registry)
    one.settled(snapshot(RouterState.ARMED))
    other.settled(snapshot(RouterState.CUT_OFF, 0.0))
    assert standings(registry, "one") == {RouterState.ARMED}
    assert standings(registry, "other") == {RouterState.CUT_OFF}
