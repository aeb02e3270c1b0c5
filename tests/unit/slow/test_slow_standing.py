"""What is kept of an evaluation of slow signals, and when the next one is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from killswitch.errors import BadDocument
from killswitch.model import Reason, Unreadable, Verdict
from killswitch.slow.findings import SlowFinding
from killswitch.slow.judging import judge_slow
from killswitch.slow.standing import (
    PAGE_AFTER,
    RETRY_AFTER,
    SlowStanding,
    from_document,
    is_due,
    standing_of,
    to_document,
)
from killswitch.slow_settings import SlowSettings
from tests.doubles.warehouses import signal_of

DAY = 86_400.0
MONDAY = 1_776_664_800.0  # 2026-04-20 06:00 UTC
SETTINGS = SlowSettings("duckdb:///x", "select", "user_id", "day", (signal_of(),))


def finding(verdict: Verdict, at: float = MONDAY, reason: Reason = Reason.SOURCE_DOWN) -> SlowFinding:
    unknown = judge_slow(signal_of(), Unreadable(reason, "no"), signals=1, evaluated_at=at, expected_day=1)
    return unknown if verdict is Verdict.UNKNOWN else replace(unknown, verdict=verdict, reason=None, sentence="s")


def standing(
    verdict: Verdict, at: float = MONDAY, asked: float = 60.0, reason: Reason = Reason.SOURCE_DOWN
) -> SlowStanding:
    return standing_of("copilot", 3, [finding(verdict, at, reason)], None, at + asked)


def test_what_is_kept_comes_back() -> None:
    for verdict in (Verdict.BREACH, Verdict.HEALTHY, Verdict.UNKNOWN):
        kept = standing(verdict)
        assert from_document(to_document(kept), rollout="copilot") == kept


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b'{"format": 2, "rollout": "copilot"}', b'{"format": 1, "rollout": "x"}']
)
def test_what_is_no_standing_is_refused(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value, rollout="copilot")


def test_each_day_is_evaluated_once() -> None:
    kept = standing(Verdict.HEALTHY)
    assert is_due(SETTINGS, None, 3, MONDAY)
    assert not is_due(SETTINGS, kept, 3, MONDAY + DAY - 1)
    assert is_due(SETTINGS, kept, 3, MONDAY + DAY)


def test_another_generation_and_a_new_signal_are_evaluated_at_once() -> None:
    kept = standing(Verdict.HEALTHY)
    assert is_due(SETTINGS, kept, 4, MONDAY + 60)
    more = replace(SETTINGS, signals=(signal_of(), replace(signal_of(), name="refunds")))
    assert is_due(more, kept, 3, MONDAY + 60)


def test_a_warehouse_that_failed_is_asked_again_each_hour() -> None:
    failed = standing(Verdict.UNKNOWN)
    assert not is_due(SETTINGS, failed, 3, failed.asked_at + RETRY_AFTER - 1)
    assert is_due(SETTINGS, failed, 3, failed.asked_at + RETRY_AFTER)
    few = standing(Verdict.UNKNOWN, reason=Reason.TOO_FEW_USERS)
    assert not is_due(SETTINGS, few, 3, few.asked_at + RETRY_AFTER)


def test_a_clock_set_back_asks_again_and_not_for_ever_later() -> None:
    failed = standing(Verdict.UNKNOWN)
    assert is_due(SETTINGS, failed, 3, failed.asked_at - RETRY_AFTER)


def test_an_evaluation_of_days_to_come_is_made_again() -> None:
    """A replica whose clock was months ahead has judged once; until then a bad canary would not be pinned."""
    ahead = standing(Verdict.HEALTHY, MONDAY + 90 * DAY)
    assert is_due(SETTINGS, ahead, 3, MONDAY)
    assert not is_due(SETTINGS, standing(Verdict.HEALTHY, MONDAY), 3, MONDAY - 60.0)


def test_silence_is_counted_from_its_first_day() -> None:
    kept = standing(Verdict.UNKNOWN)
    assert kept.unheard(MONDAY) == ()
    for day in (1, 2):
        kept = standing_of("copilot", 3, [finding(Verdict.UNKNOWN, MONDAY + day * DAY)], kept, MONDAY + day * DAY)
    assert kept.signals[0].unknown_since == MONDAY
    assert [one.signal for one in kept.unheard(MONDAY + PAGE_AFTER)] == ["csat"]
    heard = standing_of("copilot", 3, [finding(Verdict.HEALTHY, MONDAY + 3 * DAY)], kept, MONDAY + 3 * DAY)
    assert heard.unheard(MONDAY + 99 * DAY) == ()


def test_while_values_settle_no_one_is_paged() -> None:
    """No verdict is due yet, for weeks where refunds settle; silence begins when the warehouse fails."""
    kept = standing(Verdict.UNKNOWN, reason=Reason.SETTLING)
    for day in range(1, 9):
        reason = Reason.SETTLING if day < 6 else Reason.STALE
        found = finding(Verdict.UNKNOWN, MONDAY + day * DAY, reason)
        kept = standing_of("copilot", 3, [found], kept, MONDAY + day * DAY)
        assert bool(kept.unheard(MONDAY + day * DAY)) is (day == 8)


def test_two_days_of_which_one_has_23_hours_are_two_days() -> None:
    at = datetime(2026, 3, 28, 6, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    later = datetime(2026, 3, 30, 6, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert standing(Verdict.UNKNOWN, at).unheard(later)
    assert not standing(Verdict.UNKNOWN, at).unheard(later - DAY)
