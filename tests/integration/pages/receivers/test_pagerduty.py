"""PagerDuty's Events API v2 over real HTTP, answered as its documentation says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.flags import flag as flags
from killswitch.flags import pinning
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Acknowledged
from killswitch.flags.transitions import Actor
from killswitch.net.credentials import Secret
from killswitch.pages import events, pin_events, plan_events
from killswitch.pages.drowning_events import control_drowns
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.named_secrets import PAGERDUTY_KEYS, NamedSecrets
from killswitch.pages.receivers.pagerduty import CHANGES, MAX_EVENT, PagerDutyPager
from tests.doubles.http_double import Answer
from tests.doubles.pagerduty import KEY, PagerDutyDouble, invalid_event
from tests.doubles.pages import AT, SETTINGS, armed, completed, incident, trip_page

TEAM_KEY = "f" * 32


@pytest.fixture
def api() -> Iterator[PagerDutyDouble]:
    with PagerDutyDouble(KEY, TEAM_KEY) as double:
        yield double


@pytest.fixture
def keys(tmp_path: Path) -> NamedSecrets:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "teams").write_text(f"# a comment\nsearch: {TEAM_KEY}\n")
    return NamedSecrets(PAGERDUTY_KEYS, Secret.from_file(tmp_path / "key"), tmp_path / "teams")


@pytest.fixture
def pager(api: PagerDutyDouble, keys: NamedSecrets) -> PagerDutyPager:
    return PagerDutyPager(keys, url=api.events_url)


def send(pager: PagerDutyPager, page: Page) -> str:
    return pager.send(page, possible_repeat=False, deadline=Deadline(5))


def test_a_trip_opens_an_alert_and_its_re_arm_resolves_it(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    page = trip_page()
    assert send(pager, page) == page.id
    assert api.open[KEY] == {page.id}
    again = replace(armed(), generation=8)
    send(pager, events.re_armed(again, reason="fixed", by="ann", settings=SETTINGS))
    first, *others = api.events
    assert (first["event_action"], {one["event_action"] for one in others}) == ("trigger", {"resolve"})
    assert api.open[KEY] == set()
    assert first["payload"]["custom_details"]["samples_new"] == 1842
    assert [link["text"] for link in first["links"]] == ["Runbook", "Dashboard"]


def test_a_repeated_copy_opens_no_second_alert(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    for repeat in (False, True):
        pager.send(trip_page(), possible_repeat=repeat, deadline=Deadline(5))
    assert api.open[KEY] == {trip_page().id}


def test_other_good_news_is_not_for_pagerduty(pager: PagerDutyPager) -> None:
    """Good news that neither opens nor resolves an alert is not sent to PagerDuty."""
    followed = events.followed(armed(), routers=60, known=60, at=AT, settings=SETTINGS)
    assert pager.address(followed) is None
    assert pager.address(trip_page()) == ""


def test_a_teams_pages_go_to_its_key_and_others_to_the_default(
    api: PagerDutyDouble, pager: PagerDutyPager, keys: NamedSecrets, tmp_path: Path
) -> None:
    send(pager, trip_page("a", settings=replace(SETTINGS, pagerduty="search")))
    send(pager, trip_page("b"))
    assert (api.open[TEAM_KEY], api.open[KEY]) == ({"a.7"}, {"b.7"})
    (tmp_path / "teams").write_text("other: x\n")
    send(pager, trip_page("c", settings=replace(SETTINGS, pagerduty="search")))
    assert "c.7" in api.open[KEY], "a team whose key is missing is paged by the default key"


def test_without_a_default_key_only_teams_with_a_key_are_paged(api: PagerDutyDouble, tmp_path: Path) -> None:
    (tmp_path / "teams").write_text(f"search: {TEAM_KEY}\n")
    pager = PagerDutyPager(NamedSecrets(PAGERDUTY_KEYS, None, tmp_path / "teams"), url=api.events_url)
    assert pager.address(trip_page()) is None
    missing = trip_page(settings=replace(SETTINGS, pagerduty="typo"))
    with pytest.raises(Refused, match="has no PagerDuty key called 'typo'") as raised:
        send(pager, missing)
    assert not isinstance(raised.value, AccessDenied), "it must not hold up other teams' pages"


@pytest.mark.parametrize("text", [f"{TEAM_KEY}\n", "search: a b\n", "search: x\nsearch: y\n", "a" * 70_000, "\ud800"])
def test_a_spoiled_file_of_keys_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "teams").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(Refused) as raised:
        NamedSecrets(PAGERDUTY_KEYS, None, tmp_path / "teams").key("search")
    assert TEAM_KEY not in str(raised.value)


def test_rotated_keys_are_used_and_a_lost_file_costs_no_page(keys: NamedSecrets, tmp_path: Path) -> None:
    """Rotated keys are used, and a file that is gone for a moment costs no page."""
    assert keys.key("search") == TEAM_KEY
    (tmp_path / "teams").unlink()
    assert keys.key("search") == TEAM_KEY
    (tmp_path / "teams").write_text("search: new\n")
    assert keys.key("search") == "new"


@pytest.mark.parametrize("answer", [invalid_event("'payload.custom_details' is invalid"), Answer(413, b"")])
def test_an_event_refused_for_its_form_goes_out_bare(
    api: PagerDutyDouble, pager: PagerDutyPager, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    """The same attempt sends the summary under the same dedup key; the log has what PagerDuty said, and no key."""
    api.fail_next(answer)
    page = trip_page()
    assert send(pager, page) == page.id
    (event,) = api.events
    assert event["payload"].keys() == {"summary", "source", "severity"}
    assert "links" not in event
    assert api.open[KEY] == {page.id}
    assert answer.status == 413 or "'payload.custom_details' is invalid" in caplog.text
    assert KEY not in caplog.text


def test_a_pagerduty_that_takes_no_details_gets_trip_and_re_arm(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    api.refuses_details = True
    send(pager, trip_page())
    assert api.open[KEY] == {trip_page().id}
    send(pager, events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=SETTINGS))
    assert api.open[KEY] == set()


def test_an_event_too_large_for_pagerduty_goes_out_bare(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    page = trip_page()
    big = replace(page, payload={**page.payload, "more": "x" * MAX_EVENT})
    send(pager, big)
    assert max(len(request.body) for request in api.received) <= MAX_EVENT
    assert api.open[KEY] == {page.id}


def test_a_wrong_key_is_named_as_such(tmp_path: Path, api: PagerDutyDouble, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "wrong").write_text("0" * 32)
    pager = PagerDutyPager(NamedSecrets(PAGERDUTY_KEYS, Secret.from_file(tmp_path / "wrong")), url=api.events_url)
    with pytest.raises(Refused, match="'routing_key' is not the key of a service; check the integration key"):
        send(pager, trip_page())
    assert "0" * 32 not in caplog.text


@pytest.mark.parametrize("kind", [kind for kind in PageKind if kind not in (PageKind.FOLLOWED, PageKind.DIGEST)])
def test_pagerduty_takes_every_kind_of_page(api: PagerDutyDouble, pager: PagerDutyPager, kind: PageKind) -> None:
    send(pager, replace(trip_page(), kind=kind))
    if kind in CHANGES:
        assert (api.events, api.changes[0]["payload"]["custom_details"]["kind"]) == ([], "TRIPPED")
    else:
        assert api.events[0]["payload"]["class"] == kind.value


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, b""), AccessDenied),
        (Answer(404, b""), Refused),
        (Answer(429, b""), Unavailable),
        (Answer(500, b""), Unavailable),
        (Answer(504, b""), OutcomeUnknown),
        (Answer(200, b"<html>"), OutcomeUnknown),
        (Answer(lost=True), OutcomeUnknown),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status} {value.lost}",
)
def test_each_answer_says_whether_to_retry_to_fix_or_to_doubt(
    api: PagerDutyDouble, pager: PagerDutyPager, answer: Answer, kind: type[KillswitchError]
) -> None:
    api.fail_next(answer)
    with pytest.raises(KillswitchError) as raised:
        send(pager, trip_page())
    assert type(raised.value) is kind
    assert KEY not in str(raised.value)


def test_the_re_arm_of_a_real_flag_bears_the_key_of_its_trip(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    tripped = flags.trip(
        armed(), rollout="support-copilot", reason="r", rules=(), incident="support-copilot.1",
        now=AT, by="a", actor=Actor.CONTROLLER,
    )  # fmt: skip
    send(pager, trip_page(generation=1))
    again = flags.rearm(tripped, rollout="support-copilot", reason="fixed", now=AT + 60, by="ann")
    send(pager, events.re_armed(again, reason="fixed", by="ann", settings=SETTINGS))
    assert api.open[KEY] == set()


def tripped_for_good() -> Flag:
    flag = replace(armed(), generation=7)
    return flags.trip(
        flag, rollout=flag.rollout, reason="r", rules=(), incident="support-copilot.7",
        now=AT, by="a", actor=Actor.CONTROLLER,
    )  # fmt: skip


def test_a_pin_of_a_tripped_canary_stays_open_until_the_re_arm(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    """The pin adds to the alert of the trip. An unpin leaves it open, because the canary is still at 0 %."""
    pinned = pinning.pin(
        tripped_for_good(), rollout="support-copilot", reason="csat", rules=(), incident="",
        now=AT + 60, by="bob", actor=Actor.PERSON,
    )  # fmt: skip
    free = pinning.unpin(pinned, rollout="support-copilot", reason="ok", now=AT + 90, by="bob", actor=Actor.PERSON)
    send(pager, trip_page())
    send(pager, pin_events.pinned(pinned, settings=SETTINGS))
    assert api.events[-1]["payload"]["class"] == "PINNED"
    assert api.open[KEY] == {"support-copilot.7"}
    assert pager.address(pin_events.unpinned(free, reason="ok", by="bob", settings=SETTINGS)) is None
    again = flags.rearm(free, rollout="support-copilot", reason="fixed", now=AT + 120, by="ann")
    send(pager, events.re_armed(again, reason="fixed", by="ann", settings=SETTINGS))
    assert api.open[KEY] == set()


def test_a_control_that_drowns_opens_an_alert_of_its_own(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    """An event that adds to an alert notifies no one. The re-arm resolves both alerts."""
    flag = tripped_for_good()
    send(pager, trip_page())
    send(pager, control_drowns(flag, ["error_rate"], ["12% of requests fail"], at=AT + 300, settings=SETTINGS))
    assert api.open[KEY] == {"support-copilot.7", "support-copilot.7.control-drowns"}
    again = flags.rearm(flag, rollout="support-copilot", reason="fixed", now=AT + 900, by="ann")
    send(pager, events.re_armed(again, reason="fixed", by="ann", settings=SETTINGS))
    assert api.open[KEY] == set()


def test_a_step_and_a_completion_resolve_what_asked_for_them(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    """A step that no page asked for opens no alert."""
    shown: dict[str, Any] = {"timeline": {"stages": [], "why": ""}, "at": AT, "settings": SETTINGS}
    before = armed()
    after = flags.set_stage(
        before, rollout=before.rollout, percent=99.0, stage="full", now=AT + 60, by="ann", actor=Actor.PERSON
    )  # fmt: skip
    done = completed(after)
    send(pager, plan_events.ready(before, "all pass", to="full", percent=99.0, **shown))
    assert len(api.open[KEY]) == 1
    for _ in range(2):
        send(pager, plan_events.advanced(after, "all pass", before=before, by="ann", **shown))
        assert api.open[KEY] == set()
    send(pager, plan_events.complete(after, "over", **shown))
    assert len(api.open[KEY]) == 1
    send(pager, plan_events.rolled_out(done, "over", before=after, **shown))
    assert api.open[KEY] == set()


def test_an_acknowledgement_acknowledges_the_trips_alert(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    """PagerDuty then sends no more reminders and does not escalate; the alert stays open until the re-arm."""
    send(pager, trip_page())
    taken = replace(incident(), acknowledged=Acknowledged("ann", "Slack", AT + 60))
    page = events.acknowledged(replace(armed(), generation=7), taken, settings=SETTINGS)
    assert pager.address(page) == ""
    send(pager, page)
    assert api.events[-1]["event_action"] == "acknowledge"
    assert (api.acknowledged[KEY], api.open[KEY]) == ({"support-copilot.7"}, {"support-copilot.7"})


def test_a_step_is_a_change_event_that_notifies_no_one(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    before = armed()
    after = replace(before, stage="ramp_25", canary_percent=25.0)
    page = plan_events.advanced(
        after, "all pass", before=before, by="ann", timeline={"stages": [], "why": ""}, at=AT, settings=SETTINGS
    )
    assert send(pager, replace(page, follows=None)) == ""
    (change,) = api.changes
    assert api.events == []
    assert not {"dedup_key", "event_action"} & set(change)
    assert change["payload"]["summary"] == page.headline


def test_a_refused_change_event_does_not_hold_up_a_resolved_alert(
    api: PagerDutyDouble, pager: PagerDutyPager, caplog: pytest.LogCaptureFixture
) -> None:
    """An account may have no change events. The re-arm still resolves the alert, once."""
    send(pager, trip_page())
    api.refuses_changes = True
    send(pager, events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=SETTINGS))
    assert (api.open[KEY], api.changes) == (set(), [])
    assert "the change event is refused" in caplog.text


def test_a_change_event_refused_for_its_details_goes_out_bare(api: PagerDutyDouble, pager: PagerDutyPager) -> None:
    api.refuses_details = True
    send(pager, replace(trip_page(), kind=PageKind.PROMOTED))
    assert api.changes[0]["payload"].keys() == {"summary", "timestamp"}
