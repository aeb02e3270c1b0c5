from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags import flag
from killswitch.flags.incident import Acknowledged
from killswitch.flags.transitions import Actor
from killswitch.model import Excursion, PageSettings, Reason, Unit
from killswitch.pages import (
    digest,
    drowning_events,
    end_events,
    events,
    pin_events,
    plan_events,
    slow_events,
    spend_events,
)
from killswitch.pages.page import MAX_ROWS, Page, PageKind, page_from_json, page_to_json
from killswitch.pages.text import plain_text, table_lines
from killswitch.pages.trial_page import trial
from killswitch.wording import plain
from tests.doubles.drills import drill_pages
from tests.doubles.pages import (
    AT,
    BREACH,
    HEALTHY,
    PLANNED,
    PROVEN,
    SETTINGS,
    UNKNOWN,
    armed,
    completed,
    incident,
    proven_incident,
    spent,
    trip_page,
)
from tests.doubles.role_pages import role_pages

SEVEN = ("alert", "reason", "stage", "ts", "samples_new", "samples_old", "auto_action")


def tripped(one: flag.Flag) -> flag.Flag:
    return flag.trip(
        one, rollout=one.rollout, reason="r", rules=(), incident="support-copilot.1", now=AT, by="ann",
        actor=Actor.PERSON,
    )  # fmt: skip


def one_of_each() -> list[Page]:
    flag = armed()
    return [
        events.tripped(incident(), SETTINGS),
        events.would_trip(incident(), SETTINGS),
        events.blind([flag], why="Prometheus is down", since=AT - 90, at=AT, settings=SETTINGS),
        events.cannot_act(
            ["support-copilot"], controller="a", why="etcd: no quorum", since=AT, at=AT, settings=SETTINGS
        ),
        events.control_too(flag, [replace(BREACH, reason=Reason.CONTROL_TOO)], at=AT, settings=SETTINGS),
        events.traffic_split(flag, [UNKNOWN], at=AT, settings=SETTINGS),
        events.never_seen(flag, [UNKNOWN], at=AT, settings=SETTINGS),
        events.rule_blind(flag, UNKNOWN, lasted=150.0, at=AT, settings=SETTINGS),
        events.unwatched(flag, at=AT, settings=SETTINGS),
        events.flag_unreadable("support-copilot", "not JSON", at=AT, revision=7, settings=SETTINGS),
        events.recovered(PageKind.BLIND, [flag], follows="x.blind", since=AT - 90, at=AT, settings=SETTINGS),
        events.re_armed(flag, reason="fixed the prompt", by="ann", settings=SETTINGS),
        events.acknowledged(
            flag, replace(incident(), acknowledged=Acknowledged("ann", "Slack", AT)), settings=SETTINGS
        ),
        end_events.ended(events.tripped(incident(), SETTINGS), flag, reason="given up", by="ann", at=AT),
        events.followed(flag, routers=58, known=60, at=AT, settings=SETTINGS),
        events.rules_refused(["rules/a.yaml:3: unknown key"], at=AT, digest="abc", settings=SETTINGS),
        events.internal_error(flag, [UNKNOWN], at=AT, settings=SETTINGS),
        events.name_taken("held by another", rollout="", controller="a", at=AT, settings=SETTINGS),
        events.transaction_refused("too many", rollout="copilot", controller="a", at=AT, settings=SETTINGS),
        slow_events.slow_unknown(flag, ["csat"], ["csat unknown (STALE): no rows"], at=AT, settings=SETTINGS),
        pin_events.pinned_by_trip(replace(incident(), generation=8), SETTINGS),
        pin_events.unpinned(flag, reason="csat is back", by="ann", settings=SETTINGS),
        plan_events.ready(
            flag, "every check passes", to="ramp_25", percent=25.0, timeline=PLANNED, at=AT, settings=SETTINGS
        ),
        plan_events.advanced(
            flag,
            "every check passes",
            before=replace(flag, stage="ramp_1"),
            by="plan (a)",
            timeline=PLANNED,
            at=AT,
            settings=SETTINGS,
        ),
        plan_events.plan_held(flag, "custom is not in the plan", timeline=PLANNED, at=AT, settings=SETTINGS),
        plan_events.complete(flag, "the plan is over", timeline=PLANNED, at=AT, settings=SETTINGS),
        drowning_events.control_drowns(
            tripped(flag), ["error_rate"], ["error_rate of control 12%"], at=AT, settings=SETTINGS
        ),
        plan_events.rolled_out(completed(flag), "it is well", before=flag, timeline=PLANNED, at=AT, settings=SETTINGS),
        spend_events.spend_soft("support-copilot", spent(41.2, soft=40, hard=50), at=AT, settings=SETTINGS),
        spend_events.spend_hard("support-copilot", spent(49.9, hard=50, short=0.25), at=AT, settings=SETTINGS),
        spend_events.spend_unknown(flag, "no price of 'model-new' is known", at=AT, settings=SETTINGS),
        *role_pages(AT, SETTINGS),
        trial("support-copilot", SETTINGS, severity="critical", by="ann@host", at=AT, identity="1f"),
        *drill_pages(),
        digest.digest_of([trip_page(), trip_page("other")]),
    ]


