"""What a message is answered: 200 for what is done, 422 in words for what is refused, 503 where a repeat helps."""

from __future__ import annotations

import json
import threading

import pytest

from killswitch.alert_settings import AlertAction, AlertSettings
from killswitch.alerts.desk import WITHIN
from tests.doubles.alertmanager_messages import alert, message
from tests.doubles.memory_store import Call
from tests.unit.alerts.desks import HOLD, AlertWorld, rollout

OF_SERVICE = AlertSettings(AlertAction.TRIP, {"service": ("copilot", "copilot-eu"), "severity": ("critical",)})


@pytest.fixture
def fleet() -> AlertWorld:
    """Three rollouts: one trips by label, one by labels of its own, one has no key `alerts`."""
    world = AlertWorld(
        rollouts={
            "copilot": rollout(),
            "search": rollout("search", OF_SERVICE),
            "summary": rollout("summary", None),
        }
    )
    for name in world.rollouts:
        world.arm(name)
    world.clock.advance(120)
    return world


def outcomes(answer: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {one["rollout"]: one["outcome"] for one in answer["rollouts"]}


def test_several_rollouts_in_one_message_all_act(fleet: AlertWorld) -> None:
    now = fleet.clock.wall()
    body = message(
        alert(began=now),
        alert(began=now, pod="b"),
        alert(None, began=now, service="copilot-eu", severity="critical"),
    )
    status, answer = fleet.desk().take(body)
    assert status == 200
    assert outcomes(answer) == {"copilot": "tripped", "search": "tripped"}
    assert fleet.incident().alert is not None
    assert "(and 1 more alert)" in fleet.incident().reason


def test_a_label_that_names_another_rollout_wins_over_match(fleet: AlertWorld) -> None:
    now = fleet.clock.wall()
    fleet.desk().take(message(alert("copilot", began=now, service="copilot", severity="critical")))
    assert fleet.flag("search").armed
    assert not fleet.flag("copilot").armed


@pytest.mark.parametrize(
    ("rollout_label", "labels", "words"),
    [
        ("summary", {}, "the rule file of summary has no key `alerts`"),
        ("typo", {}, "no rule file here has a rollout 'typo'"),
        ("search", {"severity": "critical"}, "only alerts with the labels of its `alerts: match`"),
        (None, {}, "it has no label killswitch_rollout"),
        (None, {"service": "copilot", "severity": "warning"}, "it has no label killswitch_rollout"),
    ],
)
def test_what_no_rule_file_takes_is_refused_in_words(
    fleet: AlertWorld, rollout_label: str | None, labels: dict[str, str], words: str
) -> None:
    """And what else is in the message is done."""
    now = fleet.clock.wall()
    before = fleet.flips()
    status, answer = fleet.desk().take(message(alert(rollout_label, began=now, **labels), alert(began=now)))
    assert status == 422
    assert words in answer["error"]
    assert outcomes(answer) == {"copilot": "tripped"}
    assert fleet.flips() == before + 1


def test_an_empty_message_and_one_of_resolved_alerts_are_done(fleet: AlertWorld) -> None:
    for body in (message(), message(alert(began=fleet.clock.wall(), status="resolved"))):
        assert fleet.desk().take(body)[0] == 200
    assert fleet.flips() == 0


def test_a_spoiled_message_is_not_to_be_repeated(fleet: AlertWorld) -> None:
    status, answer = fleet.desk().take(b"not json")
    assert status == 400
    assert "not JSON" in answer["error"]


def test_alerts_that_the_sender_left_out_are_reported(fleet: AlertWorld) -> None:
    status, answer = fleet.desk().take(message(alert(began=fleet.clock.wall()), truncated=12))
    assert status == 200
    assert answer["truncated"].startswith("12 alerts were left out")


def test_the_answer_is_json_whatever_alerts_say(fleet: AlertWorld) -> None:
    now = fleet.clock.wall()
    _, answer = fleet.desk().take(message(alert("\ud800<b>", began=now), alert(None, began=now, name="\x1b[31m" * 500)))
    assert "\x1b" not in json.dumps(answer, ensure_ascii=False)


def test_rollouts_that_trip_come_before_those_that_hold() -> None:
    world = AlertWorld(rollouts={"a-hold": rollout("a-hold", HOLD), "copilot": rollout()})
    settings = AlertSettings(AlertAction.HOLD, {"alertname": ("CopilotErrors",)})
    world.rollouts["a-hold"] = rollout("a-hold", settings)
    for name in world.rollouts:
        world.arm(name)
    trips = AlertSettings(AlertAction.TRIP, {"alertname": ("CopilotErrors",)})
    world.rollouts["copilot"] = rollout("copilot", trips)
    _, answer = world.desk().take(message(alert(None, began=world.clock.wall())))
    assert list(outcomes(answer)) == ["copilot", "a-hold"]


def test_a_slow_store_costs_no_more_than_its_time(fleet: AlertWorld) -> None:
    """The web server ends an answer after half a minute: what was not begun by then is asked for again."""

    def slow(_: Call) -> None:
        fleet.clock.advance(WITHIN)

    now = fleet.clock.wall()
    body = message(alert(began=now), alert(None, began=now, service="copilot", severity="critical"))
    status, answer = fleet.desk("a", slow).take(body)
    assert status == 503
    assert outcomes(answer) == {"copilot": "tripped", "search": "retry"}
    assert fleet.desk().take(body)[0] == 200
    assert not fleet.flag("search").armed


def test_one_message_at_a_time(fleet: AlertWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killswitch.alerts.desk.WAIT", 0.0)
    inside, go_on = threading.Event(), threading.Event()

    def waits(_: Call) -> None:
        inside.set()
        go_on.wait(10)

    desk = fleet.desk("a", waits)
    body = message(alert(began=fleet.clock.wall()))
    first = threading.Thread(target=desk.take, args=(body,))
    first.start()
    inside.wait(10)
    assert desk.take(body)[0] == 503
    go_on.set()
    first.join(10)
    assert desk.take(body)[0] == 200
    assert fleet.flips() == 1
