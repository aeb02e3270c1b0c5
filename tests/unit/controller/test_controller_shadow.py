"""Stage shadow in virtual time: what the rules judge there, what a breach does, and what is said when none can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare
from killswitch.model import (
    Cohort,
    Finding,
    Matcher,
    Measurement,
    Reason,
    Rollout,
    ShadowSettings,
    Unreadable,
    Verdict,
    Want,
)
from killswitch.pages.page import PageKind
from killswitch.pages.text import plain_text
from tests.doubles.fleet import INTERVAL, START, Fleet, Replica
from tests.doubles.scripted_source import ALL_RULES, REFUSALS, Script, Traffic, canary_from, rollout
from tests.unit.controller.fleets import assert_one_trip, blind

pytestmark = pytest.mark.simulation

SHADOW_SERIES = (Matcher("cohort", "=", "shadow"),)
NOTHING = Unreadable(Reason.NO_DATA, "no series match")
FIFTH = ShadowShare(20.0)
SHARES = {Cohort.CONTROL: 1425.0, Cohort.CANARY: 285.0}


def service(
    shadow: Traffic | None, users: Traffic | None = None, *, series: tuple[Matcher, ...] = SHADOW_SERIES
) -> Script:
    """What is counted: control's requests, shadow requests under ``series``, and the canary's users, where there are.

    No thumb is ever counted for a shadow request: nobody sees its answer.
    """

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        asks_shadow = want.cohorts[Cohort.CANARY] == series
        traffic = shadow if asks_shadow else users
        if cohort is Cohort.CONTROL:
            return (traffic or Traffic(mean=SHARES))(want, cohort, tick)
        if traffic is None or (asks_shadow and want.rule == "thumbs_down_rate"):
            return NOTHING
        return traffic(want, cohort, tick)

    return script


def shadowing(script: Script, *names: str, share: ShadowShare = FIFTH, **changes: object) -> Fleet:
    fleet = Fleet(script, rollout(**changes))  # type: ignore[arg-type]  # fields of Rollout
    for name in names or ("a",):
        fleet.replica(name)
    arm(fleet, share)
    return fleet


def arm(fleet: Fleet, share: ShadowShare = FIFTH) -> Flag:
    return fleet.person.arm(
        "copilot", control="model-old", canary="model-new", percent=0.0, stage=SHADOW, salt="", shadow=share
    )


def bad(onset: float = START + 300, **rates: float) -> Traffic:
    return Traffic(mean=SHARES, rate=canary_from(onset, **(rates or {"refusal_rate": 0.087})), since=START)


GOOD = Traffic(mean=SHARES, since=START)


def test_a_canary_that_refuses_is_tripped_in_the_shadow_with_one_page() -> None:
    """8.7 % refusals against 1.1 %: the shadow stops, and the page says that no user was affected."""
    fleet = shadowing(service(bad()), "a", "b")
    fleet.run(60, until=fleet.tripped)
    assert_one_trip(fleet)
    flag = fleet.flag()
    assert flag is not None
    assert flag.shadow_share == NO_SHADOW
    fleet.run(5)
    (page,) = fleet.pages()
    text = plain_text(page)
    assert page.headline == ("Shadow of copilot stopped: no more requests go to canary model-new. No user was affected")
    assert page.exposed is not None
    assert page.exposed.startswith("no user")
    assert "shadow requests were bad (refusal_rate)" in page.exposed
    assert "all traffic routed" not in text
    assert "killswitch rearm copilot --shadow 5" in text
    assert page.payload["auto_action"] == "shadow requests stopped; every user had model-old all the time"


def test_a_canary_within_its_limits_is_shadowed_in_peace() -> None:
    fleet = shadowing(service(GOOD), "a", "b")
    fleet.run(120)
    assert fleet.flips() == []
    assert fleet.pages() == []
    said = fleet.sentences()[0]
    assert said.startswith("[armed g1 shadow 0%, 20% shadowed]: 3 of 4 rules healthy; thumbs_down_rate unknown ")
    assert "(NOT_IN_SHADOW): no user sees a shadow answer, so there is no feedback on any" in said


# --- what is carried into the next stage --------------------------------------------------------


def view_of(replica: Replica) -> tuple[float, ...]:
    view = replica.controller._evaluator.accumulator.view("copilot", "refusal_rate")
    assert view is not None
    return tuple(part if part is not None else -1.0 for part in view[:7])


def finding_of(fleet: Fleet) -> Finding:
    report = fleet.replicas[0].controller.latest
    assert report is not None
    (finding,) = report.reports["copilot"].findings
    return finding


def shadow_until_suspect(users: Traffic) -> Fleet:
    """Shadow requests get worse, and somebody goes on to users just before that is proven."""
    fleet = shadowing(service(bad(START + 600, refusal_rate=0.075), users), rules=(REFUSALS,))
    fleet.run(80, until=lambda: view_of(fleet.replicas[0])[0] > 3.0)
    assert 3.0 < view_of(fleet.replicas[0])[0] < view_of(fleet.replicas[0])[1]
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    return fleet


def test_evidence_of_the_shadow_ends_with_its_stage() -> None:
    fleet = shadow_until_suspect(Traffic(since=START))
    left = fleet.clock.wall()
    fleet.run(3)
    assert view_of(fleet.replicas[0])[0] < 3.0
    fleet.run(30)
    assert not fleet.tripped()
    assert view_of(fleet.replicas[0])[2] in (-1.0, pytest.approx(left, abs=33 * INTERVAL))


def test_a_canary_that_fails_after_the_shadow_is_tripped_at_once() -> None:
    """The head start of the stage is paid, though other series are read from its first step on."""
    users = Traffic(rate=canary_from(START, refusal_rate=0.5), since=START)
    fleet = shadowing(service(GOOD, users), rules=(REFUSALS,))
    fleet.run(40)
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    assert fleet.run(20, until=fleet.tripped) <= 5


def test_the_stage_after_a_shadow_begins_like_an_arming() -> None:
    """Its head start is paid, and nothing of the shadow is left: the evidence is that of a rollout armed there."""
    users = Traffic(rate=canary_from(START, refusal_rate=0.05), since=START)
    views = []
    for shadow_first in (True, False):
        fleet = Fleet(service(bad(refusal_rate=0.05), users), rollout(rules=(REFUSALS,)))
        fleet.replica("a")
        if shadow_first:
            arm(fleet)
        fleet.run(40)
        if shadow_first:
            fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
        else:
            fleet.arm()
        fleet.run(4)
        views.append(view_of(fleet.replicas[0]))
    assert views[0] == pytest.approx(views[1], rel=1e-9)
    assert views[0][0] > 1e-3


def test_evidence_of_the_shadow_decides_nothing_while_the_source_is_away() -> None:
    """The next stage's evidence cannot be opened then. What was gathered is about other requests."""
    fleet = shadow_until_suspect(Traffic(since=START))
    fleet.replicas[0].source.fails = lambda call: call == "read_back"
    fleet.run(1)
    finding = finding_of(fleet)
    assert (finding.verdict, finding.evidence) == (Verdict.UNKNOWN, None)