def test_the_payload_of_a_trip_is_exactly_what_receivers_rely_on() -> None:
    payload = events.tripped(incident(), SETTINGS).payload
    assert {name: payload[name] for name in SEVEN} == {
        "alert": "canary kill-switch tripped",
        "reason": "refusal_rate=0.087 vs baseline 0.011",
        "stage": "ramp_5",
        "ts": "2026-04-19T14:22:11Z",
        "samples_new": 1842,
        "samples_old": 35160,
        "auto_action": "all traffic routed to model-old",
    }
    assert list(payload)[:7] == list(SEVEN)


def test_every_kind_has_a_page_with_the_seven_names() -> None:
    """There is a page for every kind with the seven names and a document."""
    pages = one_of_each()
    assert {page.kind for page in pages} == set(PageKind)
    for page in pages:
        assert set(SEVEN) <= set(page.payload), page.kind
        assert page.payload["kind"] == page.kind.value
        assert page_from_json(json.loads(json.dumps(page_to_json(page), allow_nan=False))) == page


def test_a_page_has_its_parts_in_order() -> None:
    """A page says what was done, then why, then the rules, then the next steps."""
    text = plain_text(trip_page())
    order = ["all traffic routed to model-old", BREACH.sentence, "8.7%", "Runbook: https://", "killswitch rearm"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert '`killswitch rearm support-copilot --reason "what was fixed"`' in text


def test_the_table_shows_values_limit_and_samples() -> None:
    """The rules are shown side by side with values, limit and requests."""
    lines = table_lines(trip_page().rows)
    assert lines[0].split() == ["rule", "canary", "control", "limit", "requests", "counted", "verdict"]
    assert lines[1].split() == [
        ">", "refusal_rate", "8.7%", "1.1%", "6.1%", "1,842", "/", "35,160", "last", "5m", "BREACH",
    ]  # fmt: skip
    assert lines[2].split()[:7] == ["latency_p95", "2.41", "s", "2.20", "s", "3.30", "s"]
    assert "UNKNOWN (NEVER_SEEN)" in lines[3]


def test_a_dry_run_says_that_nothing_was_done() -> None:
    page = events.would_trip(incident(), SETTINGS)
    assert page.payload["auto_action"].startswith("none")
    assert "Nothing was changed" in page.headline
    assert page.id != trip_page().id


def test_a_trip_by_hand_names_the_person() -> None:
    """A trip by hand names the person and has no invented samples."""
    by_hand = incident(automatic=False, by="ann", rules=(), findings=(), reason="users complain", tick=None)
    page = events.tripped(by_hand, SETTINGS)
    assert "tripped by ann" in page.headline
    assert page.payload["reason"] == "users complain"
    assert page.payload["samples_new"] is None


def test_one_outage_of_many_rollouts_is_one_page() -> None:
    """One outage of many rollouts is one page that counts them."""
    flags = [armed(f"rollout-{number}") for number in range(7)]
    page = events.blind(flags, why="Prometheus is down", since=AT - 90, at=AT, settings=SETTINGS)
    assert page.headline.startswith("7 rollouts (rollout-0, rollout-1, rollout-2, …): blind for 1m30s")
    assert len(page.payload["rollouts"]) == 7


def test_pages_of_one_event_have_one_id_on_every_replica() -> None:
    ids = [page.id for page in one_of_each()]
    assert ids == [page.id for page in one_of_each()]
    assert len(set(ids)) == len(ids)


def test_good_news_mentions_no_one_and_continues_its_page() -> None:
    """Good news mentions no one, and continues the page it belongs to."""
    tripped = flag.trip(
        armed(), rollout="support-copilot", reason="r", rules=(), incident="support-copilot.1",
        now=AT, by="a", actor=Actor.CONTROLLER,
    )  # fmt: skip
    again = flag.rearm(tripped, rollout="support-copilot", reason="fixed", now=AT + 60, by="ann")
    page = events.re_armed(again, reason="fixed", by="ann", settings=SETTINGS)
    assert page.follows == "support-copilot.1"
    assert page.mention is None
    assert page.severity == "info"


def test_a_digest_mentions_every_team_that_shares_the_channel() -> None:
    """Only the first one's phones rang, though each page by itself would have rung its own team's."""
    one, other = trip_page("one"), replace(trip_page("other"), mention="<!subteam^S7654321> <@U0000001>")
    many = digest.digest_of([one, other, trip_page("third")])
    assert many.mention == f"{SETTINGS.mention} <!subteam^S7654321> <@U0000001>"
    crowd = digest.digest_of([replace(one, mention=f"<!subteam^S{number:07}>") for number in range(100)])
    assert crowd.mention is not None
    assert set(crowd.mention.split()) <= {f"<!subteam^S{number:07}>" for number in range(100)}  # none is cut
    assert len(crowd.mention) <= digest.MAX_MENTION


def test_a_digest_is_as_grave_as_its_gravest_page() -> None:
    """A digest is as grave as its gravest page and keeps every payload."""
    calm = replace(trip_page("calm"), severity="info", mention=None)
    page = digest.digest_of([calm, trip_page("grave")])
    assert page.severity == "critical"
    assert page.mention == SETTINGS.mention
    assert {p["rollout"] for p in page.payload["pages"]} == {"calm", "grave"}
    assert len(digest.digest_of([trip_page(f"r{number}") for number in range(1000)]).payload["pages"]) == 100


def test_a_breach_that_waits_for_the_store_is_a_page_of_its_own() -> None:
    def page(*breaches: str) -> Page:
        return events.cannot_act(
            ["a"], controller="c", why="no quorum", since=AT, at=AT, settings=SETTINGS, breaches=breaches
        )

    assert page().id != page("refusal_rate 8.7%").id
    assert "A breach is waiting: refusal_rate 8.7%" in page("refusal_rate 8.7%").why


def test_the_fallback_reads_who_could_not_be_reached_and_why() -> None:
    page = digest.for_fallback(trip_page(), "slack", "503 <html>")
    assert page.next_steps[-1] == "slack could not be reached: 503 <html>"


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0871, "fraction", "0.087"),
        (0.00123, "fraction", "0.0012"),
        (2.4156, "seconds", "2.416"),
        (0.0, "fraction", "0.000"),
    ],
)
def test_numbers_in_the_reason_are_plain(value: float, unit: str, words: str) -> None:
    finding = replace(BREACH, canary=value, unit=type(BREACH.unit)(unit))
    page = events.tripped(incident(findings=(finding,)), SETTINGS)
    assert page.payload["reason"].startswith(f"refusal_rate={words} vs baseline ")


