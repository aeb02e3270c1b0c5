"""What the dialogs of Re-arm and End show, ask for, and look like to Slack."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.flag import Flag, trip
from killswitch.flags.incident import RoutersFollowed
from killswitch.flags.transitions import Actor
from killswitch.interaction.dialogs import end_dialog, followed, rearm_dialog, still_visible
from killswitch.interaction.payloads import Place, from_interaction
from killswitch.status.reports import FlagsRead, RolloutReport
from killswitch.wording import date_and_time
from tests.doubles.pages import AT, BREACH, HEALTHY, armed, incident
from tests.doubles.slack_limits import problem_of_view
from tests.doubles.slack_payloads import submission, value

PLACE = Place("C00000001", "1776608532.000001", "https://hooks.slack.com/actions/T/1/x")
STAGES = {"ramp_1": 1.0, "ramp_5": 5.0}


def tripped(reason: str = "refusal_rate 8.7%", by: str = "kill-1") -> Flag:
    flag = armed()
    return trip(
        flag, rollout=flag.rollout, reason=reason, rules=(), incident="i", now=AT, by=by, actor=Actor.CONTROLLER
    )


def report(**given_values: object) -> RolloutReport:
    return replace(RolloutReport("support-copilot", "words"), **given_values)  # type: ignore[arg-type]


def test_a_breach_that_is_still_there_says_yes() -> None:
    (line,) = still_visible(report(findings=(BREACH, HEALTHY)))
    assert line.startswith("YES: refusal_rate 8.7%")


def test_healthy_rules_say_no_with_their_numbers() -> None:
    (line,) = still_visible(report(findings=(HEALTHY,)))
    assert line.startswith("No: latency_p95 2.41 s")


def test_without_requests_it_cannot_be_seen() -> None:
    (line,) = still_visible(report())
    assert line.startswith("It cannot be seen")


def test_no_cycle_and_no_store_are_unknown() -> None:
    assert still_visible(None)[0].startswith("UNKNOWN")
    assert still_visible(report(read=FlagsRead(AT, fresh=False)))[0].startswith(
        "UNKNOWN: the flag store cannot be read"
    )


def test_it_says_whether_routers_have_followed() -> None:
    whole = replace(incident(), routers=RoutersFollowed(12, 12, AT))
    assert followed(whole) == "12 of 12 routers had followed the trip at 2026-04-19 14:22:11 UTC"
    assert followed(replace(whole, routers=RoutersFollowed(3, 12, AT))).startswith("ONLY 3 of 12 routers")
    assert "UNKNOWN" in followed(incident())
    assert "UNKNOWN" in followed(None)


def test_slack_takes_both_dialogs() -> None:
    assert problem_of_view(rearm_dialog(tripped(), None, ["x"], STAGES, value(), PLACE, opened_at=AT)) is None
    assert problem_of_view(end_dialog(tripped(), None, value(), PLACE, opened_at=AT)) is None


def test_dialogs_say_the_time_that_the_page_says() -> None:
    """The flag has the time of the tick, the page that of the decision. A person sees both, one next to the other."""
    decided = replace(incident(), decided_at=AT + 7)
    for view in (
        rearm_dialog(tripped(), decided, ["x"], STAGES, value(), PLACE, opened_at=AT),
        end_dialog(tripped(), decided, value(), PLACE, opened_at=AT),
    ):
        assert f"Tripped {date_and_time(AT + 7)} by" in json.dumps(view)
    unread = end_dialog(tripped(), None, value(), PLACE, opened_at=AT)
    assert f"Tripped {date_and_time(AT)} by" in json.dumps(unread)


def test_the_first_stage_is_chosen_at_first() -> None:
    view = rearm_dialog(tripped(), None, ["x"], STAGES, value(), PLACE, opened_at=AT)
    stage = next(block["element"] for block in view["blocks"] if block.get("block_id") == "stage")
    assert stage["initial_option"]["value"] == "ramp_1"
    assert [one["text"]["text"] for one in stage["options"]] == ["ramp_1: 1% of users", "ramp_5: 5% of users"]


HOSTILE = st.text(max_size=3000)


@given(HOSTILE, HOSTILE, st.lists(HOSTILE, min_size=1, max_size=10))
def test_hostile_texts_fit_and_are_no_markup(reason: str, by: str, seen: list[str]) -> None:
    """Whatever a rule, a model or a person wrote: Slack takes the dialog, and nothing in it is a mention or a link."""
    flag = tripped()
    assert flag.trip is not None
    hostile = replace(flag, trip=replace(flag.trip, reason=f"<!channel>{reason}", by=f"<@U1>{by}"))
    view = rearm_dialog(hostile, None, [f"<!here> {line}" for line in seen], STAGES, value(), PLACE, opened_at=AT)
    assert problem_of_view(view) is None
    shown = json.dumps(view["blocks"], ensure_ascii=False)
    for markup in ("<!channel>", "<@U1>", "<!here>"):
        assert markup not in shown
    assert from_interaction(submission(view)) is not None
