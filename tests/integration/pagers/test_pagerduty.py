"""PagerDuty's Events API v2 over real HTTP, answered as its documentation says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch import message
from killswitch.credentials import Secret
from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.message import PageKind
from killswitch.pagers.pagerduty import MAX_EVENT, PagerDutyPager
from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.pages import trip_page

KEY = "0123456789abcdef0123456789abcdef"
answers: dict[str, Answer] = {}


def events_api(request: Received) -> Answer:
    if "next" in answers:
        return answers.pop("next")
    event = request.json()
    if request.path != "/v2/enqueue" or event.get("routing_key") != KEY:
        return Answer(400, b'{"status":"invalid event","errors":["routing_key is invalid"]}')
    details = event["payload"]
    good = (
        event["event_action"] in {"trigger", "acknowledge", "resolve"}
        and len(event["dedup_key"]) <= 255
        and details["severity"] in {"critical", "error", "warning", "info"}
        and 0 < len(details["summary"]) <= 1024
        and details["source"]
        and len(request.body) <= 512 * 1024
    )
    if not good:
        return Answer(400, b'{"status":"invalid event"}')
    return Answer(202, json.dumps({"status": "success", "dedup_key": event["dedup_key"]}).encode())


@pytest.fixture
def api() -> Iterator[HttpDouble]:
    answers.clear()
    with HttpDouble(events_api) as double:
        yield double


@pytest.fixture
def pager(api: HttpDouble, tmp_path: Path) -> PagerDutyPager:
    (tmp_path / "key").write_text(KEY)
    return PagerDutyPager(Secret.from_file(tmp_path / "key"), url=f"{api.url}/v2/enqueue")


def test_a_trip_triggers_an_alert_under_the_incidents_id_and_its_re_arm_resolves_it(
    api: HttpDouble, pager: PagerDutyPager
) -> None:
    page = trip_page()
    assert pager.send(page, possible_repeat=False, deadline=Deadline(5)) == page.id
    later = replace(page, id="x.re-armed", kind=PageKind.RE_ARMED, follows=page.id, severity="info")
    pager.send(later, possible_repeat=False, deadline=Deadline(5))
    first, second = (request.json() for request in api.received)
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == second["dedup_key"] == page.id
    assert first["payload"]["custom_details"]["samples_new"] == 1842
    assert [link["text"] for link in first["links"]] == ["Runbook", "Dashboard"]


def test_a_digest_of_many_long_pages_is_cut_to_what_pagerduty_takes(api: HttpDouble, pager: PagerDutyPager) -> None:
    page = message.digest([trip_page(f"r{number}") for number in range(1000)])
    big = replace(page, payload={**page.payload, "more": "x" * MAX_EVENT})
    pager.send(big, possible_repeat=False, deadline=Deadline(5))
    assert len(api.received[0].body) <= MAX_EVENT


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(400, b'{"status":"invalid event"}'), Refused),
        (Answer(429, b""), Unavailable),
        (Answer(500, b""), Unavailable),
        (Answer(504, b""), OutcomeUnknown),
        (Answer(200, b"<html>"), OutcomeUnknown),
        (Answer(lost=True), OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.lost}",
)
def test_each_answer_says_whether_to_retry_to_fix_or_to_doubt(
    api: HttpDouble, pager: PagerDutyPager, answer: Answer, kind: type[KillswitchError]
) -> None:
    answers["next"] = answer
    with pytest.raises(KillswitchError) as raised:
        pager.send(trip_page(), possible_repeat=False, deadline=Deadline(5))
    assert type(raised.value) is kind
    assert KEY not in str(raised.value)
