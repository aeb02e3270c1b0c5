"""The section `alerts`: its short forms, and what is refused, with line and fix."""

from __future__ import annotations

import pytest

from killswitch.alert_settings import AlertAction, AlertSettings
from killswitch.errors import BadRules
from killswitch.rules.loading import load_text

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"


def alerts_of(text: str) -> AlertSettings | None:
    return load_text((HEAD + text).encode(), name="f.yaml").rollouts[0].alerts


def test_without_the_section_no_alert_acts() -> None:
    assert alerts_of("") is None


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("alerts: hold\n", AlertAction.HOLD),
        ("alerts: trip\n", AlertAction.TRIP),
        ("alerts: {}\n", AlertAction.HOLD),
        ("alerts: {action: trip}\n", AlertAction.TRIP),
    ],
)
def test_it_holds_unless_it_says_trip(text: str, action: AlertAction) -> None:
    assert alerts_of(text) == AlertSettings(action, {"killswitch_rollout": ("r",)})


def test_every_key_of_alerts_is_read() -> None:
    found = alerts_of("alerts: {action: trip, match: {service: copilot, pod: [a, b]}, looks_back: 5m}\n")
    assert found == AlertSettings(AlertAction.TRIP, {"service": ("copilot",), "pod": ("a", "b")}, 300.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alerts: page\n", "use hold or trip"),
        ("alerts: [trip]\n", "alerts"),
        ("alerts: {match: {}}\n", "write labels with their values"),
        ("alerts: {match: {service: [], a: b}}\n", "0 values"),
        ("alerts: {match: {service: 7}}\n", "put it in quotes"),
        ("alerts: {match: {service: '=~cop.*'}}\n", "list the values one by one"),
        ("alerts: {match: {'1x': a}}\n", "not a label name"),
        ("alerts: {match: severity}\n", "write labels with their values"),
        ("alerts: {looks_back: 2d}\n", "out of range"),
        ("alerts: {looks_back: 300}\n", "unit"),
        ("alerts: {label: x}\n", "label"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadRules) as refused:
        alerts_of(text)
    assert words in refused.value.problems[0]
    assert "f.yaml:4" in refused.value.problems[0]


@pytest.mark.parametrize(
    ("text", "warned"),
    [("alerts: hold\n", True), ("alerts: hold\nplan: default\n", False), ("alerts: trip\n", False), ("", False)],
)
def test_a_hold_without_a_plan_is_doubted(text: str, *, warned: bool) -> None:
    found = load_text((HEAD + text).encode(), name="f.yaml")
    assert any("only pages" in str(one) for one in found.warnings) == warned
