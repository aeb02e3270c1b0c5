"""A rollout with a plan and its store, watched for a while, and what a controller says of it."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from killswitch.cli import plan_view
from killswitch.cli.by_hand import Hand
from killswitch.model import Counts
from killswitch.ramps.gate_inputs import Hold
from killswitch.ramps.progress import RuleWatch, StageProgress, to_document
from killswitch.ramps.records import hold_document
from killswitch.ramps.way_back import way_back
from killswitch.stores import Put, keys
from killswitch.stores.opening import open_store
from killswitch.timestamps import to_iso
from killswitch.trips.switch import Switch
from tests.unit.cli.shell import Shell

PLAN = """\
rules: {error_rate: {max: 2%}}
plan:
  stages:
    - {stage: ramp_1, for: 24h}
    - {stage: ramp_5, for: 24h, detects: {error_rate: 2x}}
    - {stage: full, for: 7d}
"""
DAY = 86400.0


def put(shell: Shell, *documents: Put) -> None:
    store = open_store(shell.store)
    store.commit((), documents)
    store.close()


def watched_for(shell: Shell, seconds: float, *, canary: Counts = Counts(5.0, 500.0)) -> None:  # noqa: B008  frozen
    """The rollout has been in ramp_1 for ``seconds``, all of it judged."""
    began = time.time() - seconds
    store = open_store(shell.store)
    switch = Switch(store, wall=lambda: began, by="ann", origin="test")
    switch.arm("copilot", control="model-old", canary="model-new", percent=1.0, stage="ramp_1", salt="")
    flag = switch.required("copilot").flag
    store.close()
    assert flag is not None
    counts = RuleWatch(seconds, seconds, canary, Counts(495.0, 49_500.0))
    began = flag.stages[-1].at
    newest = began + seconds
    progress = StageProgress(
        "copilot", 1, "ramp_1", 1.0, began, newest, seconds, {"error_rate": counts}, (newest, newest)
    )
    put(shell, Put(keys.plan_progress("copilot"), to_document(progress)), Put(keys.controller("r0"), b"{}"))


FINDING = {
    "rule": "error_rate", "verdict": "HEALTHY", "sentence": "fine", "reason": None,
    "control": 0.01, "samples_canary": 150.0, "samples_control": 14_850.0,
    "raw_samples_canary": None, "raw_samples_control": None,
}  # fmt: skip


def judging(monkeypatch: pytest.MonkeyPatch, *, at_first: int = 0, age: float = 3.0, **changes: Any) -> None:
    """A controller that says that all is well, but for ``changes``; these come after ``at_first`` questions."""
    well = {
        "rollout": "copilot", "state": "armed", "generation": 1, "stage": "ramp_1", "window_seconds": 300.0,
        "findings": [FINDING],
    }  # fmt: skip
    document = {"controller": "r0", "tick": to_iso(math.ceil(time.time())), "age_seconds": age}
    asked: list[str] = []

    def ask(_url: str | None, path: str) -> dict[str, Any]:
        asked.append(path)
        return {**document, "rollouts": [well if len(asked) <= at_first else {**well, **changes}]}

    monkeypatch.setattr(plan_view, "ask", ask)


def changed_while_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """While the command waits for its yes: a trip, a hold, verdicts that grow old, or a later tick of the progress."""

    def question(_hand: Hand, _question: str) -> None:
        if what == "hold":
            put(shell, Put(keys.hold("copilot"), hold_document(Hold("wait", "bob"), rollout="copilot", at=0.0)))
        elif what == "tick":  # one that is recorded only once the gate has been asked again
            monkeypatch.setattr(plan_view, "way_back", recorded)
        elif what == "age":
            judging(monkeypatch, age=3600.0)
        else:
            judging(monkeypatch, state="tripped")

    def recorded(*arguments: Any) -> Any:
        put(shell, Put(keys.plan_progress("copilot"), b"{}"))
        return way_back(*arguments)

    monkeypatch.setattr(Hand, "confirm", question)


def documents(shell: Shell, prefix: str) -> list[dict[str, Any]]:
    store = open_store(shell.store)
    found = [json.loads(item.value) for item in store.list(prefix).items]
    store.close()
    return found
