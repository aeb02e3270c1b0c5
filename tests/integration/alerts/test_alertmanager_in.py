"""A real Alertmanager and a real etcd: an alert trips once, whoever sends it how often, and only the arming it means.

Two Alertmanagers that do not know of each other send every alert to both replicas, again every second.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from killswitch.alert_settings import LABEL, AlertAction, AlertSettings
from killswitch.alerts.acting import AlertActing
from killswitch.alerts.desk import AlertDesk
from killswitch.flags import incident as incidents
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.incidents.reading import sources_of
from killswitch.incidents.story import story_of
from killswitch.pages.events import re_armed
from killswitch.stores import keys
from killswitch.stores.opening import open_store
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.trips.switch import Switch
from killswitch.web.alert_endpoint import alert_routes
from killswitch.web.request_limits import ALERTS
from tests.doubles.pages import SETTINGS
from tests.doubles.served import Served, listening
from tests.servers.alertmanager import Alertmanager, installed
from tests.servers.etcd import EtcdCluster, wait_until
from tests.servers.prometheus import PrometheusServer
from tests.unit.alerts.desks import rollout

pytestmark = pytest.mark.skipif(not installed(), reason="there is no Alertmanager here: deploy/servers.sh installs it")
TOKEN = "a-token-of-alerts"
TIMEOUT = 1.0


class TwoOfEach:
    """Two replicas' desks over one etcd, and two Alertmanagers that send to both."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.cluster = stack.enter_context(EtcdCluster(folder / "etcd"))
        self.store = open_store(self.cluster.url, timeout=TIMEOUT)
        stack.callback(self.store.close)
        self.person = Switch(self.store, wall=time.time, by="ann", origin="command line")
        self.rollouts = {"copilot": rollout(), "search": rollout("search", _settings("search"))}
        self.outcomes: Counter[str] = Counter()
        ports = [self._replica(name, stack) for name in ("a", "b")]
        hooks = [f"http://127.0.0.1:{port}{ALERTS}" for port in ports]
        self.senders = [
            stack.enter_context(Alertmanager(folder / f"alertmanager-{number}", webhooks=hooks, token=TOKEN))
            for number in range(2)
        ]

    def _replica(self, name: str, stack: ExitStack) -> int:
        store = open_store(self.cluster.url, timeout=TIMEOUT)
        stack.callback(store.close)
        acting = AlertActing(
            store,
            Switch(store, wall=time.time, by=name, origin="Alertmanager webhook"),
            controller_id=name,
            origin="Alertmanager webhook",
            findings=lambda _: (),
            flipped=lambda *_: None,
            wall=time.time,
        )
        desk = AlertDesk(
            acting,
            rollouts=lambda: self.rollouts,
            counted=lambda one: self.outcomes.update([one]),
            monotonic=time.monotonic,
        )
        return stack.enter_context(listening(Served(), alert_routes(desk.take, lambda: TOKEN)))

    def arm(self, name: str) -> None:
        self.person.arm(name, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="s")

    def rearm(self, name: str) -> None:
        self.person.rearm(
            name, reason="fixed", percent=1.0, stage="ramp_1",
            page=lambda flag: re_armed(flag, reason="fixed", by="ann", settings=SETTINGS),
        )  # fmt: skip

    def fire(self, name: str, rollout_name: str, *, began: float, ends: float | None = None) -> None:
        for sender in self.senders:
            sender.add(name, began=began, ends=ends, killswitch_rollout=rollout_name)

    def flag(self, name: str) -> Flag:
        flag = self.person.stored(name).flag
        assert flag is not None
        return flag

    def until_tripped(self, name: str) -> None:
        wait_until(lambda: self.flag(name).state is State.TRIPPED, f"{name} tripped")

    def until_answered(self, outcome: str, times: int) -> None:
        """Until that many more messages have been answered so."""
        wanted = self.outcomes[outcome] + times
        wait_until(lambda: self.outcomes[outcome] >= wanted, f"{times} more answers: {outcome}; {self.outcomes}")

    def deeds(self, name: str) -> list[str]:
        return [change.deed.value for change in changes_in(history_of(self.store, name))]


def _settings(name: str) -> AlertSettings:
    return AlertSettings(AlertAction.TRIP, {LABEL: (name,)})


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoOfEach]:
    with ExitStack() as stack:
        yield TwoOfEach(tmp_path_factory.mktemp("alerts"), stack)


