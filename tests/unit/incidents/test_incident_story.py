"""An incident in order: from the first bad request to the re-arm, and what is not known is said, not guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.change import Deed
from killswitch.flags.flag import StageEntry
from killswitch.flags.incident import RoutersFollowed
from killswitch.incidents.story import MOST_STEPS, IncidentStory, MomentKind, first_bad, story_of
from killswitch.pages.outbox_entry import Delivery, DeliveryState, new_entry
from tests.doubles.flags import armed, tripped
from tests.doubles.pages import AT, PROVEN, trip_page
from tests.doubles.stories import ALERT, BEGAN, all_known, change, nothing_known


def took(story: IncidentStory) -> dict[str, float | None]:
    return {leg.leg: leg.seconds for leg in story.took}


def test_from_the_first_bad_request_to_the_re_arm() -> None:
    story = story_of(all_known())
    told = [(entry.moment, round(entry.at - AT)) for entry in story.timeline if entry.moment is not MomentKind.RAMP]
    assert told == [
        (MomentKind.BEGAN, -101), (MomentKind.TRIP, 0), (MomentKind.PAGE, 2), (MomentKind.PAGE, 3),
        (MomentKind.ROUTERS, 9),
        (MomentKind.PERSON, 60), (MomentKind.PERSON, 120), (MomentKind.PERSON, 600),
    ]  # fmt: skip
    said = [entry.said for entry in story.timeline]
    assert "refusal_rate goes over its limit, by its evidence: 53 of 189 canary requests until the trip" in said
    assert "acknowledged by ben (Slack)" in said
    assert "re-armed by ann (Slack): prompt fixed" in said
    assert "pagerduty took the page TRIPPED, possibly a repeat" in said
    assert story.unknown == ()


def test_each_leg_is_timed() -> None:
    assert took(story_of(all_known())) == {
        "first bad request to trip": pytest.approx(101, abs=1),
        "trip to first page": 2.0,
        "trip to last router": 9.0,
        "trip to acknowledged": 60.0,
        "trip to re-armed": 600.0,
    }


def test_what_is_not_known_is_said_and_has_no_time() -> None:
    story = story_of(nothing_known())
    assert set(took(story).values()) == {None}
    unknown = " | ".join(story.unknown)
    for words in (
        "first bad request", "our rules said", "both cohorts", "who was paged", "routers have followed", "acknowledged",
        "the history of that time is not kept; it has no flag now",
    ):  # fmt: skip
        assert words in unknown


def test_a_flag_that_is_still_tripped_is_no_gap_in_the_history() -> None:
    of_now = replace(nothing_known(), flag=tripped(7))
    assert "when it will be re-armed: it is tripped now" in story_of(of_now).unknown
    assert any("generation 9 is armed now" in one for one in story_of(replace(of_now, flag=armed(9))).unknown)


def test_routers_that_have_not_followed_are_not_the_last() -> None:
    known = all_known()
    story = story_of(replace(known, incident=replace(known.incident, routers=RoutersFollowed(10, 12, AT + 9))))
    assert took(story)["trip to last router"] is None
    assert "when the other 2 of 12 routers followed" in story.unknown


def test_a_page_that_was_given_up_is_said() -> None:
    entry = new_entry(trip_page(), at=AT)
    failed = Delivery(DeliveryState.EXPIRED, attempts=9, error="channel_not_found")
    entry = replace(entry, deliveries={"slack": failed, "webhook": Delivery(DeliveryState.DELIVERED)})
    unknown = story_of(replace(all_known(), page=entry)).unknown
    assert unknown == ("whether slack has the page (given up): channel_not_found",)


def test_an_alert_begins_the_story_where_it_tripped() -> None:
    story = story_of(nothing_known(alert=ALERT))
    assert ("alert CopilotErrors begins to fire", AT - 30) in [(entry.said, entry.at) for entry in story.timeline]


def test_the_first_of_several_rules_is_the_beginning() -> None:
    assert PROVEN.excursion is not None
    later = replace(PROVEN, rule="error_rate", excursion=replace(PROVEN.excursion, since=BEGAN + 50))
    incident = replace(all_known().incident, findings=(later, PROVEN), rules=("error_rate", "refusal_rate"))
    assert first_bad(incident) == pytest.approx(BEGAN, abs=1)


def test_a_bare_comparison_knows_no_first_bad_request() -> None:
    """Its window was over the limit at a tick; the first bad request came at some time before, in that window."""
    bare = replace(PROVEN, excursion=None, evidence=None, needed=None, since=AT - 1)
    story = story_of(replace(all_known(), incident=replace(all_known().incident, findings=(bare,), window=300.0)))
    assert took(story)["first bad request to trip"] is None
    assert "when the first bad request came: the bare comparison of a window tripped it" in story.unknown
    told = [entry.said for entry in story.timeline if entry.moment is MomentKind.BEGAN]
    assert told == ["refusal_rate is over its limit in the window of 5m until here"]


def test_in_stage_aa_no_user_got_the_canarys_model() -> None:
    stages = (StageEntry("aa", 5.0, AT - 9000), StageEntry("ramp_5", 5.0, AT - 8000))
    incident = all_known(stages=stages).incident
    told = [entry.said for entry in story_of(all_known(stages=stages)).timeline if entry.moment is MomentKind.RAMP]
    assert told == [
        f"armed to aa: 5% of users still get {incident.control}",
        f"went to ramp_5: 5% of users get {incident.canary}",
    ]


def test_a_long_ramp_shows_its_beginning_and_its_newest_steps() -> None:
    stages = tuple(StageEntry(f"s{number}", float(number), AT - 9000 + number) for number in range(200))
    told = [entry.said for entry in story_of(all_known(stages=stages)).timeline if entry.moment is MomentKind.RAMP]
    assert len(told) == MOST_STEPS
    assert told[0].startswith("armed to s0")
    assert "(190 further steps before this one)" in told[1]
    assert told[-1].startswith("went to s199")


def test_a_re_arm_by_a_slow_clock_is_still_the_end() -> None:
    """It was made on the tripped flag, whatever its time says; no leg takes less than nothing."""
    sources = replace(all_known(), history=(change(Deed.REARM, -5, reason="fixed"),))
    assert took(story_of(sources))["trip to re-armed"] == 0.0