def test_a_breach_without_a_window_gives_its_sentence_as_reason() -> None:
    """A breach whose window could not be read gives what was gathered as its reason."""
    finding = replace(BREACH, canary=None, control=None)
    page = events.tripped(incident(findings=(finding,)), SETTINGS)
    assert page.payload["reason"] == finding.sentence


@given(st.text())
def test_plain_text_is_one_bounded_line_of_printable_characters(text: str) -> None:
    kept = plain(text, 50)
    assert len(kept) <= 50
    assert all(character == " " or character.isprintable() for character in kept)
    kept.encode()


hostile = st.sampled_from(
    ["<!channel>", "</script>", "\x1b[31m", "a\nb", "\u202ereverse", "\ud800", "x" * 5000, "`;rm -rf /`", "@here", ""]
) | st.text(max_size=40)


@given(hostile, hostile, hostile)
def test_hostile_names_and_sentences_leave_a_bounded_page(rule: str, sentence: str, model: str) -> None:
    """Whatever is in names and sentences, the page stays a bounded document."""
    bad = replace(BREACH, rule=rule, sentence=sentence)
    page = events.tripped(
        incident(findings=(bad, HEALTHY) * 60, rules=(rule,), reason=sentence, canary=model or "m"), SETTINGS
    )
    document = json.dumps(page_to_json(page)).encode()
    assert len(document) < 150_000
    assert "\n" not in page.headline + page.why + "".join(page.next_steps)
    assert "\x1b" not in plain_text(page)
    assert len(page.rows) <= MAX_ROWS


