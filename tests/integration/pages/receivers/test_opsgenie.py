"""Opsgenie's Alert API v2 over real HTTP, answered as its documentation says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.flags.incident import Acknowledged
from killswitch.net.credentials import Secret
from killswitch.page_addresses import PageAddresses
from killswitch.pages import events
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.named_secrets import OPSGENIE_KEYS, NamedSecrets
from killswitch.pages.receivers.opsgenie import OpsgeniePager
from tests.doubles.http_double import Answer
from tests.doubles.opsgenie import KEY, OpsgenieDouble
from tests.doubles.pages import AT, SETTINGS, armed, incident, trip_page

TEAM_KEY = "team-key-0000-0000"
TRIP = "support-copilot.7"


@pytest.fixture
def api() -> Iterator[OpsgenieDouble]:
    with OpsgenieDouble(KEY, TEAM_KEY) as double:
        yield double


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def pager(api: OpsgenieDouble, tmp_path: Path, waits: list[float]) -> OpsgeniePager:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "teams").write_text(f"search: {TEAM_KEY}\n")
    keys = NamedSecrets(OPSGENIE_KEYS, Secret.from_file(tmp_path / "key"), tmp_path / "teams")
    return OpsgeniePager(keys, url=f"{api.url}/", sleep=waits.append)


def send(pager: OpsgeniePager, page: Page) -> str:
    return pager.send(page, possible_repeat=False, deadline=Deadline(5))


def re_armed() -> Page:
    return events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=SETTINGS)


def test_a_trip_is_created_acknowledged_and_closed(api: OpsgenieDouble, pager: OpsgeniePager) -> None:
    assert send(pager, trip_page()).startswith("00000000-")
    (alert,) = api.created
    assert (alert["alias"], alert["priority"], alert["entity"]) == (TRIP, "P1", "support-copilot")
    assert alert["details"]["runbook"] == "https://runbooks.example/canary"
    assert api.alerts == {(KEY, TRIP): "open"}
    taken = replace(incident(), acknowledged=Acknowledged("ann", "Slack", AT + 60))
    send(pager, events.acknowledged(replace(armed(), generation=7), taken, settings=SETTINGS))
    assert api.alerts == {(KEY, TRIP): "acknowledged"}
    send(pager, re_armed())
    assert api.alerts == {(KEY, TRIP): "closed"}


def test_a_copy_opens_no_second_alert_in_opsgenie(api: OpsgenieDouble, pager: OpsgeniePager) -> None:
    for repeat in (False, True):
        pager.send(trip_page(), possible_repeat=repeat, deadline=Deadline(5))
    assert list(api.alerts) == [(KEY, TRIP)]
    assert api.created[1]["description"].startswith("(possible repeat)")


def test_a_team_is_paged_with_its_own_opsgenie_key(api: OpsgenieDouble, pager: OpsgeniePager, tmp_path: Path) -> None:
    mine = replace(SETTINGS, addresses=PageAddresses(opsgenie="search"))
    assert pager.address(trip_page(settings=mine)) == "search"
    send(pager, trip_page(settings=mine))
    (tmp_path / "teams").write_text("other: x\n")
    send(pager, trip_page("b", settings=mine))
    assert list(api.alerts) == [(TEAM_KEY, TRIP), (KEY, "b.7")]
    assert "has no Opsgenie key called 'search'" in (pager.problem_of("search") or "")
    assert pager.problem_of(None) is None


def test_an_alert_that_opsgenie_throws_away_is_not_delivered(api: OpsgenieDouble, pager: OpsgeniePager) -> None:
    """It had answered 202."""
    api.drops = "Integration is disabled"
    with pytest.raises(Refused, match="made no alert of it: Integration is disabled"):
        send(pager, trip_page())


def test_a_request_that_waits_its_turn_is_asked_for_again(
    api: OpsgenieDouble, pager: OpsgeniePager, waits: list[float]
) -> None:
    api.slow = 2
    send(pager, trip_page())
    assert len(waits) == 2


def test_a_request_that_is_never_looked_at_counts_as_taken(
    api: OpsgenieDouble, pager: OpsgeniePager, waits: list[float]
) -> None:
    api.slow = 100
    assert send(pager, trip_page())
    assert len(waits) == 4


def test_an_alert_refused_for_its_form_goes_out_bare(api: OpsgenieDouble, pager: OpsgeniePager) -> None:
    api.fail_next(Answer(422, b'{"message": "Request body is not processable"}'))
    send(pager, trip_page())
    assert api.created[0].keys() == {"message", "alias", "priority"}


def test_a_huge_page_fits_into_opsgenies_limits(api: OpsgenieDouble, pager: OpsgeniePager) -> None:
    page = trip_page()
    send(pager, replace(page, headline="h" * 900, why="w" * 999, next_steps=("s" * 999,) * 40, rollout="r" * 63))
    assert len(api.created) == 1


@pytest.mark.parametrize("kind", [kind for kind in PageKind if kind not in (PageKind.FOLLOWED, PageKind.DIGEST)])
def test_opsgenie_takes_every_kind_of_page(api: OpsgenieDouble, pager: OpsgeniePager, kind: PageKind) -> None:
    send(pager, replace(trip_page(), kind=kind))
    assert api.created[0]["details"]["kind"] == kind.value


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401), AccessDenied),
        (Answer(403), AccessDenied),
        (Answer(404), Refused),
        (Answer(429, headers={"Retry-After": "7"}), Unavailable),
        (Answer(503), Unavailable),
        (Answer(504), OutcomeUnknown),
        (Answer(200), OutcomeUnknown),
        (Answer(lost=True), OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.lost}",
)
def test_each_answer_of_opsgenie_has_a_meaning(
    api: OpsgenieDouble, pager: OpsgeniePager, answer: Answer, kind: type[KillswitchError]
) -> None:
    api.fail_next(answer)
    with pytest.raises(KillswitchError) as raised:
        send(pager, trip_page())
    assert type(raised.value) is kind
    assert KEY not in str(raised.value)
    if answer.status == 429:
        assert isinstance(raised.value, Unavailable)
        assert raised.value.retry_after == 7


def test_the_key_is_never_logged(api: OpsgenieDouble, pager: OpsgeniePager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.fail_next(Answer(422, f'{{"message": "bad {KEY}"}}'.encode()))
    send(pager, trip_page())
    assert KEY not in caplog.text


def test_other_good_news_is_not_for_opsgenie(pager: OpsgeniePager) -> None:
    assert pager.address(events.followed(armed(), routers=60, known=60, at=AT, settings=SETTINGS)) is None
    assert pager.address(re_armed()) == ""
