"""The one message of an incident in Slack, and every kind of page at its longest, within Slack's limits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.flags.incident import Acknowledged
from killswitch.pages import digest, drill_events, events, pin_events
from killswitch.pages.message_view import MAX_TOLD, MessageView, message_view
from killswitch.pages.page import MAX_ROWS, MAX_STEPS, Page, PageKind, RuleRow
from killswitch.pages.receivers.slack_blocks import MAX_ALL, characters, has_detail, render, render_detail, render_view
from killswitch.pages.receivers.slack_buttons import actions_block
from killswitch.pages.receivers.slack_markup import MAX_TEXT
from killswitch.pages.stage_rows import MAX_STAGES, StageRow
from killswitch.wording import plain
from tests.doubles.pages import AT, SETTINGS, armed, incident, proven_incident, trip_page
from tests.doubles.slack_limits import problem_of_message
from tests.unit.pages.test_page import one_of_each

FLAG = replace(armed(), generation=7)
TRIP = trip_page()
NOTED = replace(incident(), acknowledged=Acknowledged("ann", "Slack", AT + 30))
ACKNOWLEDGED = events.acknowledged(FLAG, NOTED, settings=SETTINGS)
FOLLOWED = events.followed(FLAG, routers=3, known=3, at=AT + 2, settings=SETTINGS)
MISSING = events.followed(FLAG, routers=2, known=3, at=AT + 62, settings=SETTINGS)
REARMED = events.re_armed(replace(FLAG, generation=8, armed_at=AT + 600), reason="fixed", by="ann", settings=SETTINGS)
BUTTONS = actions_block(TRIP, 41, now=AT, nonce="0f" * 16)


def blocks(body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in body["blocks"] if block["type"] == kind]


def header(view: MessageView) -> str:
    (block,) = blocks(render_view(view), "header")
    return str(block["text"]["text"])


def whole(body: dict[str, Any]) -> str:
    return json.dumps(body["blocks"], ensure_ascii=False)


# --- what the message shows ---------------------------------------------------------------------


def test_the_header_says_how_far_the_incident_has_come() -> None:
    assert header(message_view(TRIP, [])).startswith(":rotating_light: support-copilot: canary model-new tripped")
    assert header(message_view(TRIP, [FOLLOWED, ACKNOWLEDGED])).startswith(":eyes: support-copilot: canary model-new")
    assert header(message_view(TRIP, [REARMED, FOLLOWED])) == (
        ":arrow_forward: support-copilot: re-armed by ann; model-new gets 5% (ramp_5)"
    )


def test_a_pin_shows_in_the_header() -> None:
    page = replace(FLAG, updated_at=AT + 5)
    unpinned = replace(
        pin_events.unpinned(page, reason="settled", by="ann", settings=SETTINGS), follows=TRIP.id, generation=7
    )
    pinned = replace(unpinned, kind=PageKind.PINNED, id="pinned", at=AT + 4)
    assert header(message_view(TRIP, [pinned])).startswith(":pushpin:")
    assert header(message_view(TRIP, [pinned, unpinned])).startswith(":rotating_light:")


def test_what_followed_is_listed_with_its_time_and_reason() -> None:
    said = whole(render_view(message_view(TRIP, [REARMED, ACKNOWLEDGED, FOLLOWED])))
    order = ["14:22:13 UTC 3 of 3 routers", "14:22:41 UTC acknowledged by ann", "14:32:11 UTC re-armed by ann", "fixed"]
    places = [said.index(part) for part in order]
    assert places == sorted(places)


def test_another_day_is_named() -> None:
    late = replace(ACKNOWLEDGED, at=AT + 86400)
    assert "2026-04-20 14:22:11 UTC acknowledged" in whole(render_view(message_view(TRIP, [late])))


def test_a_settled_message_has_no_buttons_steps_and_mention() -> None:
    body = render_view(message_view(TRIP, [REARMED]), BUTTONS)
    assert blocks(body, "actions") == []
    assert "<!subteam" not in json.dumps(body)
    assert "killswitch rearm" not in whole(body)
    assert "Was:* support-copilot: canary model-new tripped" in whole(body)
    assert body["text"].startswith("support-copilot: re-armed by ann")


def test_an_open_message_has_its_buttons_above_the_next_steps() -> None:
    kinds = [block["type"] for block in render_view(message_view(TRIP, [ACKNOWLEDGED]), BUTTONS)["blocks"]]
    assert kinds == ["header", "section", "section", "rich_text", "section", "actions", "section", "context"]


def test_the_message_has_the_rules_that_tripped_and_the_thread_all() -> None:
    page = events.tripped(proven_incident(), SETTINGS)
    assert has_detail(page)
    message, detail = whole(render_view(message_view(page, []))), whole(render_detail(page))
    assert "53 of 189" in message
    assert "last 5m" in message  # the window of the rule that tripped, in its second line
    assert "latency_p95" not in message
    assert "latency_p95" in detail
    assert "53 of 189" in detail


def test_a_page_that_no_rule_tripped_shows_all_its_rules() -> None:
    by_hand = events.tripped(incident(automatic=False, by="ann", rules=()), SETTINGS)
    assert not has_detail(by_hand)
    assert "latency_p95" in whole(render_view(message_view(by_hand, [])))


def test_many_rules_are_all_in_the_thread() -> None:
    """The table is split where a block would be too long."""
    row = replace(TRIP.rows[0], tripping=False)
    page = replace(TRIP, rows=(TRIP.rows[0], *(replace(row, rule=f"rule-{n:02}" + "y" * 40) for n in range(35))))
    body = render_detail(page)
    assert problem_of_message(body) is None
    assert all(f"rule-{n:02}" in whole(body) for n in range(35))


def test_a_digest_is_no_incidents_message() -> None:
    body = render(digest.digest_of([TRIP, trip_page("b")]))
    assert blocks(body, "actions") == []


# --- limits -------------------------------------------------------------------------------------

HOSTILE = (
    "<!channel>", "<!everyone|x>", "<@U012AB3CD>", "<https://evil.example|Runbook>", "&lt;!here&gt;", "```\n<!here>",
    "*bold* _it_ ~s~", "@here @channel #general", "\u202e\u200b\x00\x1b[2J", "|", "> quote", "<", "&", "x", "ä", "🔥",
)  # fmt: skip
hostile = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=8)


def longest(page: Page, text: str) -> Page:
    """The page with each text as long as a page's text can be, made of ``text``."""
    line, name = plain(text * 1000), plain(text * 60, 120)
    row = RuleRow(plain(text * 60, 60), "BREACH", name, name, name, name, name, tripping=True)
    rows = tuple(replace(row, tripping=number % 2 == 0) for number in range(MAX_ROWS)) if page.rows else ()
    stage = StageRow(name, "5%", "1d", "now", name, name)
    return replace(
        page, headline=plain(text * 400, 400), why=line, rows=rows, next_steps=(line,) * (MAX_STEPS + 1), exposed=line,
        stages=(stage,) * MAX_STAGES if page.stages else (), id=(page.id + "x" * 300)[:300],
    )  # fmt: skip