@pytest.mark.parametrize("spoil", [
    lambda d: d.update(kind="NOBODY"), lambda d: d.update(rows=[{"rule": 1}]), lambda d: d.update(payload=[]),
    lambda d: d.update(id=""), lambda d: d.update(severity="loud"), lambda d: d.pop("headline"),
    lambda d: d.update(at="now"), lambda d: d.update(format=2), lambda d: d.update(payload={"x": float("nan")}),
])  # fmt: skip
def test_a_spoiled_page_document_is_refused(spoil: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(json.dumps(page_to_json(trip_page())))
    spoil(document)
    with pytest.raises(BadDocument):
        page_from_json(document)


def test_settings_without_links_give_a_page_without_them() -> None:
    page = events.tripped(incident(), PageSettings())
    assert not any(step.startswith(("Runbook", "Dashboard")) for step in page.next_steps)


def test_the_first_row_shows_what_tripped_the_second_the_window() -> None:
    """The window holds minutes from before: "5.4 %, limit 6.2 %, BREACH" contradicted the sentence above it."""
    lines = table_lines(events.tripped(proven_incident(), SETTINGS).rows)
    assert lines[0].split() == ["rule", "canary", "control", "limit", "requests", "counted", "verdict"]
    assert re.split(r"  +", lines[1]) == [
        ">", "refusal_rate", "28.0%", "1.2%", "6.2%", "53 of 189", "since 14:20:30 (1m41s)", "BREACH",
    ]  # fmt: skip
    assert re.split(r"  +", lines[2].strip()) == ["5.4%", "1.2%", "6.2%", "1,842 / 35,160", "last 5m"]
    assert re.split(r"  +", lines[3].strip())[-2:] == ["last 5m", "HEALTHY"]


def test_a_latency_rules_row_counts_slow_requests() -> None:
    slow = replace(
        PROVEN, rule="latency_p95", unit=Unit.SECONDS, canary=2.9, control=2.2, limit=3.3,
        excursion=Excursion(AT - 60, 73.0, 189.0, 167.0, 3410.0),
    )  # fmt: skip
    page = events.tripped(proven_incident(findings=(slow,), rules=("latency_p95",)), SETTINGS)
    assert (page.rows[0].canary, page.rows[0].control, page.rows[0].limit) == ("38.6% slow", "4.9% slow", "-")
    assert (page.rows[1].canary, page.rows[1].limit) == ("2.90 s", "3.30 s")
    assert page.payload["reason"] == "share of requests over the limit of latency_p95=0.386 vs baseline 0.049"


def test_a_breach_by_evidence_gives_the_counted_numbers() -> None:
    """Reason and samples of a proven breach are what was counted."""
    payload = events.tripped(proven_incident(), SETTINGS).payload
    assert payload["reason"] == "refusal_rate=0.280 vs baseline 0.012"
    assert (payload["samples_new"], payload["samples_old"]) == (189, 3410)
    assert payload["rules"][0]["excursion"]["events_canary"] == 53.0
    assert payload["rules"][0]["canary"] == 0.054


def test_a_page_says_how_many_users_were_exposed() -> None:
    """A page says when and how many users and requests were exposed."""
    page = events.tripped(proven_incident(), SETTINGS)
    assert plain_text(page).splitlines()[2] == (
        "At 2026-04-19 14:22:11 UTC. Exposed: 5% of users, since 14:20:30 UTC (1m41s): "
        "53 of 189 canary requests were bad (refusal_rate)."
    )
    assert page.payload["exposed"] == {
        "percent_of_users": 5.0, "since": "2026-04-19T14:20:30Z", "seconds": 101, "requests": 189, "bad_requests": 53,
        "rule": "refusal_rate", "first_requests": False, "users": None,
    }  # fmt: skip
    document = json.loads(json.dumps(page_to_json(page)))
    assert page_from_json(document) == page


def test_users_are_counted_where_first_requests_are_judged() -> None:
    """Users are counted where each user's first requests are judged."""
    judged = replace(PROVEN, raw_canary=0.05, raw_control=0.01)
    page = events.tripped(proven_incident(findings=(judged,)), SETTINGS)
    assert page.exposed.endswith("53 of 189 canary requests were bad (refusal_rate) of about 189 users")
    long_ago = replace(judged, since=AT - 3600, excursion=Excursion(AT - 3600, 53.0, 189.0, 41.0, 3410.0, 0.062))
    page = events.tripped(proven_incident(findings=(long_ago,)), SETTINGS)
    assert page.payload["exposed"]["users"] is None
    assert page.exposed.endswith("(refusal_rate), each user's first in five minutes")


def test_a_trip_by_hand_says_the_share_and_invents_no_numbers() -> None:
    page = events.tripped(incident(automatic=False, findings=(), rules=(), window=None), SETTINGS)
    assert (page.rows, page.exposed) == ((), "5% of users")


def test_pages_link_to_their_incident() -> None:
    """Pages link to their incident where a public address is set."""
    settings = replace(SETTINGS, public_url="https://ks.example/canary/")
    page = events.tripped(incident(), settings)
    assert page.link == page.payload["link"] == "https://ks.example/canary/incidents/support-copilot.7"
    assert page.next_steps[0] == f"Incident: {page.link}"
    again = events.re_armed(replace(armed(), generation=8), reason="fixed", by="ann", settings=settings)
    assert again.link == page.link
    assert (
        events.unwatched(armed(), at=AT, settings=settings).link == "https://ks.example/canary/rollouts/support-copilot"
    )
    assert events.rules_refused(["x"], at=AT, digest="d", settings=settings).link == "https://ks.example/canary/"
    assert events.tripped(incident(), SETTINGS).link is None


def test_routers_that_have_not_followed_are_no_good_news() -> None:
    late = events.followed(armed(), routers=58, known=60, at=AT, settings=SETTINGS)
    assert (late.good_news, late.severity, late.mention) == (False, "warning", None)
    assert events.followed(armed(), routers=60, known=60, at=AT, settings=SETTINGS).good_news