def test_windows_hold_no_shadow_requests_after_the_stage() -> None:
    """Also where both are counted under one label, as a proxy does that knows models only."""
    same = (Matcher("model", "=", "model-new"),)
    left: list[float] = []

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return (Traffic(since=START) if left and tick > left[0] else GOOD)(want, cohort, tick)

    fleet = Fleet(script, by_model(rules=(REFUSALS,), shadow=ShadowSettings(cohort=same)))
    fleet.replica("a")
    arm(fleet)
    fleet.run(20)
    assert (finding_of(fleet).samples_canary or 0.0) > 5 * SHARES[Cohort.CANARY]
    left.append(fleet.clock.wall())
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    fleet.run(3)
    assert 0.0 < (finding_of(fleet).samples_canary or 0.0) < 3 * 100.0  # 75 a step, where 285 were shadowed


@pytest.mark.parametrize("after", [2, 20])
def test_a_replica_started_after_the_shadow_has_the_same_evidence(after: int) -> None:
    users = Traffic(rate=canary_from(START, refusal_rate=0.03), since=START)
    fleet = shadow_until_suspect(users)
    fleet.run(after)
    new = fleet.replica("b")
    fleet.run(2)
    assert view_of(fleet.replicas[0]) == pytest.approx(view_of(new), rel=1e-9, nan_ok=True)


# --- where nothing can be judged ----------------------------------------------------------------


def test_a_shadow_that_nobody_sends_pages_no_one() -> None:
    """Whatever `when_blind` says: no user has the canary."""
    fleet = shadowing(service(None), trip_when_blind_after=600.0)
    fleet.run(60)
    assert fleet.pages() == []
    assert not fleet.tripped()
    said = fleet.sentences()[0]
    assert "3 rules NO_DATA: no shadow requests are counted. Does a service send them (`Shadow(router, …)`)" in said


def test_a_stage_that_shadows_nothing_says_how_to_begin() -> None:
    fleet = shadowing(service(None), share=NO_SHADOW)
    fleet.run(3)
    assert "nothing is shadowed. Begin with `killswitch stage copilot --shadow 5`" in fleet.sentences()[0]


