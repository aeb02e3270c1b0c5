"""`killswitch run` against a real etcd and a real Prometheus: what trips, when, and everything that follows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from killswitch.model import Unit
from killswitch.timestamps import from_iso
from killswitch.trends.stored import trend_around
from killswitch.wording import value_in_words
from tests.faults.fleet import INTERVAL, Fleet, rules_of
from tests.faults.service import HEALTHY, Behaviour
from tests.servers.etcd import wait_until

# a name for each rule's own regression, and one that stays healthy
REGRESSIONS: dict[str, Behaviour] = {
    "error_rate": replace(HEALTHY, errors=0.30),
    "latency_p95": replace(HEALTHY, slow=0.40),
    "refusal_rate": replace(HEALTHY, refusals=0.40),
    "thumbs_down_rate": replace(HEALTHY, thumbs_down=0.10),
}
ROLLOUTS = [*(name.replace("_", "-") for name in REGRESSIONS), "healthy"]
SEVEN = {"alert", "reason", "stage", "ts", "samples_new", "samples_old", "auto_action"}
WINDOW = 9


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One daemon, five rollouts, each with one regression of its own; Slack and a webhook are told."""
    folder = tmp_path_factory.mktemp("trips")
    (folder / "hook").write_text("")
    settings = {"WEBHOOK_URL_FILE": str(folder / "hook")}
    fleet = Fleet(folder / "fleet", replicas=1, rollouts=ROLLOUTS, settings=settings)
    # its address is known before it serves: the daemon reads it when the first page is due
    (folder / "hook").write_text(fleet.webhook.url)
    with fleet:
        fleet.start()
        for rule, behaviour in REGRESSIONS.items():
            fleet.service.set(behaviour, rollout=rule.replace("_", "-"))
        for name in ROLLOUTS[:-1]:
            fleet.until_tripped(name)
        fleet.for_cycles(3)
        wait_until(lambda: len(fleet.webhook.pages) >= 4 and len(fleet.pages("tripped")) >= 4, "all pages out", 60)
        yield fleet


@pytest.mark.parametrize("rule", REGRESSIONS)
def test_each_rule_trips_its_rollout_once_and_names_only_itself(fleet: Fleet, rule: str) -> None:
    """Each rule trips its own rollout once, and the trip names only this rule."""
    name = rule.replace("_", "-")
    flips = fleet.flips(name)
    assert len(flips) == len(fleet.incidents(name)) == 1
    assert flips[0]["trip"]["rules"] == [rule]


def test_a_healthy_canary_beside_four_bad_ones_keeps_its_traffic(fleet: Fleet) -> None:
    assert fleet.armed("healthy")
    assert fleet.flag("healthy").canary_percent == 50.0


@pytest.mark.parametrize("rule", ["error_rate", "refusal_rate", "thumbs_down_rate", "latency_p95"])
def test_it_trips_at_the_first_tick_with_a_window_over_the_limit(fleet: Fleet, rule: str) -> None:
    """The daemon trips at the first tick at which Prometheus shows the window over the limit."""
    name = rule.replace("_", "-")
    tripped_at = from_iso(fleet.flips(name)[0]["trip"]["at"])
    assert over(fleet, name, rule, tripped_at)
    for back in range(1, 4):
        assert not over(fleet, name, rule, tripped_at - back * INTERVAL)


def over(fleet: Fleet, name: str, rule: str, tick: float) -> bool:
    """The rule's comparison as a person would ask Prometheus for it."""

    def value(query: str, cohort: str) -> float:
        text = query.replace("@", f'rollout="{name}",cohort="{cohort}"').replace("W", f"[{WINDOW}s]")
        found = fleet.prometheus.value(text, tick)
        return math.nan if found is None else found

    requests = "sum(increase(llm_requests_total{@}W))"
    if rule == "latency_p95":
        query = "histogram_quantile(0.95, sum by (le) (increase(llm_latency_ms_bucket{@}W)))"
        return value(query, "canary") > 1.5 * value(query, "control")
    events = {
        "error_rate": 'sum(increase(llm_requests_total{@,outcome="error"}W))',
        "refusal_rate": "sum(increase(llm_refusals_total{@}W))",
        "thumbs_down_rate": "sum(increase(llm_thumbs_down_total{@}W))",
    }[rule]
    canary, control = (value(f"{events} / {requests}", cohort) for cohort in ("canary", "control"))
    return {
        "error_rate": canary > 0.02 and canary > control,
        "refusal_rate": canary > control + 0.05,
        "thumbs_down_rate": canary > 2 * control,
    }[rule]


def test_the_flag_in_etcd_is_the_document_routers_know(fleet: Fleet) -> None:
    flag = fleet.flips("error-rate")[0]
    assert [name for name in flag if name != "revision"] == [  # etcd's, added by who read its history
        "format", "rollout", "generation", "state", "stage", "canary_percent", "control", "canary", "salt", "armed_at",
        "stages", "trip", "updated_at", "updated_by",
    ]  # fmt: skip
    assert (flag["state"], flag["canary_percent"], flag["generation"]) == ("tripped", 0.0, 1)
    assert flag["trip"]["percent_before"] == 50.0
    assert flag["trip"]["stage_before"] == "half"
    assert flag["trip"]["incident"] == "error-rate.1"
    assert flag["updated_by"] == flag["trip"]["by"] == fleet.replicas[0].name