def ours(body: dict[str, Any]) -> str:
    """The body's texts without the markup that is meant."""
    return (
        json.dumps(body, ensure_ascii=False)
        .replace("<!subteam^S0123456>", "")
        .replace("<https://runbooks.example/canary>", "")
        .replace("<https://grafana.example/d/1?a=1&amp;b=2>", "")
    )


def check(body: dict[str, Any]) -> None:
    assert problem_of_message(body) is None
    assert characters(body["blocks"]) <= MAX_ALL
    assert len(body["text"]) <= MAX_TEXT
    for block in body["blocks"]:
        if block["type"] == "header":
            assert not set("<>&") & set(block["text"]["text"])
        elif block["type"] == "section":
            assert block["text"]["verbatim"]
            assert "<" not in ours(block)
    assert "<" not in ours({"text": body["text"]})


KINDS = {page.kind: page for page in one_of_each()}


def test_every_kind_of_page_is_here() -> None:
    assert KINDS.keys() == set(PageKind)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(text=hostile)
def test_every_kind_of_page_fits_at_its_longest(kind: PageKind, text: str) -> None:
    """As a page, as a message with all that can follow, settled, and with its detail."""
    page = longest(KINDS[kind], text)
    followers = [
        longest(replace(FOLLOWED, id=f"f{number}", at=AT + number, mention=None), text)
        for number in range(MAX_TOLD + 3)
    ]
    check(render(page, possible_repeat=True))
    check(render_view(message_view(page, followers), BUTTONS, possible_repeat=True))
    check(render_view(message_view(page, [*followers, longest(REARMED, text)]), BUTTONS))
    check(render_detail(page))


@settings(max_examples=30)
@given(hostile)
def test_a_digest_fits_at_its_longest(text: str) -> None:
    check(render(digest.digest_of([longest(page, text) for page in KINDS.values()])))


@settings(max_examples=30)
@given(hostile)
def test_the_newest_of_what_followed_is_never_cut(text: str) -> None:
    followers = [longest(replace(FOLLOWED, id=f"f{n}", at=AT + n), text) for n in range(MAX_TOLD + 3)]
    newest = replace(FOLLOWED, id="newest", at=AT + 99, headline="the newest of all", why="")
    view = message_view(longest(TRIP, text), [*followers, newest])
    assert "the newest of all" in whole(render_view(view, BUTTONS))
    assert "earlier, in the thread" in whole(render_view(view, BUTTONS))


def test_what_slack_would_refuse_is_seen_by_the_double() -> None:
    """The complaints have Slack's form, so that a limit that is passed is not overlooked here."""
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}
    assert problem_of_message({"text": "x", "blocks": [section]}) == (
        "invalid_blocks", ["must be less than 3001 characters [json-pointer:/blocks/0/text/text]"],
    )  # fmt: skip
    many = {"type": "actions", "elements": [{**BUTTONS["elements"][0], "action_id": str(n)} for n in range(26)]}  # type: ignore[index]
    assert problem_of_message({"text": "x", "blocks": [many]}) == (
        "invalid_blocks", ["no more than 25 items allowed [json-pointer:/blocks/0/elements]"],
    )  # fmt: skip


def test_a_drill_that_is_over_says_so_in_its_header() -> None:
    started = drill_events.drill(incident(), FLAG, "support-copilot.d1", SETTINGS, live=False)
    over = drill_events.drill_over(
        FLAG, "support-copilot.d1", ended="ended", result="a rollback takes 7 s here", why="", at=AT, settings=SETTINGS
    )
    assert header(message_view(started, [over])) == (
        ":white_check_mark: DRILL of support-copilot ended: a rollback takes 7 s here"
    )
