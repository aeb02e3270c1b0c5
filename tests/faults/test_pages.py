"""The pagers fail, or have too much to say: rows 15 and 16."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from killswitch.stores import keys
from killswitch.timestamps import from_iso
from tests.doubles.http_double import Answer
from tests.doubles.slack import bad_gateway, error, rate_limited
from tests.faults.figures import figure
from tests.faults.fleet import ROLLOUT, Fleet, started
from tests.faults.service import HEALTHY
from tests.servers.etcd import wait_until


def test_a_failing_slack_delays_no_flip_and_the_fallback_is_used(tmp_path: Path) -> None:
    """Row 15: black-holed, 5xx, 429 with Retry-After, a revoked token, one after another, in one fleet."""
    with started(tmp_path, webhook=True, settings={"FALLBACK_AFTER": "8s"}) as fleet:
        _trip(fleet)  # with a healthy Slack, for comparison
        wait_until(lambda: len(fleet.pages("tripped")) == 1, "the page")
        assert fleet.webhook.pages == []
        for number, trouble in enumerate((None, bad_gateway(), rate_limited(2), error("token_revoked")), 2):
            _mend(fleet)
            _break(fleet, trouble)
            _trip(fleet)
            wait_until(lambda: _reached(fleet, number), "the fallback")  # noqa: B023
            _heal(fleet)
            wait_until(lambda: len(fleet.pages("tripped, ")) >= number, "Slack, after all", 90)  # noqa: B023
        latencies = [_latency(fleet, index) for index in range(5)]
        figure(
            f"row 15: tick to decision with Slack well {latencies[0]:.2f} s; ill {[round(x, 2) for x in latencies[1:]]}"
        )
        assert len(fleet.flips()) == 5


def _trip(fleet: Fleet) -> None:
    fleet.fail()
    fleet.until_tripped()


def _mend(fleet: Fleet) -> None:
    fleet.service.set(HEALTHY)
    fleet.for_cycles(3)
    fleet.rearm()
    fleet.until_healthy()


def _break(fleet: Fleet, trouble: Answer | None) -> None:
    if trouble is None:
        for replica in fleet.replicas:
            replica.to_slack.black_hole()
    else:
        fleet.slack.fail_always(trouble)


def _heal(fleet: Fleet) -> None:
    fleet.slack.fail_always(None)
    for replica in fleet.replicas:
        replica.to_slack.heal()


def _reached(fleet: Fleet, generation: int) -> bool:
    return any(page.get("incident") == f"{ROLLOUT}.{generation}" for page in fleet.webhook.pages)


def _latency(fleet: Fleet, index: int) -> float:
    """From the tick to the making of the transaction."""
    incident = fleet.incidents()[index]
    return from_iso(incident["decided_at"]) - from_iso(incident["tick"])


@pytest.mark.timeout(900)
def test_a_thousand_breaches_at_once_all_flip_before_their_pages(tmp_path: Path) -> None:
    """Row 16, at the default interval: all flips within one cycle, at most a message a second, flips before pages."""
    names = [f"r{number:04d}" for number in range(1000)]
    settings = {
        "INTERVAL": "30s", "LAG": "1s", "CYCLE_DEADLINE": "15s", "SCRAPE_INTERVAL": "10s", "MAX_EVIDENCE_AGE": "60s",
        "FALLBACK_AFTER": "120s",
    }  # fmt: skip
    with Fleet(tmp_path, replicas=2, rollouts=names, settings=settings, rules=_one_rule, scrape="10s") as fleet:
        fleet.start(patience=300)
        began = time.monotonic()
        fleet.fail()
        wait_until(
            lambda: not any(s.flag and s.flag.armed for s in fleet.person.everything()[0].values()), "flips", 400
        )
        took = time.monotonic() - began
        fleet.max_age = 60.0
        fleet.check()
        ticks = {change.document()["tick"] for change in fleet.history.of(keys.INCIDENTS) if change.value is not None}
        last = len(fleet.slack.messages)
        figure(
            f"row 16: 1000 flips cite {len(ticks)} ticks, all within {took:.0f} s of the fault; {last} messages so far"
        )
        assert len(ticks) <= 6  # one where nobody shares the machine: bench/flip.py; a starved one commits more slowly
        assert len(fleet.slack.messages) <= took + 5


def _one_rule(rollout: str) -> str:
    return (
        f"rollout: {rollout}\ncontrol: model-old\ncanary: model-new\nmetrics: cohort-labels\n"
        f"match: {{rollout: {rollout}}}\nrules:\n  error_rate: {{max: 2%}}\n"
        'window: 40s\nmin_requests: 20\ndecide: threshold\npage: {slack: "#llm-oncall"}\n'
    )
