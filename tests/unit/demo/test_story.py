"""The demo's story: told from what the processes say, in the order it happened."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from killswitch.demo.pace import Pace
from killswitch.demo.story import NO_VERDICT_AFTER, Story, clock_words
from killswitch.demo.traffic import Regression
from killswitch.demo.view import view

BEGAN = 50.0
REASON = "refusal_rate 20.1% (canary, 51 of 254) over control 1.0% + 5.0 pp; chance of this by luck under 1 in 2,500"
PAGE: dict[str, Any] = {
    "kind": "TRIPPED",
    "alert": "canary kill-switch tripped",
    "reason": "refusal_rate=0.087 vs baseline 0.011",
    "samples_new": 1842,
    "samples_old": 35160,
    "auto_action": "all traffic routed to model-old",
}


def state(now: float, *, share: float | None = 0.05, regression: Regression = Regression.REFUSALS) -> dict[str, Any]:
    """``now`` and the regression, at 10:00, count from the arming."""
    return {
        "at": BEGAN + now,
        "canary_share": share,
        "control": {"requests": 95_000},
        "canary": {"requests": 5_000},
        "last_canary_at": BEGAN + min(now, 671.0),
        "regression": regression,
        "regression_at": None if regression is Regression.NONE else BEGAN + 600.0,
    }


def status(verdict: str | None = "HEALTHY", sentence: str = "4 of 4 rules healthy") -> dict[str, Any]:
    rules = ("error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate") if verdict else ()
    findings = [
        {
            "rule": rule,
            "unit": "seconds" if rule == "latency_p95" else "fraction",
            "verdict": verdict,
            "reason": "TOO_FEW_REQUESTS" if verdict == "UNKNOWN" else None,
            "canary": 0.0123,
            "control": 0.0110,
            "limit": 0.02,
            "samples_canary": 11_842.0,
            "samples_control": 135_160.0,
            "evidence": 123456.0,
            "needed": 400.0,
        }
        for rule in rules
    ]
    return {"rollouts": [{"state": "armed", "sentence": f"[armed g1 ramp_5 5%]: {sentence}", "findings": findings}]}


def told(regression: Regression = Regression.REFUSALS) -> Story:
    return Story(regression, Pace(10.0), began=BEGAN)


def whole() -> Story:
    story = told()
    story.observe(state(10.0, share=None), status(None), [])
    story.observe(state(60.0), status(), [])
    story.observe(state(620.0), status(), [])
    story.observe(state(672.0), status("BREACH"), [], (BEGAN + 670.0, REASON))
    story.observe(state(680.0), status(None), [(0.0, PAGE)], (BEGAN + 670.0, REASON))
    assert not story.over
    story.observe(state(710.0, share=0.0), status(None), [(0.0, PAGE)], (BEGAN + 670.0, REASON))
    return story


def test_a_bad_canary_makes_five_lines() -> None:
    story = whole()
    assert story.over
    assert story.ended_well
    assert story.lines() == [
        "1. model-new got 5% of the users of support-copilot; model-old kept the rest.",
        "2. At 10:00 it got worse: it refuses 20% of its requests instead of 1.1%.",
        f"3. The kill switch tripped 1m10s later: {REASON}.",
        "4. The person on call was paged: “canary kill-switch tripped”, all traffic routed to model-old.",
        "5. The canary's share is 0: it answered its last request at 11:11.",
    ]


def test_events_are_told_once_and_in_order() -> None:
    events = whole().events
    assert [event.at for event in events] == [0.0, 60.0, 600.0, 670.0, 680.0, 710.0]
    assert len({event.text for event in events}) == 6


def test_a_page_of_another_kind_is_not_the_trips() -> None:
    story = told()
    story.observe(state(60.0), status(), [(0.0, {**PAGE, "kind": "BLIND"})])
    assert story.page is None


def test_a_healthy_canary_ends_well_if_judged_and_not_tripped() -> None:
    """The demo of a healthy canary ends well only if the canary was judged and not tripped."""
    story = told(Regression.NONE)
    story.observe(state(900.0, regression=Regression.NONE), status(None), [])
    assert not story.ended_well
    assert "never had a verdict" in story.lines()[2]
    story.observe(state(910.0, regression=Regression.NONE), status(), [])
    assert story.ended_well
    assert story.lines()[2:] == [
        "3. The kill switch looked every 30 s and held.",
        "4. No one was paged.",
        "5. The canary still has its 5%.",
    ]
    story.observe(state(920.0, regression=Regression.NONE), status(), [(0.0, PAGE)], (BEGAN + 915.0, REASON))
    assert not story.ended_well
    assert "TRIPPED FALSELY" in story.lines()[2]


def test_a_trip_before_the_regression_is_said_to_be_one() -> None:
    story = told()
    story.observe(state(300.0), status(), [], (BEGAN + 290.0, REASON))
    assert "tripped at 4:50, before it got worse" in story.lines()[2]


def test_a_canary_that_was_not_caught_is_no_success() -> None:
    story = told()
    story.observe(state(60.0), status(), [])
    story.observe(state(1800.0), status(), [])
    assert story.lines()[-1] == "3. The kill switch had not tripped by 30:00."
    assert not story.ended_well


@pytest.mark.parametrize("found", [None, "UNKNOWN"])
def test_only_lasting_unknown_verdicts_get_a_line(found: str | None) -> None:
    """The first UNKNOWN verdicts get no line. Lasting ones do."""
    story = told()
    for now in (5.0, 30.0, NO_VERDICT_AFTER - 1):
        story.observe(state(now), status(found, "blind: 4 rules NO_DATA"), [])
    assert len(story.events) == 1
    for now in (NO_VERDICT_AFTER + 1, NO_VERDICT_AFTER + 5):
        story.observe(state(now), status(found, "blind: 4 rules NO_DATA"), [])
    assert [event.text for event in story.events[1:]] == ["no verdict yet: blind: 4 rules NO_DATA"]


def test_what_does_not_answer_for_a_moment_changes_nothing() -> None:
    story = told()
    story.observe(state(60.0), status(), [])
    story.observe(None, None, [])
    assert (story.now, story.judged_at) == (60.0, 60.0)


@pytest.mark.parametrize(("seconds", "words"), [(None, "-"), (0.0, "0:00"), (59.6, "1:00"), (3725.0, "62:05")])
def test_the_clock_is_minutes_and_seconds(seconds: float | None, words: str) -> None:
    assert clock_words(seconds) == words


# --- the view ---


def drawn(story: Story, now: dict[str, Any] | None, width: int = 80) -> list[str]:
    canvas = Console(file=io.StringIO(), width=width)
    canvas.print(view(story, now))
    assert isinstance(canvas.file, io.StringIO)
    return canvas.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_last_frame_with_every_rule_fits_into_24_lines(width: int) -> None:
    """The last frame fits into a terminal of 24 lines, and names every rule."""
    story = whole()
    lines = drawn(story, state(710.0, share=0.0), width)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for word in ("error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate", "BREACH", ">999/400", "TRIPPED"):
        assert word in text
    assert "…" not in text


def test_after_the_trip_the_table_shows_what_it_tripped_on() -> None:
    """The last look before it said 5.4 % of 6.2 % next to a sentence of 28 %."""
    story = whole()
    tripped = status("HEALTHY")["rollouts"][0]
    tripped["findings"][2] |= {"verdict": "BREACH", "canary": 0.054, "limit": 0.062, "excursion": {
        "since": "2026-04-19T14:20:30.000Z", "canary": 0.2804, "control": 0.012, "limit": 0.062,
        "events_canary": 53.0, "trials_canary": 189.0, "events_control": 41.0, "trials_control": 3410.0,
    }}  # fmt: skip
    trip = {"findings": tripped["findings"], "window_seconds": 30.0}
    after = {"state": "tripped", "sentence": "tripped", "findings": [], "trip": trip}
    story.observe(state(712.0, share=0.0), {"rollouts": [after]}, [(0.0, PAGE)], (BEGAN + 670.0, REASON))
    lines = drawn(story, state(712.0, share=0.0))
    (row,) = [number for number, line in enumerate(lines) if "refusal_rate" in line and "BREACH" in line]
    assert "28.0%" in lines[row]
    assert "53 of 189" in lines[row]
    assert "last 5m" in lines[row + 1]
    assert "5.4%" in lines[row + 1]
    assert len(lines) <= 24
    assert "what it tripped on" in "\n".join(lines)


def test_before_the_first_numbers_nothing_looks_alarming() -> None:
    story = told()
    story.observe(state(5.0, share=None), status("UNKNOWN", "blind: 4 rules NO_DATA"), [])
    text = "\n".join(drawn(story, state(5.0, share=None)))
    assert "waiting for the first numbers" in text
    assert "UNKNOWN" not in text
    assert "blind" not in text
    assert drawn(told(), None)


def test_an_unknown_verdict_says_why_without_losing_its_neighbours() -> None:
    story = told()
    story.observe(state(60.0), status(), [])
    story.observe(state(90.0), status("UNKNOWN"), [])
    text = "\n".join(drawn(story, state(90.0)))
    assert "few requests" in text
    assert "…" not in text
    assert "thumbs_down_rate" in text
    assert "11.8k/135k" in text
