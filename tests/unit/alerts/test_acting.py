"""Alerts act: one trip or hold, whoever else gets the message, whatever the store does, and never on old news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.alert_settings import AlertSettings
from killswitch.alerts.seen import from_document
from killswitch.flags.transitions import State
from killswitch.model import Mode
from killswitch.stores import Put, keys
from tests.doubles.alertmanager_messages import alert, message
from tests.doubles.memory_store import Call, Fault
from tests.unit.alerts.desks import HOLD, TRIP, AlertWorld, rollout
from tests.unit.trips.switches import automatic, once


@pytest.fixture
def world() -> AlertWorld:
    world = AlertWorld()
    world.arm()
    world.clock.advance(120)
    return world


@pytest.fixture
def holding(world: AlertWorld) -> AlertWorld:
    world.rollouts = {"copilot": rollout(alerts=HOLD)}
    return world


def firing(world: AlertWorld, severity: str = "critical") -> bytes:
    """An alert that begins now."""
    return message(alert(began=world.clock.wall(), severity=severity))


# --- trip


def test_an_alert_trips_with_incident_and_page(world: AlertWorld) -> None:
    status, answer = world.desk().take(firing(world))
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "tripped")
    assert world.flag().state is State.TRIPPED
    incident = world.incident()
    assert incident.automatic
    assert incident.by == "Alertmanager"
    assert incident.reason == "alert CopilotErrors has fired since 2026-04-19T14:24:11Z: 8% of answers fail"
    assert incident.alert is not None
    assert dict(incident.alert.labels)["severity"] == "critical"
    assert incident.alert.generator_url.startswith("http://prometheus:9090/")
    assert [finding.rule for finding in incident.findings] == ["latency_p95"]
    assert [page["kind"] for page in world.pages()] == ["TRIPPED"]
    assert world.flipped == [("copilot", 1, world.flipped[0][2])]
    assert world.outcomes == ["tripped"]
    assert world.history() == [("arm", "ann"), ("trip", "Alertmanager")]


def test_repeats_and_another_replica_change_nothing(world: AlertWorld) -> None:
    body = firing(world)
    world.desk("a").take(body)
    for name in ("a", "b", "b"):
        status, answer = world.desk(name).take(body)
        assert (status, answer["rollouts"][0]["outcome"]) == (200, "nothing")
    assert world.flips() == 1
    assert len(world.pages()) == 1


def test_the_same_alert_never_trips_the_next_generation(world: AlertWorld) -> None:
    """The group repeats for as long as the alert fires, also after a person has re-armed."""
    body = firing(world)
    world.desk().take(body)
    world.clock.advance(600)
    world.rearm()
    world.clock.advance(60)
    status, answer = world.desk("b").take(body)
    assert status == 200
    assert "before this generation was armed" in answer["rollouts"][0]["said"]
    assert world.flag().armed


def test_it_never_does_though_who_re_armed_has_a_slow_clock(world: AlertWorld) -> None:
    """By its clock the person re-armed before the alert began: what was seen before decides."""
    body = firing(world)
    world.desk().take(body)
    world.rearm()
    document = world.server.get(keys.flag("copilot"))
    assert document is not None
    world.server.commit(
        "a slow clock", (), (Put(keys.flag("copilot"), document.value.replace(b"14:24:11", b"14:14:11")),)
    )
    assert world.flag().armed_at < world.incident().decided_at
    status, answer = world.desk("b").take(body)
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "nothing")
    assert "seen in generation 1 already" in answer["rollouts"][0]["said"]
    assert world.flag().armed


def test_an_alert_older_than_the_arming_does_nothing(world: AlertWorld) -> None:
    status, answer = world.desk().take(message(alert(began=world.flag().armed_at - 3600)))
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "nothing")
    assert world.flag().armed
    assert world.hold() is None


def test_a_new_alert_trips_the_next_generation(world: AlertWorld) -> None:
    world.desk().take(firing(world))
    world.clock.advance(600)
    world.rearm()
    world.clock.advance(60)
    status, answer = world.desk().take(firing(world))
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "tripped")
    assert world.incident(2).generation == 2


def test_resolved_never_re_arms_and_resumes_nothing(world: AlertWorld) -> None:
    world.desk().take(firing(world))
    before = world.server.revision
    status, answer = world.desk().take(message(alert(began=world.clock.wall(), status="resolved"), status="resolved"))
    assert status == 200
    assert "nothing is re-armed" in answer["resolved"]
    assert world.server.revision == before


def test_a_dry_run_pages_once_what_it_would_have_done(world: AlertWorld) -> None:
    world.rollouts = {"copilot": rollout(mode=Mode.DRY_RUN)}
    body = firing(world)
    for name in ("a", "b"):
        world.desk(name).take(body)
    assert world.outcomes == ["would trip", "nothing"]
    assert world.flag().armed
    assert [page["kind"] for page in world.pages()] == ["WOULD_TRIP"]


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
@pytest.mark.parametrize("action", ["trip", "hold"])
def test_a_lost_answer_is_one_act_after_the_repeat(world: AlertWorld, fault: Fault, action: str) -> None:
    if action == "hold":
        world.rollouts = {"copilot": rollout(alerts=HOLD)}
    body = firing(world)
    status, _ = world.desk("a", once("commit", fault)).take(body)
    world.server.apply_late()
    assert status in (200, 503)
    if status == 503:
        assert world.desk("a").take(body)[0] == 200
    assert len(world.pages()) == 1
    assert (world.flips(), world.holds()) == ((1, 0) if action == "trip" else (0, 1))


@pytest.mark.parametrize("call", ["get", "commit"])
@pytest.mark.parametrize("action", ["trip", "hold"])
def test_a_store_that_does_not_answer_is_asked_again(world: AlertWorld, call: str, action: str) -> None:
    """503 makes Alertmanager repeat the message; the repeat acts."""
    if action == "hold":
        world.rollouts = {"copilot": rollout(alerts=HOLD)}
    body = firing(world)
    status, answer = world.desk("a", once(call, Fault.FAIL_BEFORE)).take(body)
    assert (status, answer["rollouts"][0]["outcome"]) == (503, "retry")
    assert world.desk("a").take(body)[0] == 200
    assert (world.flips(), world.holds()) == ((1, 0) if action == "trip" else (0, 1))


def test_a_trip_whose_memory_is_not_stored_is_a_trip(world: AlertWorld) -> None:
    def faults(call: Call) -> Fault | None:
        writes = call.subject if isinstance(call.subject, tuple) else ()
        return Fault.FAIL_BEFORE if any(one.key == keys.alerts("copilot") for one in writes) else None

    status, answer = world.desk("a", faults).take(firing(world))
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "tripped")
    assert world.flag().state is State.TRIPPED


def test_a_memory_that_cannot_be_read_costs_no_trip(world: AlertWorld) -> None:
    world.server.commit("chaos", (), (Put(keys.alerts("copilot"), b"garbage"),))
    assert world.desk().take(firing(world))[1]["rollouts"][0]["outcome"] == "tripped"
    assert from_document(world.server.value(keys.alerts("copilot")) or b"", rollout="copilot")


def test_a_flag_that_cannot_be_read_is_refused_in_words(world: AlertWorld) -> None:
    world.server.commit("chaos", (), (Put(keys.flag("copilot"), b"garbage"),))
    status, answer = world.desk().take(firing(world))
    assert status == 422
    assert "its flag cannot be read" in answer["error"]


def test_a_person_who_re_arms_meanwhile_is_not_overruled(world: AlertWorld) -> None:
    """Tripped by another and re-armed between our look and our trip: it was about the generation before."""
    body = firing(world)
    done: list[Call] = []

    def meanwhile(call: Call) -> None:
        if call.name == "commit" and not done:
            done.append(call)
            world.desk("b").take(body)
            world.rearm()

    status, answer = world.desk("a", meanwhile).take(body)
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "nothing")
    assert world.flag().generation == 2
    assert world.flag().armed


# --- hold


def test_without_trip_in_the_rule_file_it_holds(holding: AlertWorld) -> None:
    status, answer = holding.desk().take(firing(holding))
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "held")
    hold = holding.hold()
    assert hold is not None
    assert hold["by"] == "alert CopilotErrors"
    assert hold["reason"].startswith("alert CopilotErrors has fired since ")
    assert holding.flag().armed
    assert [(page["kind"], page["severity"]) for page in holding.pages()] == [("PLAN_HELD", "warning")]
    assert holding.history() == [("arm", "ann"), ("hold", "alert CopilotErrors")]


def test_a_hold_that_a_person_resumed_does_not_come_back(holding: AlertWorld) -> None:
    body = firing(holding)
    holding.desk().take(body)
    holding.server.commit("ann", (), ())
    holding.server._delete("ann", keys.hold("copilot"))  # as `killswitch resume` does
    for name in ("a", "b"):
        holding.desk(name).take(body)
    assert holding.hold() is None
    assert len(holding.pages()) == 1


def test_a_persons_hold_stays_theirs(holding: AlertWorld) -> None:
    holding.server.commit("ann", (), (Put(keys.hold("copilot"), b'{"by": "ann"}'),))
    _, answer = holding.desk().take(firing(holding))
    assert "held already" in answer["rollouts"][0]["said"]
    assert holding.hold() == {"by": "ann"}
    assert holding.pages() == []


def test_a_hold_becomes_a_trip_once_the_rule_file_says_so(holding: AlertWorld) -> None:
    body = firing(holding)
    holding.desk().take(body)
    holding.rollouts = {"copilot": rollout()}
    assert holding.desk().take(body)[1]["rollouts"][0]["outcome"] == "tripped"


def test_soon_after_the_arming_an_alert_that_looks_back_holds(world: AlertWorld) -> None:
    settings = world.rollouts["copilot"].alerts
    assert settings is not None
    world.rollouts = {"copilot": rollout(alerts=replace(settings, looks_back=300.0))}
    _, answer = world.desk().take(firing(world))
    assert answer["rollouts"][0]["outcome"] == "held"
    assert "looks_back" in answer["rollouts"][0]["said"]
    assert world.flag().armed


def test_texts_of_an_alert_are_bounded_and_on_one_line(world: AlertWorld) -> None:
    evil = "x\x1b[31m\n```<script>\u202e" + "y" * 5_000
    labels = {f"label_{number}": evil for number in range(100)}
    body = message(alert(began=world.clock.wall(), name=evil, summary=evil, **labels))
    assert world.desk().take(body)[0] == 200
    incident = world.incident()
    assert incident.alert is not None
    assert len(incident.alert.labels) == 30
    assert incident.alert.left_out == 102 - 30
    texts = [incident.reason, incident.alert.name, *(text for pair in incident.alert.labels for text in pair)]
    assert all(text.isprintable() and len(text) <= 600 for text in texts)


# --- at the same moment


def between(world: AlertWorld, act: Callable[[], None]) -> Callable[[Call], None]:
    """``act`` happens after all was read and before the first commit."""
    done: list[Call] = []

    def meanwhile(call: Call) -> None:
        if call.name == "commit" and not done:
            done.append(call)
            act()

    return meanwhile


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("alerts", [HOLD, TRIP])
def test_two_replicas_with_one_message_at_once_act_once(world: AlertWorld, mode: Mode, alerts: AlertSettings) -> None:
    world.rollouts = {"copilot": rollout(alerts=alerts, mode=mode)}
    body = firing(world)
    status, answer = world.desk("a", between(world, lambda: void(world.desk("b").take(body)))).take(body)
    assert (status, answer["rollouts"][0]["outcome"]) == (200, "nothing")
    assert len(world.pages()) == (0 if mode is Mode.DRY_RUN and alerts is HOLD else 1)


def test_a_rollout_that_a_person_trips_meanwhile_is_not_held(holding: AlertWorld) -> None:
    desk = holding.desk("a", between(holding, lambda: void(holding.person.trip(automatic()))))
    _, answer = desk.take(firing(holding))
    assert answer["rollouts"][0]["outcome"] == "nothing"
    assert holding.hold() is None


def test_a_new_generation_is_not_held_by_the_one_before(holding: AlertWorld) -> None:
    body = firing(holding)
    holding.clock.advance(300)

    def again() -> None:
        holding.person.trip(automatic())
        holding.rearm()

    _, answer = holding.desk("a", between(holding, again)).take(body)
    assert "before this generation was armed" in answer["rollouts"][0]["said"]
    assert holding.hold() is None


def test_a_hold_that_a_person_makes_meanwhile_stays_theirs(holding: AlertWorld) -> None:
    theirs = Put(keys.hold("copilot"), b'{"by": "ann"}')
    desk = holding.desk("a", between(holding, lambda: void(holding.server.commit("ann", (), (theirs,)))))
    assert "held already" in desk.take(firing(holding))[1]["rollouts"][0]["said"]
    assert holding.hold() == {"by": "ann"}


def void(_: object) -> None:
    """For an answer that no one needs."""
