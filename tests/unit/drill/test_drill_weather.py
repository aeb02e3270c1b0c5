"""When a drill is not begun: each reason in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.drill.routers import RouterLook
from killswitch.drill.weather import NewestCycle, Weather, bad_weather
from killswitch.flags.flag import Flag, trip
from killswitch.flags.transitions import Actor
from killswitch.model import Mode, Verdict
from killswitch.router.presence import Report
from tests.doubles.drills import NAME, rules
from tests.doubles.pages import AT, armed

JUDGED = NewestCycle(3.0, "hold", {"error_rate": Verdict.HEALTHY})
ROUTER = Report("r1", NAME, 7, 1, "armed", 5.0, AT)
QUIET = rules('drill: {quiet: "* 2-4 * * *"}\n')
FINE = Weather(
    rollout=NAME, rules=QUIET, flag=armed(rollout=NAME), now=AT, interval=30.0, live=False, judged=JUDGED, replicas=2,
    routers=RouterLook({"r1": ROUTER}), revision=7,
)  # fmt: skip
AT_NIGHT = AT - 12 * 3600 + 900  # 02:37 UTC


def stopped(ago: float = 600.0) -> Flag:
    return trip(
        armed(rollout="other"), rollout="other", reason="bad", rules=(), incident="other.7", now=AT - ago, by="a",
        actor=Actor.CONTROLLER,
    )  # fmt: skip


def test_in_good_weather_nothing_is_said() -> None:
    assert bad_weather(FINE) == []
    assert bad_weather(replace(FINE, live=True, now=AT_NIGHT)) == []


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (replace(FINE, flag=None), "it has no flag"),
        (replace(FINE, flag=stopped()), "it is not armed: tripped by a: bad"),
        (replace(FINE, flag=None, unreadable="not JSON"), "its flag cannot be read"),
        (replace(FINE, rules=None), "no rule file has it"),
        (replace(FINE, judged=None), "has not judged it yet"),
        (replace(FINE, judged=replace(JUDGED, problem="etcd: no quorum")), "could not read everything: etcd"),
        (replace(FINE, judged=replace(JUDGED, age=100.0)), "the daemon is late"),
        (replace(FINE, judged=replace(JUDGED, action="blind")), "it is blind"),
        (replace(FINE, judged=replace(JUDGED, verdicts={"p": Verdict.SUSPECT})), "not healthy: p is over"),
        (replace(FINE, judged=replace(JUDGED, verdicts={"p": Verdict.BREACH})), "not healthy: p is over"),
        (replace(FINE, judged=replace(JUDGED, step_due=True)), "a step of its plan is due"),
        (replace(FINE, judged=replace(JUDGED, trips=(NAME,))), "a trip of it is under way"),
        (replace(FINE, outages=("copilot blind since 14:00",)), "an outage is open: copilot blind"),
        (replace(FINE, flags={"other": stopped()}), "other was tripped 10m ago"),
        (replace(FINE, other="drill 3 of it is under way"), "drill 3 of it is under way"),
        (replace(FINE, replicas=0), "no controller is alive"),
        (replace(FINE, routers=RouterLook()), "no router reports"),
        (replace(FINE, revision=8), "1 router of 1 have not followed"),
        (replace(FINE, routers=RouterLook({"r1": None})), "1 router of 1 have not followed"),
        (replace(FINE, live=True), "outside the quiet window (* 2-4 * * *, UTC)"),
        (replace(FINE, live=True, now=AT_NIGHT, rules=rules()), "a live drill needs a quiet window"),
        (replace(FINE, live=True, now=AT_NIGHT, rules=replace(QUIET, mode=Mode.DRY_RUN)), "mode: dry_run"),
        (replace(FINE, live=True, now=AT_NIGHT, replicas=1), "a live drill needs 2"),
        (replace(FINE, live=True, now=AT_NIGHT, by_role=True), "slots of a role"),
        (replace(FINE, live=True, now=AT_NIGHT, flag=replace(armed(), stage="shadow")), "no user has its canary"),
        (replace(FINE, live=True, now=AT_NIGHT, flag=replace(armed(), canary_percent=100.0)), "above 99 %"),
    ],
)
def test_each_reason_is_said(seen: Weather, said: str) -> None:
    """One thing that is wrong is one reason."""
    (reason,) = bad_weather(seen)
    assert said in reason


def test_all_reasons_are_said_at_once() -> None:
    bad = replace(FINE, replicas=0, judged=replace(JUDGED, action="blind"), outages=("x",), live=True)
    assert len(bad_weather(bad)) == 5


def test_an_old_trip_of_another_rollout_is_no_reason() -> None:
    assert bad_weather(replace(FINE, flags={"other": stopped(ago=4000.0)})) == []


@pytest.mark.parametrize("verdict", [Verdict.HEALTHY, Verdict.UNKNOWN])
def test_a_quiet_night_is_no_reason(verdict: Verdict) -> None:
    """Too few requests is usual at three in the morning."""
    assert bad_weather(replace(FINE, judged=replace(JUDGED, verdicts={"error_rate": verdict}))) == []
