"""The whole SDK on a simulated clock: with the same model behind both cohorts, each judged rate is the plain rate.

For every signal, in both cohorts, at every stage, whatever the service says of its users. The bounds are of sampling
error (standard deviations of a binomial share), the seeds are fixed.
"""

from __future__ import annotations

import math

import pytest

from killswitch.model import Cohort
from tests.unit.router.simulated_service import Life, Service

pytestmark = pytest.mark.simulation

STAGES = [  # seconds: before arming, just armed to 25 %, later, just raised to 60 %, later
    (300.0, 1800.0),
    (1800.0, 2100.0),
    (2100.0, 2700.0),
    (2700.0, 3000.0),
    (3000.0, 4500.0),
]
SIGNALS = ("errors", "refusals", "thumbs", "fast")
STAGE_BOUND, WHOLE_BOUND = 4.5, 3.5  # standard deviations


def soon(luck: object) -> float:
    return luck.expovariate(1 / 20.0)  # type: ignore[attr-defined,no-any-return]


def late(luck: object) -> float:
    return luck.expovariate(1 / 600.0)  # type: ignore[attr-defined,no-any-return]


LIVES = {
    "dense users": Life(15.0),
    "dense users, thumbs after a while": Life(15.0, delay=soon),
    "dense users, thumbs a minute later": Life(15.0, delay=lambda _: 60.0),
    "dense users, late thumbs": Life(15.0, delay=late),
    "sparse users": Life(400.0, users=1200),
    "sparse users, late thumbs": Life(400.0, users=1200, delay=late),
    "dense and sparse users": Life(15.0, uneven=True, users=200, delay=soon),
    "long sessions": Life(15.0, stay=600.0),
    "short sessions": Life(10.0, stay=30.0, users=100),
    "short sessions, thumbs after they end": Life(10.0, stay=30.0, users=100, delay=late),
    "tokens": Life(15.0, names="token", delay=late),
    "tokens, four processes": Life(15.0, names="token", delay=late, processes=4),
    "no users": Life(15.0, names="none"),
    "users named with requests alone": Life(15.0, names="request", delay=soon),
    "users named with thumbs alone": Life(15.0, names="thumb", delay=soon),
    "some users named": Life(15.0, names="some", delay=soon),
    "every way at once": Life(15.0, names="any", delay=soon),
    "every way at once, four processes, sessions": Life(15.0, stay=300.0, names="any", delay=soon, processes=4),
}


def deviation(service: Service, after: float, until: float, cohort: Cohort, signal: str) -> float:
    """How many standard deviations the judged number of ``signal`` is off what the plain rate makes expect."""

    def rate(twin: str) -> tuple[float, float]:
        requests = sum(service.between(after, until, cohort, f"{twin}{name}") for name in ("errors", "others"))
        return service.between(after, until, cohort, f"{twin}{signal}"), requests

    (events, requests), (judged_events, judged_requests) = rate(""), rate("judged ")
    if requests == 0.0 or judged_requests == 0.0:
        assert judged_events == 0.0
        return 0.0
    share = events / requests
    spread = math.sqrt(max(1.0, judged_requests * share * (1.0 - share)))
    return (judged_events - judged_requests * share) / spread


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_each_judged_rate_is_the_plain_rate(life: Life) -> None:
    """Thumbs without tokens were judged once a user and five minutes, whatever they were about: rates up to 194 %."""
    service = Service(life).run()
    off = {
        (signal, str(cohort), stage): round(deviation(service, *stage, cohort, signal), 2)
        for signal in SIGNALS
        for cohort in Cohort
        for stage in STAGES
        if cohort in (Cohort.CONTROL, Cohort.CANARY)
    }
    whole = {
        (signal, str(cohort)): round(deviation(service, 300.0, 4500.0, cohort, signal), 2)
        for signal in SIGNALS
        for cohort in (Cohort.CONTROL, Cohort.CANARY)
    }
    assert {name: by for name, by in off.items() if abs(by) > STAGE_BOUND} == {}
    assert {name: by for name, by in whole.items() if abs(by) > WHOLE_BOUND} == {}


def test_judged_requests_arrive_evenly_after_arming() -> None:
    """All users of the canary were first at once, and then silent: 6 of 2,088 judged requests made a false page."""
    service = Service(Life(15.0, users=250, scrape=60.0)).run()
    shares = []
    for minute in range(1800, 4500, 60):
        plain, judged = (
            sum(
                service.between(float(minute), minute + 60.0, Cohort.CANARY, f"{twin}{name}")
                for name in ("errors", "others")
            )
            for twin in ("", "judged ")
        )
        shares.append(judged / plain)
    mean = sum(shares) / len(shares)
    assert 0.04 < mean < 0.07
    assert all(0.3 * mean < share < 2.0 * mean for share in shares)


def test_thumbs_in_other_processes_never_outnumber_what_was_judged() -> None:
    """A process that served nobody judges no thumb, and one that served few judges few, however many come."""
    service = Service(Life(60.0, processes=8, disliked=1.0, users=100)).run()
    for cohort in (Cohort.CONTROL, Cohort.CANARY):
        judged = sum(service.between(0.0, 4500.0, cohort, f"judged {name}") for name in ("errors", "others"))
        assert service.between(0.0, 4500.0, cohort, "judged thumbs") <= judged
