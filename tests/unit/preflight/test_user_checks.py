"""The doctor says what counting users costs, and how many requests name none."""

from __future__ import annotations

import pytest

from killswitch.preflight import user_checks
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.checks import Check, Setup, Status
from killswitch.preflight.user_checks import examine_users
from killswitch.rules.loading import load_text
from tests.unit.preflight.first_rules.store_contents import NOW, growing

RULES = b"""\
rollout: copilot
control: old
canary: new
metrics: {requests: asked_total, errors: failed_total}
cohorts: {control: {cohort: control}, canary: {cohort: canary}}
rules: {error_rate: {max: 2%, per: end_user}}
"""


def found(nameless: float = 0.0) -> list[Check]:
    series = {f'asked_total{{cohort="{c}",end_user="{u}"}}': 600.0 for c in ("canary", "control") for u in range(4)}
    series |= {'failed_total{cohort="control",end_user="1"}': 9.0, 'asked_total{cohort="canary"}': nameless}
    source = growing(series)
    setup = Setup(source, load_text(RULES).rollouts, Terms(NOW - 3600, NOW), 15.0, labels=source)
    return list(examine_users(setup, setup.rollouts[0]))


def test_the_cost_of_counting_users_is_said() -> None:
    (cost,) = found()
    assert cost.status is Status.NOTE
    assert "`per: end_user` reads 4 of control and 5 of canary counters in every step of 30 s, in 0." in cost.found


def test_too_many_users_are_wrong_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_checks, "MOST_SERIES", 4)
    (cost,) = found()
    assert cost.status is Status.WRONG
    assert cost.fix == "use a label with fewer values (a team or a key), or remove `per`"


def test_requests_without_a_user_are_a_warning() -> None:
    _, check = found(nameless=2400.0)
    assert check.found.startswith("50% of canary's requests have no `end_user`")
