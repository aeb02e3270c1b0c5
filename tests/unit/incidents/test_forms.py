"""A post-mortem as Markdown, HTML and JSON: all facts in each, and texts of others make no markup, link or mention."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from killswitch.flags.change import Deed
from killswitch.flags.cited_alert import cited
from killswitch.incidents.html import html
from killswitch.incidents.json_form import story_document
from killswitch.incidents.markdown import JOINER, markdown, shown
from killswitch.incidents.sparkline import GAP, WIDTH, sparkline
from killswitch.incidents.story import IncidentStory, story_of
from killswitch.shadow.report.hostile_text import in_terminal
from tests.doubles.html_outline import Outline
from tests.doubles.html_reader import HOSTILE, Reader
from tests.doubles.pages import AT, PROVEN
from tests.doubles.stories import ALERT, all_known, change, nothing_known

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
EVIL = [
    *HOSTILE,
    "a | b \\| c",
    "`` ` ```x",
    "# no heading\n\n- no list\n1. no list\n> no quote",
    "[x](javascript:alert(1)) ![x](http://evil.example/x.png) <http://evil.example>",
    "*a* __b__ ~~c~~ $d$ &lt;e&gt; &#64;",
    "@everyone #12 http://evil.example www.evil.example",
    "\\",
]


def rendered(text: str) -> Reader:
    reader = Reader()
    reader.feed(MARKDOWN.render(text))
    return reader


def spoiled(text: str) -> IncidentStory:
    """A story in which every text that others write is ``text``."""
    sources = all_known(
        by=text, alert=cited(text, text, AT, {text: text}, {text: text}, text), canary=text, control=text
    )
    finding = replace(PROVEN, rule=text, sentence=text)
    incident = replace(sources.incident, reason=text, findings=(finding,), rules=(text,))
    assert sources.trend is not None
    trend = replace(sources.trend, rules=(replace(sources.trend.rules[0], rule=text),))
    history = (change(Deed.REARM, 60, reason=text, by=text),)
    return story_of(replace(sources, incident=incident, history=history, trend=trend, problems=(text,)))


@pytest.mark.parametrize("sources", [all_known(), all_known(alert=ALERT), nothing_known()])
def test_each_form_has_every_moment_and_every_gap(sources: object) -> None:
    story = story_of(sources)  # type: ignore[arg-type]  # of the parameters
    in_markdown, in_html = markdown(story), html(story)
    for entry in story.timeline:
        assert shown(entry.said) in in_markdown
    for gap in story.unknown:
        assert shown(gap) in in_markdown
    assert in_html.count("<tr role=row") > len(story.timeline)
    document = story_document(story)
    assert json.loads(json.dumps(document)) == document
    assert [one["said"] for one in document["timeline"]] == [entry.said for entry in story.timeline]
    assert document["not_known"] == list(story.unknown)


def test_both_cohorts_are_a_picture_in_html_and_blocks_in_markdown() -> None:
    story = story_of(all_known())
    assert "<svg class=chart" in html(story)
    lines = markdown(story).splitlines()
    canary = next(line for line in lines if line.startswith("canary "))
    control = next(line for line in lines if line.startswith("control "))
    assert canary.endswith("██")
    assert GAP * 3 in canary
    assert set(control.split()[1]) == {"▁", GAP}
    assert "<svg" not in html(story_of(nothing_known()))


def test_the_page_can_be_pasted_and_filled_in() -> None:
    titles = [line for line in markdown(story_of(all_known())).splitlines() if line.startswith("#")]
    assert titles == [
        "# Incident support-copilot.7: canary model-new tripped 2026-04-19 14:22:11 UTC",
        "## Timeline", "## How long it took", "## The rules as of the trip", "## What users saw", "## Cause",
        "## What went well, and what did not", "## What we change",
    ]  # fmt: skip


@pytest.mark.parametrize("text", EVIL)
def test_hostile_texts_are_texts_in_markdown(text: str) -> None:
    page, plain = markdown(spoiled(text)), markdown(spoiled("x"))
    assert rendered(page).tags == rendered(plain).tags
    assert page.count("\n#") == plain.count("\n#")
    for called in ("@everyone", "#12", "http://evil", "www.evil"):
        assert called not in page


@pytest.mark.parametrize("text", EVIL)
def test_hostile_texts_are_texts_in_html(text: str) -> None:
    reader = Outline(html(spoiled(text)))
    tags = {tag for tag, _, _ in reader.attributes}
    assert tags == {tag for tag, _, _ in Outline(html(spoiled("x"))).attributes}
    assert reader.links == ["#main"]
    assert not {name for _, name, _ in reader.attributes if name.startswith("on") or name == "src"}


@given(st.text(max_size=200) | st.text("|<>&;#lt`*\\[]()!@ ", max_size=30))
@example("&lt;b&gt; &amp; &copy;")
def test_any_text_in_a_cell_is_one_cell(text: str) -> None:
    """Whatever it holds, it is rendered as this very text, and the table keeps its form."""
    reader = rendered(f"| a | b |\n|---|---|\n| {shown(text)} | end |")
    assert reader.tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    said = "".join(reader.texts).replace(JOINER, "").split()
    assert said == ["a", "b", *in_terminal(text).replace(JOINER, "").split(), "end"]


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=500), st.floats(0, 1e9))
def test_a_sparkline_takes_any_values(values: list[float | None], top: float) -> None:
    assert len(sparkline(values, top)) <= WIDTH
    assert sparkline([None] * len(values), top).strip(GAP) == ""
