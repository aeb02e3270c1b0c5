"""An Alertmanager's message as it is read: strict where it decides something, and one bad alert costs no other."""

from __future__ import annotations

import json

import pytest

from killswitch.alerts.message import MAX_ALERTS, read_message
from killswitch.errors import BadDocument
from tests.doubles.alertmanager_messages import alert, message

AT = 1_776_608_531.0


def test_a_message_is_read_with_all_that_decides() -> None:
    body = message(alert(began=AT, severity="critical"), alert(began=AT, status="resolved"), truncated=3)
    found = read_message(body)
    first, second = found.alerts
    assert (first.name, first.firing, first.starts_at) == ("CopilotErrors", True, AT)
    assert first.labels["severity"] == "critical"
    assert not second.firing
    assert found.truncated == 3
    assert found.unread == ()


def test_times_have_nanoseconds_and_zones() -> None:
    one = alert(began=AT) | {"startsAt": "2026-04-19T16:22:11.123456789+02:00"}
    assert read_message(message(one)).alerts[0].starts_at == pytest.approx(AT + 0.123456, abs=1e-5)


@pytest.mark.parametrize("given", [None, "", "UPPER", "../x", 7, "a" * 65])
def test_a_fingerprint_of_another_form_is_replaced_by_ours(given: object) -> None:
    """Two alerts with the same labels are then still the same, and two with others are not."""
    one = read_message(message(alert(began=AT) | {"fingerprint": given})).alerts[0]
    same = read_message(message(alert(began=AT + 9) | {"fingerprint": given})).alerts[0]
    other = read_message(message(alert(began=AT, pod="b") | {"fingerprint": given})).alerts[0]
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        message(version="3"),
        message(version=4),
        message(alerts={}),
        json.dumps({"version": "4"}).encode(),
        message(*[{}] * (MAX_ALERTS + 1)),
    ],
)
def test_what_is_no_message_of_version_4_is_refused(body: bytes) -> None:
    with pytest.raises(BadDocument):
        read_message(body)


@pytest.mark.parametrize(
    "spoiled",
    [
        7,
        {"status": "suppressed"},
        {"labels": {"killswitch_rollout": ["copilot"]}},
        {"labels": "copilot"},
        {"annotations": {"summary": {}}},
        {"startsAt": "yesterday"},
        {"startsAt": "2026-04-19T14:22:11"},
        {"startsAt": None},
        {"generatorURL": 7},
    ],
)
def test_an_alert_that_cannot_be_read_costs_no_other(spoiled: object) -> None:
    bad = alert(began=AT) | spoiled if isinstance(spoiled, dict) else spoiled
    found = read_message(message(bad, alert(began=AT)))
    assert len(found.alerts) == 1
    assert len(found.unread) == 1
    assert found.unread[0].startswith("alert 1")
