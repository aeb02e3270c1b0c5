"""An absent counter is zero for as long as that can be luck."""

from __future__ import annotations

from killswitch.model import Counts, Reading, Reason, Rule, Unreadable
from killswitch.verdicts.missing_events import MOST_DUE, MissingEvents, never_counted
from tests.doubles.scripted_source import ERRORS, THUMBS

CONTROL = Counts(10.0, 1000.0)
ABSENT = Counts(0.0, 100.0, absent=True)


def after(
    unheard: MissingEvents, canary: Counts | Unreadable, rule: Rule = ERRORS, age: float = 1e5
) -> Unreadable | None:
    return unheard.after(rule, Reading(canary, CONTROL, 30.0), age)


def test_few_events_are_due_at_first_and_many_in_the_end() -> None:
    unheard = MissingEvents()
    said = [after(unheard, ABSENT) for _ in range(40)]
    assert said[: int(MOST_DUE)] == [None] * int(MOST_DUE)
    last = said[-1]
    assert last is not None
    assert last.reason is Reason.NEVER_SEEN
    assert "40 events were due" in last.detail
    assert "absent_is_zero" in last.detail


def test_a_counter_that_is_there_is_believed_whatever_it_counts() -> None:
    unheard = MissingEvents()
    assert [after(unheard, Counts(0.0, 100.0)) for _ in range(100)] == [None] * 100


def test_the_first_event_ends_the_doubt() -> None:
    unheard = MissingEvents()
    assert [after(unheard, ABSENT) for _ in range(40)][-1] is not None
    assert after(unheard, Counts(1.0, 100.0)) is None
    assert after(unheard, ABSENT) is None


def test_an_unreadable_step_adds_nothing_and_ends_nothing() -> None:
    unheard = MissingEvents(MOST_DUE + 1)
    assert after(unheard, Unreadable(Reason.GAP, "a scrape is missing")) is not None
    assert unheard.due == MOST_DUE + 1


def test_late_feedback_is_waited_for() -> None:
    """Clicks trail their requests; at a high rate many would be due before the first can have come."""
    unheard = MissingEvents()
    assert THUMBS.delay > 0
    for number in range(100):
        assert after(unheard, ABSENT, THUMBS, age=3 * THUMBS.delay * number / 100) is None
    assert unheard.due == 0


def test_an_incident_of_control_alone_is_not_owed_by_the_canary() -> None:
    unheard, canary = MissingEvents(), Counts(0.0, 100.0, absent=True)
    usual, incident = Counts(1.0, 1000.0), Counts(800.0, 1000.0)
    for control in [usual] * 20 + [incident] * 10:
        assert unheard.after(ERRORS, Reading(canary, control, 30.0), 1e5) is None
    assert unheard.due < MOST_DUE / 2


def test_a_share_that_stays_higher_becomes_usual() -> None:
    """Control had no event at first, and a lost label must be noticed all the same."""
    unheard, canary = MissingEvents(), Counts(0.0, 100.0, absent=True)
    quiet = [Counts(0.0, 1000.0)] * 20
    said = [unheard.after(ERRORS, Reading(canary, each, 30.0), 1e5) for each in quiet + [CONTROL] * 90]
    assert said[-1] is not None


def test_no_event_is_suspicious_once_a_tenth_of_the_limit_shows() -> None:
    """At a limit of 2 %, a service ten times better has an event in 1,500 requests with a probability of 95 %."""
    assert never_counted(ERRORS, 0.0, 1_400.0) is None
    doubt = never_counted(ERRORS, 0.0, 1_600.0)
    assert doubt is not None
    assert doubt.startswith("never an event in 1,600 requests")
    assert never_counted(ERRORS, 1.0, 1e9) is None
    assert never_counted(THUMBS, 0.0, 2_900.0) is None
    assert never_counted(THUMBS, 0.0, 3_100.0) is not None