@pytest.mark.parametrize("stage", [SHADOW, "ramp_5"])
def test_only_a_canary_with_users_is_tripped_for_blindness(stage: str) -> None:
    """In stage shadow a metric store that is down pages no one and trips nothing, also under `trip_after`."""
    fleet = shadowing(service(GOOD, GOOD), trip_when_blind_after=600.0)
    fleet.run(5)
    if stage != SHADOW:
        fleet.person.set_stage("copilot", percent=5.0, stage=stage)
        fleet.run(5)
    blind(fleet)
    fleet.run(40)
    assert (fleet.tripped(), len(fleet.pages(PageKind.BLIND))) == ((False, 0) if stage == SHADOW else (True, 1))


def test_a_metric_that_is_missing_is_paged_when_users_come() -> None:
    """A notice goes out once a generation: the shadow, where the rule protects no one, does not use it up."""
    never = Unreadable(Reason.NEVER_SEEN, "refusals_total has not been seen in any cohort for 24 h")
    fleet = shadowing(service(GOOD, GOOD))
    fleet.replicas[0].source.spoil = lambda want, _tick: never if want.rule == REFUSALS.name else None
    fleet.run(10)
    assert fleet.pages() == []
    fleet.person.set_stage("copilot", percent=5.0, stage="ramp_5")
    fleet.run(10)
    assert len(fleet.pages(PageKind.NEVER_SEEN)) == 1


def test_a_shadow_that_falls_silent_is_not_blind() -> None:
    stale = Unreadable(Reason.STALE, "no sample within the last two scrapes")
    fleet = shadowing(service(GOOD), trip_when_blind_after=600.0)
    fleet.run(5)
    fleet.replicas[0].source.spoil = lambda _want, _tick: stale
    fleet.run(40)
    assert fleet.pages() == []
    assert not fleet.tripped()


# --- how shadow requests are labelled -----------------------------------------------------------


def by_model(**changes: object) -> Rollout:
    """Cohorts told apart by the model's name, as most presets do."""
    names = {Cohort.CONTROL: "model-old", Cohort.CANARY: "model-new"}
    cohorts = {cohort: (Matcher("model", "=", name),) for cohort, name in names.items()}
    return replace(rollout(), cohorts=cohorts, **changes)  # type: ignore[arg-type]  # fields of Rollout


@pytest.mark.parametrize("stated", [(), (Matcher("deployment", "=", "shadow"),)])
def test_shadow_requests_are_found_by_the_label_that_the_file_says(stated: tuple[Matcher, ...]) -> None:
    """Where the file does not say it, no rule is judged, no one is paged, and the sentence says what to add."""
    fleet = Fleet(service(bad(), series=stated), by_model(shadow=ShadowSettings(cohort=stated)))
    fleet.replica("a")
    arm(fleet)
    fleet.run(40, until=fleet.tripped)
    assert fleet.tripped() is bool(stated)
    if not stated:
        assert fleet.pages() == []
        said = fleet.sentences()[0]
        assert "add `shadow: {cohort: {…}}` with a label that only they have" in said
        (report,) = [one.controller.latest for one in fleet.replicas]
        assert report is not None
        assert {finding.reason for finding in report.reports["copilot"].findings} == {Reason.NOT_IN_SHADOW}
        assert {finding.rule for finding in report.reports["copilot"].findings} == {rule.name for rule in ALL_RULES}


def test_the_traffic_split_is_not_judged_in_the_shadow() -> None:
    """A fifth of the requests is nowhere near 0 %, and nothing is wrong with it."""
    fleet = shadowing(service(GOOD))
    fleet.run(40)
    findings = fleet.replicas[0].controller.latest.reports["copilot"].findings  # type: ignore[union-attr]  # cycles ran
    assert {finding.verdict for finding in findings} == {Verdict.HEALTHY, Verdict.UNKNOWN}
    assert not fleet.pages(PageKind.TRAFFIC_SPLIT)


def test_turning_the_shadow_keeps_its_evidence() -> None:
    """Another percent of requests is no other model: what was gathered stays."""
    evidence: list[float] = []
    for turn in (False, True):
        fleet = shadowing(service(bad(START + 600, refusal_rate=0.07)), rules=(REFUSALS,))
        fleet.run(30)
        if turn:
            fleet.person.set_stage("copilot", percent=0.0, stage=SHADOW, shadow=ShadowShare(50.0))
        fleet.run(2)
        evidence.append(view_of(fleet.replicas[0])[0])
    assert evidence[0] == evidence[1]
