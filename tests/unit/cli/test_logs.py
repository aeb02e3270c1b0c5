"""The same warning is said once and counted, not each second."""

from __future__ import annotations

import logging

import pytest

from killswitch.cli.logs import QUIET_FOR, Once


class Log:
    """Records pass the filter at the times the test says."""

    def __init__(self) -> None:
        self.once = Once()

    def said(self, text: str, at: float, *, level: int = logging.WARNING, **extra: object) -> str | None:
        record = logging.LogRecord("a", level, "", 0, "%s", (text,), None)
        record.created = 1.7e9 + at
        record.__dict__.update(extra)
        return record.getMessage() if self.once.filter(record) else None


def test_a_warning_each_second_is_one_line_and_a_count() -> None:
    log = Log()
    said = [
        log.said("the store is down, after 2.0 s" if n % 2 else "the store is down, after 7 s", n) for n in range(600)
    ]
    assert [one for one in said if one] == ["the store is down, after 7 s"]
    assert log.said("the store is down, after 2.0 s", QUIET_FOR) == (
        "the store is down, after 2.0 s (599 more times since 2023-11-14T22:13:20Z)"
    )
    assert log.said("the store is down, after 2.0 s", 2 * QUIET_FOR) == "the store is down, after 2.0 s"


def test_another_warning_is_said_at_once() -> None:
    log = Log()
    assert [log.said(f"page {number} is given up", 0.0) for number in range(3)] == [
        f"page {number} is given up" for number in range(3)
    ]


@pytest.mark.parametrize(("level", "extra"), [(logging.INFO, {}), (logging.WARNING, {"tick": 1.0})])
def test_what_a_cycle_decides_is_said_each_time(level: int, extra: dict[str, object]) -> None:
    log = Log()
    assert [log.said("copilot BLIND", number, level=level, **extra) for number in range(5)] == ["copilot BLIND"] * 5


def test_no_number_of_texts_fills_the_memory() -> None:
    log = Log()
    for number in range(5_000):
        log.said(f"page {number}", 0.0)
    assert len(log.once._said) <= 1_000