def test_one_trip_whoever_sends_it_how_often_and_never_again(two: TwoOfEach) -> None:
    """Copies, repeats, a re-arm under an alert that goes on, a new alert, and resolved."""
    two.arm("copilot")
    two.fire("CopilotErrors", "copilot", began=time.time())
    two.until_tripped("copilot")
    two.until_answered("nothing", 6)
    assert two.outcomes["tripped"] == 1
    assert two.deeds("copilot") == ["arm", "trip"]
    item = two.store.get(keys.incident("copilot", 1))
    assert item is not None
    cited = incidents.from_document(item.value, rollout="copilot").alert
    assert cited is not None
    assert (cited.name, dict(cited.annotations)) == ("CopilotErrors", {"summary": "8% of answers fail"})
    assert cited.generator_url == "http://prometheus:9090/graph?g0.expr=errors"

    two.rearm("copilot")
    two.until_answered("nothing", 6)
    assert two.flag("copilot").armed, "it has fired since before the re-arm"

    two.fire("CopilotLatency", "copilot", began=time.time())
    two.until_tripped("copilot")
    assert two.deeds("copilot") == ["arm", "trip", "rearm", "trip"]
    assert len(two.store.list(keys.incidents("copilot")).items) == 2

    story = story_of(sources_of(two.store, "copilot.1"))
    told = [entry.said for entry in story.timeline]
    assert told[1:3] == ["alert CopilotErrors begins to fire", "tripped by Alertmanager: all traffic to model-old"]
    assert told[-1] == "re-armed by ann (command line): fixed"

    revision = two.store.list(keys.flag("copilot")).items[0].mod_revision
    for name in ("CopilotErrors", "CopilotLatency"):
        two.fire(name, "copilot", began=time.time() - 1, ends=time.time())
    wait_until(lambda: not any(sender.active() for sender in two.senders), "no alert is active")
    assert two.store.list(keys.flag("copilot")).items[0].mod_revision == revision


def test_a_store_that_is_paused_delays_a_trip_and_loses_none(two: TwoOfEach) -> None:
    """It answers 503, Alertmanager sends the message again, and once etcd answers there is one trip."""
    two.arm("search")
    two.cluster.members[0].pause()
    try:
        two.fire("SearchErrors", "search", began=time.time())
        two.until_answered("retry", 2)
    finally:
        two.cluster.members[0].resume()
    two.until_tripped("search")
    two.until_answered("nothing", 4)
    assert two.deeds("search") == ["arm", "trip"]
    assert len(two.store.list(keys.incidents("search")).items) == 1


def test_what_is_refused_shows_in_its_log_and_metrics(two: TwoOfEach) -> None:
    before = two.senders[0].failures()
    two.senders[0].add("Typo", began=time.time(), killswitch_rollout="typo")
    wait_until(lambda: "no rule file here has a rollout" in two.senders[0].log, "the refusal in its log")
    wait_until(lambda: two.senders[0].failures() > before, "a failed notification in its metrics")
    two.senders[0].add("Typo", began=time.time() - 1, ends=time.time(), killswitch_rollout="typo")


def test_a_rule_of_a_real_prometheus_trips(two: TwoOfEach, tmp_path: Path) -> None:
    """From the expression to the flip: Prometheus evaluates, Alertmanager sends, the rollout is tripped."""
    two.rollouts["prices"] = rollout("prices", _settings("prices"))
    two.arm("prices")
    rule = {
        "alert": "PricesWrong",
        "expr": "vector(0.08) > 0.05",
        "labels": {LABEL: "prices", "severity": "critical"},
        "annotations": {"summary": "{{ $value | humanizePercentage }} of prices are wrong"},
    }
    rules = tmp_path / "rules.yml"
    rules.write_text(json.dumps({"groups": [{"name": "prices", "interval": "1s", "rules": [rule]}]}))
    target = two.senders[0].url.removeprefix("http://")
    more = {
        "rule_files": [str(rules)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [target]}]}]},
    }
    # what it sends before it has found its Alertmanagers is lost, and by default sent again only after a minute
    with PrometheusServer(tmp_path / "prometheus", more=more, flags=["--rules.alert.resend-delay=1s"]):
        two.until_tripped("prices")
    item = two.store.get(keys.incident("prices", 1))
    assert item is not None
    assert "8% of prices are wrong" in incidents.from_document(item.value, rollout="prices").reason
