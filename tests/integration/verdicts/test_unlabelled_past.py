"""Cohort labels often ship with the canary: control's hour before has none, and still warms the rules up."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.flags.flag import arm
from killswitch.rules.loading import load_text
from killswitch.sources.recording import Recording
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from tests.servers.prometheus import openmetrics

START = 1_776_600_000.0
RULES = b"""
rollout: copilot
control: model-old
canary: model-new
rules:
  error_rate: {max: 2%}
"""


def _recording(folder: Path, model: str) -> Recording:
    """Two hours of ``model`` without a cohort label, then labelled control and canary side by side."""
    before = [(START - 7200 + 15.0 * i, 60.0 * i) for i in range(481)]
    after = [(START + 15.0 * i, 60.0 * i) for i in range(1, 21)]
    series = {
        f'llm_requests_total{{model="{model}",outcome="ok"}}': before,
        f'llm_requests_total{{model="{model}",outcome="error"}}': [(at, value / 100) for at, value in before],
        f'llm_requests_total{{model="{model}",cohort="control",outcome="ok"}}': after,
        'llm_requests_total{model="model-new",cohort="canary",outcome="ok"}': after,
    }
    file = folder / "recording.om"
    file.write_text(openmetrics(series))
    return Recording(file, scrape_interval=15.0)


@pytest.mark.parametrize(("model", "warm"), [("model-old", True), ("another-model", False)])
def test_controls_unlabelled_hour_warms_up_by_the_models_name(tmp_path: Path, model: str, *, warm: bool) -> None:
    rollout = load_text(RULES).rollouts[0]
    flag = arm(None, rollout="copilot", control="model-old", canary="model-new", percent=50.0, stage="half",
               now=START, by="ann")  # fmt: skip
    accumulator = EvidenceAccumulator(step=30.0)
    catch_up(
        _recording(tmp_path, model), accumulator, [ArmedRollout(rollout, flag, START)], START + 240.0, Deadline(60.0)
    )
    view = accumulator.view("copilot", "error_rate")
    assert view is not None
    assert view.until == START + 240.0
    assert view.warming_up is not warm
