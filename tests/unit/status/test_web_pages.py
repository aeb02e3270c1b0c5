"""The web pages: sorted by what needs a person, readable by everyone, bounded, and without anything that could act."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from killswitch.charts.chart import MarkKind, known
from killswitch.flags.change import Deed, FlagSummary
from killswitch.flags.transitions import State
from killswitch.incidents.html import incident_page
from killswitch.incidents.story import Sources, story_of
from killswitch.model import Verdict
from killswitch.status.attention import Need, attention
from killswitch.status.document import trip_document
from killswitch.status.html_document import POLICY, STYLE
from killswitch.status.rollout_page import MOST_LISTED, Course, StoredFacts, marks_of, percent_chart, rollout_page
from killswitch.status.web_page import IN_FULL, MOST_ROWS, status_page
from killswitch.trends.trend import RuleTrend, Span, Trend
from tests.doubles import web_pages as world
from tests.doubles.html_outline import Outline
from tests.doubles.html_reader import HOSTILE
from tests.doubles.pages import AT
from tests.doubles.stories import ALERT

TICK = "2026-04-19T14:22:11Z"


def rollout(name: str = world.NAME, course: Course | None = None) -> str:
    return rollout_page(world.explained(name), world.facts(), course or world.course(), tick=TICK)


def incident() -> str:
    return incident_page(world.story(), "https://g.example/d/x?a=1&b=2")


PAGES = {
    "first": lambda: status_page(world.status()),
    "many": lambda: status_page(world.status(50)),
    "rollout": rollout,
    "week": lambda: rollout("summaries", world.course(Span.WEEK)),
    "incident": incident,
}


@pytest.fixture(params=list(PAGES), name="page")
def one_page(request: pytest.FixtureRequest) -> str:
    made: str = PAGES[request.param]()
    return made


def test_headings_are_in_order(page: str) -> None:
    levels = [level for level, _ in Outline(page).headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - before <= 1 for before, later in pairwise(levels))


def test_tables_name_their_columns_and_rows(page: str) -> None:
    read = Outline(page)
    scopes = [value for tag, name, value in read.attributes if (tag, name) == ("th", "scope")]
    heads = sum(tag == "th" and name == "role" for tag, name, _ in read.attributes)
    assert len(scopes) == heads
    assert set(scopes) <= {"col", "row"}
    assert "col" in scopes
    assert "row" in scopes


def test_every_cell_says_its_column_on_a_phone(page: str) -> None:
    read = Outline(page)
    cells = sum(tag == "td" and name == "role" for tag, name, _ in read.attributes)
    labels = [value for tag, name, value in read.attributes if tag == "td" and name == "data-label"]
    assert len(labels) == cells
    assert all(labels)


def test_ids_are_unique_and_pictures_are_named(page: str) -> None:
    read = Outline(page)
    assert len(read.ids) == len(set(read.ids))
    named = [value for tag, name, value in read.attributes if (tag, name) == ("svg", "aria-labelledby")]
    assert {one for value in named for one in value.split()} <= set(read.ids)


def test_nothing_acts_and_nothing_is_fetched(page: str) -> None:
    read = Outline(page)
    assert not [name for _, name, _ in read.attributes if name.startswith("on") or name in ("src", "style", "action")]
    assert all(re.match(r"(?:https://g\.example/|\.\./|rollouts/|incidents/|#|\?span=)", link) for link in read.links)
    assert f"<style>{STYLE}</style>" in page
    assert "'unsafe-inline'" not in POLICY


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(text: str) -> None:
    """Names of models, reasons, labels, people: everything that comes from outside."""
    said = world.hostile(text)
    change = replace(world.facts().history[1], by=text, origin=text, reason=text)
    bad = replace(world.incident(), reason=text, by=text)
    report = replace(world.facts().routers[0], id=text, standing=text)
    facts = StoredFacts((change,), ((text, bad),), (report,), 91, "")
    rule = replace(world.trend(Span.DAY).rules[0], rule=text)
    course = Course(Span.DAY, replace(world.trend(Span.DAY), rules=(rule,), note=text))
    pages = [
        rollout_page(said, facts, course, tick=TICK, dashboard=f"https://g.example/{text}"),
        rollout_page(said, StoredFacts(problem=text), None, tick=None),
        status_page({"controller": text, "tick": TICK, "age_seconds": 1.0, "store_problem": text, "rollouts": [said]}),
        incident_page(story_of(Sources(text, bad, (change,), None, course.trend, None, (text,)))),
    ]
    for page in pages:
        read = Outline(page)
        assert not [name for _, name, _ in read.attributes if name.startswith("on") or name == "src"]


def test_what_needs_a_person_comes_first() -> None:
    headings = [said for level, said in Outline(status_page(world.status())).headings if level == 2]
    assert headings == ["Needs a person (2)", "To watch (1)", "Fine (1)", "No canary traffic (1)"]
    page = status_page(world.status())
    assert page.index("unwatched") < page.index("support-copilot") < page.index("search-answers")
    assert "<title>(2) Kill switch</title>" in page


def _one(state: str = "armed", action: str = "hold", verdicts: tuple[Verdict, ...] = (), **more: Any) -> dict[str, Any]:
    findings = [{"verdict": verdict, "rule": "r"} for verdict in verdicts]
    return {"rollout": "x", "state": state, "action": action, "findings": findings, "monitored": True, **more}


@pytest.mark.parametrize(
    ("one", "need", "why"),
    [
        (_one("unreadable"), Need.PERSON, "its flag cannot be read"),
        (_one("unknown"), Need.PERSON, "its flag cannot be read"),
        (_one(monitored=False), Need.PERSON, "not monitored"),
        (_one("tripped"), Need.PERSON, "tripped"),
        (_one("tripped", trip={"acknowledged": {"by": "Ann"}}), Need.PERSON, "tripped; Ann looks after it"),
        (_one("pinned"), Need.PERSON, "pinned"),
        (_one(action="blind", verdicts=(Verdict.UNKNOWN,)), Need.PERSON, "blind: no rule has a usable verdict"),
        (_one(action="would trip", verdicts=(Verdict.BREACH,) * 2), Need.PERSON, "2 rules in breach"),
        (_one(verdicts=(Verdict.SUSPECT, Verdict.UNKNOWN)), Need.WATCH, "1 rule over the limit, not proven"),
        (_one(verdicts=(Verdict.UNKNOWN, Verdict.HEALTHY)), Need.WATCH, "1 rule unknown"),
        (_one(plan={"why": "use `killswitch advance x`"}), Need.WATCH, "its plan waits for a person"),
        (_one(), Need.WATCH, "not judged yet"),
        (_one(verdicts=(Verdict.HEALTHY,) * 4), Need.NOTHING, "4 rules healthy"),
        (_one("complete"), Need.IDLE, ""),
        (_one("absent"), Need.IDLE, ""),
    ],
)
def test_each_state_has_its_place(one: dict[str, Any], need: Need, why: str) -> None:
    found = attention(one)
    assert (found.need, found.why) == (need, why)


def test_a_thousand_rollouts_are_a_page_of_bounded_size() -> None:
    page = status_page(world.status(1000))
    assert len(page) < 600_000
    assert page.count("<h3") <= IN_FULL
    status = world.status()
    one = status["rollouts"][0]
    status["rollouts"] = [{**one, "rollout": f"r{number}"} for number in range(MOST_ROWS + 100)]
    page = status_page(status)
    assert page.count("<tr role=row") <= MOST_ROWS + 1
    assert "and 100 more" in page


def test_a_flag_that_changes_every_minute_has_a_page_of_bounded_size() -> None:
    known = world.facts().history
    history = tuple(replace(known[at % 3], at=AT - 7 * 86_400 + 60 * at) for at in range(10_000))
    facts = replace(world.facts(), history=history)
    page = rollout_page(world.explained(), facts, world.course(Span.WEEK), tick=None)
    assert len(page) < 400_000
    assert page.count("<tr>") < 300


def test_everything_in_need_is_listed_where_there_is_no_room() -> None:
    status = world.status()
    tripped = next(one for one in status["rollouts"] if one["state"] == "tripped")
    status["rollouts"] = [{**tripped, "rollout": f"r{number:03d}"} for number in range(40)]
    page = status_page(status)
    assert all(f"rollouts/r{number:03d}" in page for number in range(40))
    assert page.count("<h3") == IN_FULL


def test_a_rollout_has_the_command_for_each_state() -> None:
    assert "killswitch rearm support-copilot" in rollout()
    assert "killswitch trip summaries" in rollout("summaries")
    assert "killswitch advance summaries" in rollout("summaries")
    assert "killswitch arm idle" in rollout("idle")
    assert "<form" not in rollout()


def test_a_rollout_shows_all_that_is_known_of_it() -> None:
    text = Outline(rollout()).text
    for words in (
        "2 of 3 have acted on the newest change", "not yet", "Ann Lee", "command line on host-7", "looks fine",
        "armed 1% ramp_1 g7 → armed 5% ramp_5 g7", "support-copilot.7", "evidence, on its way to a trip",
        "this controller has watched it since", "53 of 189",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize("span", list(Span))
def test_each_span_is_a_link_and_the_current_one_is_marked(span: Span) -> None:
    page = rollout(course=world.course(span))
    assert f'<a href="?span={span}" aria-current=page>{span}</a>' in page
    assert page.count("aria-current=") == 1
    assert f"Over time: the last {span}" in page


def test_charts_have_their_numbers_as_a_table() -> None:
    page = rollout()
    assert "<summary>Numbers of refusal_rate</summary>" in page
    numbers = page.split("<summary>Numbers of refusal_rate</summary>")[1].split("</details>")[0]
    assert "8.4%" in numbers  # the worst moment is among them, however few there are
    assert "1,800 / 35,000" in numbers
    assert numbers.count("<tr role=row>") <= 15


def test_gaps_that_are_being_filled_are_said() -> None:
    page = rollout(course=replace(world.course(), filling=True))
    assert "the metric store is being asked for what is missing" in page


def test_a_store_that_cannot_be_read_leaves_the_rest() -> None:
    page = rollout_page(world.explained(), StoredFacts(problem="no quorum"), world.course(), tick=TICK)
    assert "flag store: no quorum" in page
    assert "Who did what when" not in page
    assert "refusal_rate" in page


def test_what_was_done_after_the_cycle_is_said() -> None:
    """A cycle is up to 30 s old, and a person who has just typed a command reloads the page."""
    assert "Since then" not in rollout()
    armed = rollout_page(world.explained("summaries"), world.facts(), None, tick=TICK)
    assert "Since then: trip by kill-1 at 2026-04-19 14:22:11 UTC" in armed
    gone = replace(world.facts().history[-1], deed=Deed.END, after=None)
    ended = rollout_page(world.explained(), StoredFacts((gone,)), None, tick=TICK)
    assert "Since then: end by Ann Lee" in ended
    assert "Since then" not in rollout_page(world.explained("idle"), StoredFacts((gone,)), None, tick=TICK)


def test_long_lists_are_cut() -> None:
    change, report, one = world.facts().history[1], world.facts().routers[1], world.incident()
    facts = StoredFacts(
        tuple(replace(change, at=AT + number) for number in range(500)),
        tuple((f"x.{number}", one) for number in range(500)),
        tuple(replace(report, id=f"web-{number}") for number in range(5000)),
        91,
    )
    of_one = world.trend().rules[0]
    rules = tuple(RuleTrend(f"r{number}", of_one.unit, of_one.moments) for number in range(600))
    page = rollout_page(world.explained(), facts, Course(Span.HOUR, replace(world.trend(), rules=rules)), tick=TICK)
    assert page.count("support-copilot") < 100
    assert page.count("web-") <= MOST_LISTED
    assert "5,000 of 5,000 have acted" in page
    assert "and 580 more rules" in page
    assert len(page) < 1_000_000


def test_routers_that_have_not_followed_come_first() -> None:
    page = rollout()
    assert page.index("web-00-") < page.index("web-01-")


def test_the_percent_is_drawn_from_the_history() -> None:
    facts = world.facts()
    chart = percent_chart(facts.history, world.explained(), AT - 3600, AT + 600, ())
    (line,) = chart.series
    assert line.points == [(AT - 3600, 1.0), (AT - 2400, 5.0), (AT, 0.0), (AT + 600, 0.0)]
    unknown = percent_chart((), {"canary_percent": None}, AT - 3600, AT, ())
    assert known(unknown.series[0].points) == []


def test_in_stage_aa_no_user_has_the_canary() -> None:
    """The canary cohort gets the control model; the chart says so before, during and at its end."""
    armed, *later = world.facts().history
    aa = replace(armed, after=FlagSummary(State.ARMED, 7, "aa", 5.0, "old", "new"))
    ramp = replace(later[0], before=aa.after)
    chart = percent_chart((aa, ramp), {"canary_percent": 5.0, "stage": "ramp_5"}, AT - 9000, AT, ())
    assert chart.series[0].points == [(AT - 9000, 0.0), (AT - 7200, 0.0), (AT - 2400, 5.0), (AT, 5.0)]
    only = percent_chart((aa,), {"canary_percent": 5.0, "stage": "aa"}, AT - 3600, AT, ())
    assert only.series[0].points == [(AT - 3600, 0.0), (AT, 0.0)]
    assert [mark.text for mark in marks_of((aa, ramp), {})] == ["aa", "5%"]


def test_an_alert_that_tripped_is_named_on_the_pages() -> None:
    one = replace(world.incident(), automatic=True, by="Alertmanager", alert=ALERT)
    facts = replace(world.facts(), incidents=((one.id, one),))
    page = rollout_page(
        {**world.explained(), "trip": trip_document(world.tripped(), one)}, facts, world.course(), tick=TICK
    )
    assert "tripped by alert CopilotErrors, at" in page
    assert page.count("by alert CopilotErrors") == 2  # the trip, and the list of incidents
    assert "by itself, controller" not in page


def test_trips_and_steps_are_marked_and_an_acknowledgement_is_not() -> None:
    marks = marks_of(world.facts().history, world.explained())
    assert [(mark.kind, mark.text) for mark in marks] == [
        (MarkKind.STEP, "1%"), (MarkKind.STEP, "5%"), (MarkKind.TRIP, "trip"),
    ]  # fmt: skip
    alone = marks_of((), world.explained())
    assert [mark.kind for mark in alone] == [MarkKind.TRIP]
    assert Deed.ACKNOWLEDGE in {change.deed for change in world.facts().history}


def test_an_incident_has_its_picture_and_what_happened_when() -> None:
    text = Outline(incident()).text
    for words in ("Both cohorts around the trip", "Timeline", "Ann Lee looks after it", "killswitch incident show"):
        assert words in text, words
    bare = incident_page(story_of(Sources(f"{world.NAME}.7", world.incident())))
    assert "Both cohorts around the trip" not in bare


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_that_text_needs(theme: str) -> None:
    """WCAG 2.2, 1.4.3 (AA): 4.5 for text, on the page and on the ground of commands."""
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")[:2]
    sheet = light if theme == "light" else dark.split("}")[0]
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", sheet))
    grounds = [_luminance(colours["ground"]), _luminance(colours["soft"])]
    for name in ("text", "dim", "bad", "warn", "good", "link", "canary", "control", "limit"):
        for ground in grounds:
            lighter, darker = sorted((_luminance(colours[name]), ground), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, colours[name])


def test_an_empty_trend_says_so() -> None:
    empty = Trend(world.NAME, AT - 3600, AT, 60.0, (), (), "nothing is remembered of this rollout yet")
    page = rollout(course=Course(Span.HOUR, empty))
    assert "nothing is remembered of this rollout yet" in page
