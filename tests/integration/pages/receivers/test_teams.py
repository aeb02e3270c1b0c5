"""A Teams Workflow over real HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.credentials import Secret
from killswitch.page_addresses import PageAddresses
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.named_secrets import TEAMS_URLS, NamedSecrets
from killswitch.pages.receivers.teams import TeamsPager
from tests.doubles.http_double import Answer
from tests.doubles.pages import SETTINGS, trip_page
from tests.doubles.teams import SIGNATURE, TeamsDouble


@pytest.fixture
def workflow() -> Iterator[TeamsDouble]:
    with TeamsDouble() as double:
        yield double


@pytest.fixture
def pager(workflow: TeamsDouble, tmp_path: Path) -> TeamsPager:
    (tmp_path / "url").write_text(workflow.workflow)
    (tmp_path / "urls").write_text(f"search: {workflow.workflow}\n")
    return TeamsPager(NamedSecrets(TEAMS_URLS, Secret.from_file(tmp_path / "url"), tmp_path / "urls"))


def send(pager: TeamsPager, page: Page) -> str:
    return pager.send(page, possible_repeat=False, deadline=Deadline(5))


def test_a_trip_is_a_card_with_its_numbers_and_links(workflow: TeamsDouble, pager: TeamsPager) -> None:
    assert send(pager, trip_page()) == ""
    (card,) = workflow.cards
    text = json.dumps(card)
    assert card["body"][0]["inlines"][0]["text"].startswith("support-copilot: canary model-new tripped")
    assert [action["title"] for action in card["actions"]] == ["Runbook", "Dashboard"]
    assert "refusal_rate" in text
    assert "8.7%" in text


@pytest.mark.parametrize("kind", list(PageKind))
def test_teams_takes_every_kind_of_page(workflow: TeamsDouble, pager: TeamsPager, kind: PageKind) -> None:
    send(pager, replace(trip_page(), kind=kind))
    assert len(workflow.cards) == 1


def test_a_card_refused_for_its_form_is_sent_short(workflow: TeamsDouble, pager: TeamsPager) -> None:
    workflow.fail_next(Answer(413))
    send(pager, trip_page())
    assert "refusal_rate  " not in json.dumps(workflow.cards[0])


def test_a_channel_has_its_own_url(pager: TeamsPager, workflow: TeamsDouble) -> None:
    mine = trip_page(settings=replace(SETTINGS, addresses=PageAddresses(teams="search")))
    assert pager.address(mine) == "search"
    send(pager, mine)
    assert pager.problem_of("search") is None
    assert "has no Teams URL called 'other'" in (pager.problem_of("other") or "")


def test_the_url_of_a_retired_connector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://example.webhook.office.com/webhookb2/secret-part")
    pager = TeamsPager(NamedSecrets(TEAMS_URLS, Secret.from_file(tmp_path / "url")))
    with pytest.raises(AccessDenied, match="which Microsoft has retired; make a Workflow") as raised:
        send(pager, trip_page())
    assert "secret-part" not in str(raised.value)
    assert pager.problem_of(None) is not None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, SIGNATURE.encode()), AccessDenied),
        (Answer(404), Refused),
        (Answer(429), Unavailable),
        (Answer(502), Unavailable),
        (Answer(504), OutcomeUnknown),
        (Answer(302, headers={"Location": "https://elsewhere.example.org"}), AccessDenied),
        (Answer(lost=True), OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.lost}",
)
def test_each_answer_of_a_workflow_has_a_meaning(
    workflow: TeamsDouble,
    pager: TeamsPager,
    answer: Answer,
    kind: type[KillswitchError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "killswitch")
    workflow.fail_next(answer)
    with pytest.raises(KillswitchError) as raised:
        send(pager, trip_page())
    assert type(raised.value) is kind
    assert SIGNATURE not in f"{raised.value} {caplog.text}"
