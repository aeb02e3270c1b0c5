"""At 100 % a stored baseline stands in for control: what it knows, what it does not, and which one is in force."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from killswitch.cli.baseline import _measure
from killswitch.deadline import Deadline
from killswitch.errors import Refused
from killswitch.model import Buckets, Counts, Reading, Readings, Want
from killswitch.pages.page import PageKind
from killswitch.stores import Put, keys
from killswitch.verdicts.baseline import Baseline, to_document
from tests.doubles.fleet import START, Fleet
from tests.doubles.memory_store import Fault
from tests.doubles.scripted_source import ERRORS, LATENCY, REFUSALS, Traffic, canary_from, rollout

ONSET = START + 900
VALUES = {"error_rate": 0.01, "refusal_rate": 0.011}


def stored(fleet: Fleet, values: dict[str, float], name: str = "copilot") -> None:
    document = to_document(Baseline(name, 1, START, 86_400.0, values))
    fleet.server.commit("x", (), (Put(keys.baseline(name, 1), document),))


def at_100_percent(values: dict[str, float], *names: str, **rates: float) -> Fleet:
    """`copilot` goes to 100 % and has ``rates`` from `ONSET` on; others stay where they are."""
    bad = canary_from(ONSET, **rates)
    rules = (ERRORS, REFUSALS)
    fleet = Fleet(Traffic(rate=bad, since=START - 4000), *(rollout(name, rules) for name in ("copilot", *names)))
    fleet.replica("a")
    for name in ("copilot", *names):
        fleet.arm(name)
    fleet.run(5)
    stored(fleet, values)
    fleet.person.set_stage("copilot", percent=100.0, stage="all")
    return fleet


def test_a_canary_over_the_baseline_is_tripped() -> None:
    fleet = at_100_percent(VALUES, refusal_rate=0.3)
    assert fleet.run(60, until=fleet.tripped) < 60


def test_a_rule_the_baseline_does_not_know_is_paged_as_blind() -> None:
    """It was left out: a renamed rule was judged by nobody, and the rollout called healthy."""
    fleet = at_100_percent({"error_rate": 0.01}, refusal_rate=0.3)
    fleet.run(20)
    assert "1 of 2 rules healthy" in fleet.sentences()[0]
    assert "the stored baseline has no value of this rule" in fleet.sentences()[0]
    (page,) = fleet.pages(PageKind.RULE_BLIND)
    assert "refusal_rate" in page.headline


def test_a_baseline_that_knows_no_rule_is_blindness() -> None:
    fleet = at_100_percent({"renamed": 0.01}, error_rate=0.3)
    fleet.run(10)
    assert fleet.pages(PageKind.BLIND)


@pytest.mark.parametrize("value", [-1.0, 1e308])
def test_a_value_that_no_service_has_stops_no_other_rollout(value: float) -> None:
    """It raised out of every cycle, so nothing was judged."""
    fleet = at_100_percent({"error_rate": 0.01, "refusal_rate": value}, "other", error_rate=0.3)
    assert fleet.run(60, until=lambda: fleet.tripped("other") and fleet.tripped()) < 60


def test_a_newer_baseline_replaces_the_one_in_force() -> None:
    """A replica that ran on kept the first one of the generation; one that was restarted had the newer."""
    fleet = at_100_percent({**VALUES, "refusal_rate": 0.9}, refusal_rate=0.3)
    fleet.run(40)
    assert not fleet.tripped()
    stored(fleet, VALUES)
    assert fleet.run(40, until=fleet.tripped) < 40


def test_baselines_that_cannot_be_read_cost_no_rollout_its_flag() -> None:
    """Such as by a role of etcd without that right."""
    fleet = at_100_percent(VALUES, "other", error_rate=0.3)
    fleet.replicas[0].fail_store(
        lambda call: Fault.FAIL_BEFORE if call.name == "list" and "baselines" in str(call) else None
    )
    assert fleet.run(60, until=lambda: fleet.tripped("other")) < 60
    assert fleet.pages(PageKind.CANNOT_ACT) == fleet.told() == []


class Measured:
    """A source with the last day's counts of both cohorts, by part."""

    def __init__(self, parts: dict[str, Reading]) -> None:
        self._parts = parts

    def now(self, deadline: Deadline) -> float:
        return START

    def read(self, wants: Sequence[Want], tick: float, deadline: Deadline) -> Readings:
        return {want.key: self._parts[want.part] for want in wants}

    def read_back(self, wants: Sequence[Want], ticks: Sequence[float], deadline: Deadline) -> Mapping[float, Readings]:
        return {tick: self.read(wants, tick, deadline) for tick in ticks}

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(("share", "stored_value"), [(0.02, 0.03), (0.3, 0.01)])
def test_a_baseline_is_of_the_counters_that_will_be_judged(share: float, stored_value: float) -> None:
    """One pod of many with judged twins was all of the baseline, and plain counters were held against it at 100 %."""
    rule = replace(ERRORS, per_user=REFUSALS.signal)
    plain, first = Counts(3e4, 1e6), Counts(1e4 * share, 1e6 * share)
    source = Measured({"window": Reading(plain, plain, 86_400.0), "per_user": Reading(first, first, 86_400.0)})
    found, samples = _measure(source, rollout(rules=(rule,)), 1)
    assert found.values["error_rate"] == pytest.approx(stored_value)
    assert samples["error_rate"] == (1e6 if stored_value == 0.03 else 1e6 * share)


def test_a_latency_above_the_last_bucket_is_no_baseline() -> None:
    """It was stored as an infinity, which no reader takes: at 100 % nothing was judged."""
    slow = Buckets((1.0, math.inf), (0.0, 1e6))
    source = Measured({"window": Reading(slow, slow, 86_400.0)})
    with pytest.raises(Refused, match="above the histogram's last bucket"):
        _measure(source, rollout(rules=(LATENCY,)), 1)
