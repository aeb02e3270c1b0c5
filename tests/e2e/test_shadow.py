"""Shadow mode from a request to the verdict: real clients over HTTP, the worker and the report as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI
from prometheus_client import CollectorRegistry

from killswitch.router import CohortMetrics, Router
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.integrations.openai import RoutedOpenAI, shadow_ask
from killswitch.router.shadow.mirror import Shadow
from tests.doubles.talking_models import Manner, ModelServer
from tests.servers.etcd import wait_until

ROOT = Path(__file__).resolve().parents[2]
RULES = "rollout: desk\ncontrol: old\ncanary: new\nmetrics: cohort-labels\n"
CLASSES = ("shipping", "refund", "invoice")


class Desk:
    """A support desk's service in stage shadow; every user gets ``old``, and ``new`` is asked unseen."""

    def __init__(self, folder: Path, models: ModelServer, *, timeout: float) -> None:
        self.folder = folder
        self.models = models
        (folder / "rules").mkdir()
        (folder / "rules" / "desk.yaml").write_text(RULES)
        (folder / "key").write_text("0123456789abcdef" * 4)
        self.store = f"sqlite://{folder}/flags.sqlite"
        assert self.command("arm", "desk", "--shadow", "100", "--yes").returncode == 0
        self.registry = CollectorRegistry()
        self.router = Router("desk", self.store, control="old", registry=None)
        assert self.router.wait_ready(10)
        metrics = CohortMetrics(self.router, instruments=PrometheusInstruments(self.registry))
        self.shadow = Shadow(
            self.router,
            ask=shadow_ask(OpenAI(base_url=models.url, api_key="the-shadows-key")),
            spool=folder / "spool",
            metrics=metrics,
            queue=5000,
            timeout=timeout,
            user_key_file=folder / "key",
        )
        client = OpenAI(base_url=models.url, api_key="productions-key")
        self.llm = RoutedOpenAI(client, router=self.router, metrics=metrics, shadow=self.shadow)

    def serve(self, requests: range) -> list[str]:
        """The models that answered these requests, as their users see them."""

        def one(number: int) -> str:
            prompt_class = CLASSES[number % len(CLASSES)]
            user = self.llm.for_user(f"user-{number % 50}", prompt_class=prompt_class, request_id=f"request-{number}")
            question = f"{prompt_class} question {number}: when does it arrive?"
            return str(user.chat.completions.create(messages=[{"role": "user", "content": question}]).model)

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, requests))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        known = {
            "KILLSWITCH_STORE": self.store,
            "KILLSWITCH_RULES": str(self.folder / "rules"),
            "KILLSWITCH_URL": "http://127.0.0.1:9",
            "KILLSWITCH_SHADOW_KEY_FILE": str(self.folder / "key"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "killswitch", *arguments]
        return subprocess.run(command, env={**os.environ, **known}, capture_output=True, text=True, check=False)

    def report(self) -> tuple[int, dict[str, Any]]:
        """What `killswitch shadow report` exits with and says, of all pairs that were recorded."""
        records = str(self.folder / "records")
        worked = self.command("shadow", "worker", "--spool", str(self.folder / "spool"), "--records", records, "--once")
        assert worked.returncode == 0, worked.stderr
        until = str(time.time() + 60)
        done = self.command("shadow", "report", "desk", "--records", records, "--until", until, "--json")
        return done.returncode, json.loads(done.stdout)


@contextmanager
def desk(folder: Path, candidate: Manner, *, timeout: float = 30.0) -> Iterator[Desk]:
    with ModelServer({"old": Manner(), "new": candidate}) as models:
        service = Desk(folder, models, timeout=timeout)
        try:
            yield service
        finally:
            service.shadow.close(1.0)
            service.router.close()


def test_a_change_of_tone_is_a_no_go_that_no_user_saw(tmp_path: Path) -> None:
    """The mission's case: 84 % of the canary's answers begin with a phrase that the users never got."""
    with desk(tmp_path, Manner(opening="I'd be happy to help with that!")) as service:
        assert set(service.serve(range(300))) == {"old"}
        service.shadow.close(60.0)
        assert service.models.asked["new", "the-shadows-key"] == 300
        assert service.models.asked["old", "productions-key"] == 300
        assert not service.models.asked["new", "productions-key"]
        assert 10 <= service.models.asked["old", "the-shadows-key"] <= 60  # a tenth: the noise floor
        code, report = service.report()
    assert (code, report["decided"]["verdict"]) == (1, "NO_GO")
    failed = {one["measure"] for one in report["decided"]["criteria"] if one["standing"] == "FAIL"}
    assert failed == {"openings"}


def test_the_same_model_is_never_a_no_go(tmp_path: Path) -> None:
    """Nine of ten answers differ in words from control's, as control's own second answers do."""
    with desk(tmp_path, Manner()) as service:
        service.serve(range(300))
        service.shadow.close(60.0)
        code, report = service.report()
    assert (code, report["decided"]["verdict"]) == (3, "NOT_YET")
    assert not [one for one in report["decided"]["criteria"] if one["standing"] == "FAIL"]


def test_users_of_a_hanging_candidate_notice_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, Manner(hangs=True), timeout=0.2) as service:
        assert service.serve(range(60)) == ["old"] * 60
        service.shadow.close(1.0)


def test_a_trip_ends_the_shadow_at_once(tmp_path: Path) -> None:
    with desk(tmp_path, Manner()) as service:
        service.serve(range(20))
        wait_until(lambda: service.models.asked["new", "the-shadows-key"] == 20, "all twenty are asked")
        assert service.command("trip", "desk", "--reason", "enough seen", "--yes").returncode == 0
        wait_until(lambda: service.router.shadow_split().percent == 0.0, "the router sees the trip")
        service.serve(range(20, 60))
        service.shadow.close(30.0)
        assert service.models.asked["new", "the-shadows-key"] == 20


def test_a_candidate_without_money_is_no_bad_candidate(tmp_path: Path) -> None:
    """429 with a spend code is the budget's end: no error of the canary, and the shadow rests."""
    with desk(tmp_path, Manner(broke=1.0)) as service:
        service.serve(range(60))
        service.shadow.close(30.0)
        errors = service.registry.get_sample_value(
            "llm_requests_total", {"model": "new", "cohort": "shadow", "outcome": "error"}
        )
        assert not errors
        code, report = service.report()
    assert (code, report["decided"]["verdict"]) == (3, "NOT_YET")