def test_the_incident_holds_what_a_post_mortem_needs(fleet: Fleet) -> None:
    incident = fleet.incidents("error-rate")[-1]
    assert [finding["rule"] for finding in incident["findings"]] == [
        "error_rate",
        "latency_p95",
        "refusal_rate",
        "thumbs_down_rate",
    ]
    tripping = incident["findings"][0]
    assert tripping["verdict"] == "BREACH"
    assert tripping["canary"] > tripping["limit"] == 0.02
    assert tripping["samples_canary"] > 20
    assert incident["reason"] == tripping["sentence"]
    assert value_in_words(tripping["canary"], Unit.FRACTION) in tripping["sentence"]
    assert (incident["automatic"], incident["controller"]) == (True, fleet.replicas[0].name)
    assert incident["rules_file"].endswith("error-rate.yaml")
    assert incident["rules_digest"]
    assert incident["version"]
    assert 0 <= incident["latency_seconds"] < 60
    # the queries can be asked again, and give the numbers
    tick = from_iso(incident["tick"])
    assert any(fleet.prometheus.query(query, tick) for query in tripping["queries"])


def test_pages_of_the_daemon_show_the_trip_and_its_course(fleet: Fleet) -> None:
    """Both cohorts around the trip are kept soon after the flip, and the links in pages lead to what shows them."""
    wait_until(lambda: trend_around(fleet.store, "error-rate", 1), "both cohorts around the trip", 60)
    trend = trend_around(fleet.store, "error-rate", 1)
    assert trend is not None
    assert trend.rules[0].rule == "error_rate"  # the one that tripped comes first
    seen = [moment.canary for moment in trend.rules[0].moments if moment.canary is not None]
    assert seen
    assert max(seen) > 0.02
    replica = fleet.replicas[0]
    base = f"http://{replica.host}:{replica.port}"
    rollout = requests.get(f"{base}/rollouts/error-rate", timeout=10).text
    for words in ("error-rate <span class=tripped>", "<svg", "Who did what when", f"controller {replica.name}"):
        assert words in rollout, words
    incident = requests.get(f"{base}/incidents/error-rate.1", timeout=10).text
    assert "Both cohorts around the trip" in incident
    assert "<svg" in incident


def test_slack_is_told_with_the_mention_in_the_top_level_text(fleet: Fleet) -> None:
    sent = [message for message in fleet.slack.messages if "error-rate" in message.text and "tripped" in message.text]
    assert len(sent) == 1
    message = sent[0]
    assert message.channel == fleet.slack.channels["#llm-oncall"]
    assert "<!here>" in message.text
    body = json.dumps(message.body, ensure_ascii=False)
    for word in ("model-old", "error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate", "killswitch rearm"):
        assert word in body


@pytest.mark.parametrize("rule", REGRESSIONS)
def test_the_webhook_gets_the_seven_fields_with_their_meanings(fleet: Fleet, rule: str) -> None:
    name = rule.replace("_", "-")
    pages = [page for page in fleet.webhook.pages if page["rollout"] == name]
    assert len(pages) == 1
    page = pages[0]
    assert page.keys() >= SEVEN
    assert page["alert"] == "canary kill-switch tripped"
    assert page["reason"].startswith(f"{rule}=")
    assert " vs baseline " in page["reason"]
    assert page["stage"] == "half"
    assert page["auto_action"] == "all traffic routed to model-old"
    assert isinstance(page["samples_new"], int)
    assert isinstance(page["samples_old"], int)
    assert min(page["samples_new"], page["samples_old"]) >= 20
    assert from_iso(page["ts"]) == math.floor(from_iso(page["ts"]))


def test_the_page_goes_out_after_the_flip(fleet: Fleet) -> None:
    incident = fleet.incidents("error-rate")[-1]
    revision = next(
        c.revision for c in fleet.history.of("/killswitch/v1/flags/error-rate") if b"tripped" in (c.value or b"")
    )
    outbox = next(c.revision for c in fleet.history.of("/killswitch/v1/outbox/error-rate.1"))
    assert outbox == revision
    assert incident["id"] == "error-rate.1"


def test_a_re_armed_rollout_is_watched_as_a_new_generation(fleet: Fleet) -> None:
    fleet.service.set(HEALTHY, rollout="refusal-rate")
    fleet.for_cycles(4)
    flag = fleet.rearm("refusal-rate")
    assert flag.generation == 2
    fleet.until_healthy(rollouts=["refusal-rate"])
    fleet.service.set(REGRESSIONS["refusal_rate"], rollout="refusal-rate")
    fleet.until_tripped("refusal-rate")
    fleet.for_cycles(2)
    assert [flip["generation"] for flip in fleet.flips("refusal-rate")] == [1, 2]


def test_evidence_trips_a_bad_canary_with_real_servers_too(tmp_path: Path) -> None:
    """From the first minute on: little of control's past is known, so it is slower, and sure of itself all the same."""

    def rules(name: str) -> str:
        return rules_of(name).replace("decide: threshold", "decide: evidence")

    # here increments are counted scrape by scrape, so the real interval has to be said
    with Fleet(tmp_path, replicas=1, rules=rules, settings={"SCRAPE_INTERVAL": "1s"}) as fleet:
        fleet.arm()
        fleet.replicas[0].start()
        fleet.for_cycles(4)
        assert fleet.armed()
        fleet.fail()
        flip = fleet.until_tripped()
        incident = fleet.incidents()[0]
    assert flip["trip"]["rules"] == ["error_rate"]
    assert incident["decide"] == "evidence"
    finding = incident["findings"][0]
    assert finding["evidence"] >= finding["needed"] == pytest.approx(400)
    assert "chance of this by luck under 1 in" in finding["sentence"]
    assert from_iso(finding["since"]) < from_iso(incident["tick"])
