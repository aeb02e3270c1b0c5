"""Flagger's and Argo Rollouts' own code asks for our verdict, and obeys it; `make compat` builds both.

Flagger takes any status up to 202 for a yes. Argo takes an answer that is not JSON for a success, and a measurement
that fails four times in a row aborts a release. So what is not known is JSON, and inconclusive.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from killswitch.stores import Put, keys
from killswitch.web.verdict_endpoint import verdict_routes
from tests.doubles import flags
from tests.doubles.flags import ROLLOUT
from tests.doubles.memory_store import Fault
from tests.doubles.served import Served, listening
from tests.servers.compat_program import compat_program
from tests.unit.web.test_verdict_endpoint import Judged

FLAGGER = compat_program("flagger-webhook")
ARGO = compat_program("argo-web-metric")
flagger = pytest.mark.skipif(FLAGGER is None, reason="`make compat` builds Flagger's webhooks; there is no Go here")
argo = pytest.mark.skipif(ARGO is None, reason="`make compat` builds Argo's web metric; there is no Go here")
SITUATIONS = ["healthy", "tripped", "held", "suspect", "stale", "no cycle", "silent store", "no flag"]


@pytest.fixture
def judged() -> Judged:
    return Judged()


@pytest.fixture
def base(judged: Judged) -> Iterator[str]:
    with listening(Served(), verdict_routes(judged.view)) as port:
        yield f"http://127.0.0.1:{port}"


def bring_about(judged: Judged, situation: str) -> None:
    from tests.unit.status.test_release_verdict import ARMED, SUSPECT, report  # noqa: PLC0415

    match situation:
        case "tripped":
            judged.put(flags.tripped())
        case "held":
            judged.server.commit("ann", (), (Put(keys.hold(ROLLOUT), b"{}"),))
        case "suspect":
            judged.latest = report(ARMED, SUSPECT)
        case "stale":
            judged.age = 3600.0
        case "no cycle":
            judged.latest = judged.age = None
        case "silent store":
            judged.store.fault = lambda _: Fault.FAIL_BEFORE
        case "no flag":
            judged.server._delete("ann", keys.flag(ROLLOUT))
    judged.later()


def flagger_says(hook: str, url: str) -> tuple[bool, str]:
    """Whether Flagger takes the answer for a yes, and what it shows as the reason."""
    assert FLAGGER is not None
    done = subprocess.run([FLAGGER, hook, url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0, done.stdout


def argo_says(url: str) -> str:
    """The phase of one measurement of the metric as docs/alerts-in.md has it."""
    assert ARGO is not None
    metric = {
        "name": "killswitch",
        "successCondition": "result == 'healthy'",
        "failureCondition": "result == 'tripped'",
        "provider": {"web": {"url": url, "jsonPath": "{$.verdict}"}},
    }
    done = subprocess.run([ARGO], input=json.dumps(metric), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[0]


@flagger
@pytest.mark.parametrize("situation", SITUATIONS)
def test_flagger_promotes_only_what_is_healthy(base: str, judged: Judged, situation: str) -> None:
    bring_about(judged, situation)
    yes, words = flagger_says("confirm-promotion", f"{base}/flagger/confirm/{ROLLOUT}")
    assert yes == (situation == "healthy")
    assert yes or ROLLOUT in words


@flagger
@pytest.mark.parametrize("situation", SITUATIONS)
def test_flagger_rolls_back_only_what_is_tripped(base: str, judged: Judged, situation: str) -> None:
    bring_about(judged, situation)
    assert flagger_says("rollback", f"{base}/flagger/rollback/{ROLLOUT}")[0] == (situation == "tripped")


@flagger
def test_a_daemon_that_is_gone_confirms_and_rolls_back_nothing() -> None:
    for hook in ("confirm-promotion", "rollback"):
        assert not flagger_says(hook, "http://127.0.0.1:1/flagger/confirm/x")[0]


@argo
@pytest.mark.parametrize("situation", SITUATIONS)
def test_argo_succeeds_fails_or_waits(base: str, judged: Judged, situation: str) -> None:
    bring_about(judged, situation)
    wanted = {"healthy": "Successful", "tripped": "Failed", "no flag": "Error"}.get(situation, "Inconclusive")
    assert argo_says(f"{base}/api/v1/verdict/{ROLLOUT}") == wanted
