"""Each kind of page in words, compared with ``page_texts.txt``: a change of wording shows in the diff of that file.

After a change that is meant, run ``KILLSWITCH_TEST_WRITE=1 pytest tests/unit/pages/test_page_texts.py`` and read the
diff aloud.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.flags.flag import trip
from killswitch.flags.transitions import Actor
from killswitch.pages import events, spend_events
from killswitch.pages.page import Page, PageKind
from killswitch.pages.text import plain_text
from killswitch.spend.caps import Period
from tests.doubles.pages import AT, SETTINGS, armed, incident, proven_incident, spent
from tests.unit.pages.test_page import one_of_each

REPOSITORY = Path(__file__).parents[3]
TEXTS = Path(__file__).with_name("page_texts.txt")
WRITE = "KILLSWITCH_TEST_WRITE"


def pages() -> list[tuple[str, Page]]:
    public = replace(SETTINGS, public_url="https://killswitch.example.org")
    by_hand = incident(automatic=False, by="ann", reason="users complain", rules=(), findings=(), window=None)
    flag = armed()
    shadowed = replace(flag, stage="shadow", canary_percent=0.0, shadow_percent=20.0, shadow_classes={"billing": 100.0})
    stopped = trip(
        shadowed,
        rollout=flag.rollout,
        reason="refusals",
        rules=(),
        incident="i",
        now=AT,
        by="a",
        actor=Actor.CONTROLLER,
    )
    more = [
        ("TRIPPED by evidence, with a public address", events.tripped(proven_incident(), public)),
        ("TRIPPED by hand", events.tripped(by_hand, public)),
        (
            "BLIND with a policy",
            events.blind(
                [flag], why="no data", since=AT - 90, at=AT, settings=SETTINGS, trips={flag.rollout: AT + 600}
            ),
        ),
        (
            "CANNOT_ACT with a breach waiting",
            events.cannot_act(
                ["support-copilot"], controller="a", why="etcd: no quorum", since=AT, at=AT, settings=SETTINGS,
                breaches=["support-copilot: refusal_rate 28.0% over control 1.2% + 5.0 pp"],
            ),
        ),
        ("CANNOT_ACT: trips expire", events.too_late(flag, "refusal_rate 28.0%", at=AT, settings=SETTINGS)),
        (
            "RECOVERED from CANNOT_ACT",
            events.recovered(PageKind.CANNOT_ACT, [], follows="x", since=AT - 59.07, at=AT, settings=SETTINGS),
        ),
        (
            "RECOVERED where nobody watches any more",
            events.no_longer_watched([flag], follows="x", since=AT - 59.07, at=AT, settings=SETTINGS),
        ),
        (
            "TRIPPED in stage shadow",
            events.tripped(proven_incident(stage_before="shadow", percent_before=0.0), SETTINGS),
        ),
        ("TRIPPED by hand in stage shadow", events.tripped(replace(by_hand, stage_before="shadow"), SETTINGS)),
        ("WOULD_TRIP in stage shadow", events.would_trip(incident(stage_before="shadow"), SETTINGS)),
        ("UNWATCHED in stage shadow", events.unwatched(shadowed, at=AT, settings=SETTINGS)),
        (
            "RE_ARMED into stage shadow",
            events.re_armed(replace(shadowed, generation=8), reason="fixed", by="ann", settings=SETTINGS),
        ),
        ("FOLLOWED in stage shadow", events.followed(stopped, routers=58, known=60, at=AT, settings=SETTINGS)),
        (
            "SPEND_SOFT of the judge",
            spend_events.spend_soft(
                "support-copilot", spent(81, soft=80, hard=100, scope="judge:support-copilot", period=Period.MONTH),
                at=AT, settings=SETTINGS,
            ),
        ),
        (
            "SPEND_HARD of a canary that is held",
            spend_events.spend_hard(
                "support-copilot", spent(50.1, hard=50, scope="rollout:support-copilot"), at=AT, settings=SETTINGS
            ),
        ),
        (
            "SPEND_HARD of a project",
            spend_events.spend_hard(
                "support-copilot", spent(500, hard=500, scope="project:eval"), at=AT, settings=SETTINGS
            ),
        ),
        ("FOLLOWED by all", events.followed(flag, routers=60, known=60, at=AT, settings=SETTINGS)),
    ]  # fmt: skip
    return [*((page.kind.value, page) for page in one_of_each()), *more]


@pytest.mark.parametrize(("title", "page"), pages(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_page_leads_to_the_section_of_its_kind(title: str, page: Page) -> None:
    """The last step names the section of the runbook that explains pages of this kind, and the section exists."""
    name, _, anchor = page.next_steps[-1].removeprefix(f"About {page.kind.value} pages: ").partition("#")
    headings = re.findall(r"^### (.+)$", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert [heading for heading in headings if heading.lower() == anchor] == [page.kind.value], title


def texts() -> str:
    return "\n".join(f"=== {title}\n{plain_text(page)}\n" for title, page in pages())


def test_each_kind_of_page_reads_as_it_did() -> None:
    if os.environ.get(WRITE):
        TEXTS.write_text(texts(), encoding="utf-8")
    assert texts().split("\n") == TEXTS.read_text(encoding="utf-8").split("\n"), f"if it is meant: {WRITE}=1"


@pytest.mark.parametrize(("title", "page"), pages(), ids=lambda value: value if isinstance(value, str) else "")
def test_no_sentence_of_ours_is_long_or_a_riddle(title: str, page: Page) -> None:
    """Plain English at 3 a.m.: headline and steps are short, and every command is one that exists."""
    assert len(page.headline) <= 200, title
    for step in page.next_steps:
        assert len(step) <= 200, step
        assert step.count(";") <= 1, step
