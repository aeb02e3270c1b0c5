"""What a page looks like in Slack, and that nothing in it can become markup."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.pages import digest, events, plan_events
from killswitch.pages.page import Page
from killswitch.pages.receivers.slack_blocks import MAX_BLOCKS, MAX_HEADER, MAX_SECTION, render
from killswitch.pages.receivers.slack_markup import MAX_TEXT, escape, mention_markup
from tests.doubles.pages import AT, BREACH, HEALTHY, PLANNED, SETTINGS, armed, incident, trip_page
from tests.doubles.slack import problem_of


def texts(body: dict[str, object]) -> list[str]:
    found: list[str] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            found.extend(value for key, value in node.items() if key == "text" and isinstance(value, str))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(body["blocks"])
    return found


def test_the_mention_comes_first_in_the_text() -> None:
    """The mention comes first in the top-level text, so that a phone rings."""
    assert render(trip_page())["text"].startswith("<!subteam^S0123456> support-copilot: canary model-new tripped")


def test_the_blocks_come_in_order() -> None:
    """The blocks say what was done, why, the rules and the next steps, in this order."""
    body = render(trip_page())
    whole = json.dumps(body["blocks"], ensure_ascii=False)
    order = ["all traffic routed to model-old", "over control 1.1%", "1,842 / 35,160", "killswitch rearm"]
    places = [whole.index(part) for part in order]
    assert places == sorted(places)
    assert "8.7%" in whole
    assert "1.1%" in whole


def test_runbook_and_dashboard_are_links() -> None:
    steps = "\n".join(texts(render(trip_page())))
    assert "Runbook: <https://runbooks.example/canary>" in steps
    assert "Dashboard: <https://grafana.example/d/1?a=1&amp;b=2>" in steps


def test_a_possible_repeat_says_so_in_text_and_header() -> None:
    body = render(trip_page(), possible_repeat=True)
    assert "(possible repeat)" in body["text"]
    assert "(possible repeat)" in texts(body)[0]


@pytest.mark.parametrize("mention", ["<!here>", "<!channel>", "<@U012AB3CD>", "<!subteam^S0123456|@oncall>"])
def test_what_is_a_mention_stays_one(mention: str) -> None:
    assert mention_markup(mention) == mention


@pytest.mark.parametrize("mention", ["@oncall", "<http://evil|click>", "<!date^1^x|y>", "<@U1><!x", "& <b>"])
def test_what_is_no_mention_becomes_text(mention: str) -> None:
    assert "<" not in mention_markup(mention)


def test_of_very_many_mentions_none_is_cut() -> None:
    """Half a mention is text that opens one: Slack takes what follows, the headline, for its rest."""
    many = [f"<@U{number:08}>" for number in range(40)]
    kept = mention_markup(" ".join(many)).split()
    assert kept == many[: len(kept)]
    assert len(kept) > 20


hostile = st.sampled_from([
    "<!channel>", "<!everyone|x>", "<@U012AB3CD>", "<https://evil.example|Runbook>", "&lt;!here&gt;", "```\n<!here>",
    "*bold* _it_ ~s~", "@here @channel #general", "x" * 4000, "\u202e\u200b\x00\x1b[2J", "|", "> quote", "<",
    "&" * 2000,
]) | st.text(max_size=60)  # fmt: skip


@given(hostile, hostile, hostile, hostile)
def test_no_hostile_text_becomes_markup_or_a_refused_block(rule: str, sentence: str, model: str, reason: str) -> None:
    """No hostile name or sentence becomes a mention, a link, or a block that Slack refuses."""
    bad = replace(BREACH, rule=rule, sentence=sentence)
    hostile_incident = incident(
        findings=(bad, HEALTHY) * 30, rules=(rule,), reason=reason, canary=model or "m", by=model
    )
    page = replace(events.tripped(hostile_incident, SETTINGS), mention=None, runbook=None)
    body = render(page)
    assert problem_of(body) is None
    assert len(body["blocks"]) <= MAX_BLOCKS
    assert len(body["text"]) <= MAX_TEXT
    assert "<" not in body["text"]
    for block in body["blocks"]:
        match block["type"]:
            case "header":
                assert len(block["text"]["text"]) <= MAX_HEADER
                assert not set("<>&") & set(block["text"]["text"])
            case "section":
                text = block["text"]["text"]
                assert block["text"]["verbatim"]
                assert len(text) <= MAX_SECTION
                # the only markup is ours: the two links of the rule file
                ours = text.replace("<https://runbooks.example/canary>", "").replace(
                    "<https://grafana.example/d/1?a=1&amp;b=2>", ""
                )
                assert "<" not in ours
                assert ">" not in ours


@given(st.text())
def test_escaped_text_reads_as_it_was(text: str) -> None:
    escaped = escape(text)
    assert "<" not in escaped
    assert escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


def test_a_link_that_is_no_plain_address_is_shown_as_text() -> None:
    """A link of a rule file that is no plain address is shown as text."""
    settings = replace(SETTINGS, runbook="https://x.example/|<!channel>", dashboard="javascript:alert(1)")
    whole = "\n".join(texts(render(replace(events.tripped(incident(), settings), mention=None))))
    assert "<" not in whole


def test_a_digest_of_a_thousand_fits_one_message() -> None:
    pages: list[Page] = [trip_page(f"rollout-{number}") for number in range(1000)]
    body = render(digest.digest_of(pages))
    assert problem_of(body) is None
    assert "975 more" in "\n".join(texts(body))


def test_when_it_was_and_who_was_exposed_stand_above_the_table() -> None:
    blocks = render(trip_page())["blocks"]
    table = [block["type"] for block in blocks].index("rich_text")
    assert blocks[table - 1]["text"]["text"] == (
        "At 2026-04-19 14:22:11 UTC. Exposed: 5% of users, since 14:21:11 UTC (1m)."
    )


def test_a_plan_of_many_stages_fits_into_a_message() -> None:
    """The timeline is a block of literal text: whatever stages are called, Slack takes it, and no name is markup."""
    name = "<!here>_" + "x" * 60
    stage = {**PLANNED["stages"][1], "stage": name, "for_seconds": 8e8}
    timeline = {"stages": [stage] * 400, "why": "y" * 5000}
    page = plan_events.ready(
        armed(), "z" * 5000, to=name, percent=25.0, timeline=timeline, at=AT, settings=SETTINGS
    )  # fmt: skip
    body = render(page)
    assert problem_of(body) is None
    (table,) = (block for block in body["blocks"] if block["type"] == "rich_text")
    (literal,) = table["elements"][0]["elements"]
    assert literal["type"] == "text"
    assert len(literal["text"].splitlines()) == 21


def test_the_timeline_marks_the_stage_that_is_now() -> None:
    page = plan_events.complete(armed(), "why", timeline=PLANNED, at=AT, settings=SETTINGS)
    said = "\n".join(texts(render(page)))
    assert ">  ramp_5     5%  1d   now       2026-04-19 14:22  2026-04-20 14:22" in said
