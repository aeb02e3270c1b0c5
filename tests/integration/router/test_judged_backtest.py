"""A healthy canary whose service uses the whole SDK is not tripped: its own metrics, taken through the back-test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.router.simulated_service import Life, Service
from tests.unit.router.test_judged_rates import soon

RULES = """\
rollout: support-copilot
control: model-old
canary: model-new
metrics: cohort-labels
rules:
  error_rate: {max: 5%}
  refusal_rate: {max_increase: 5pp}
  thumbs_down_rate: {max_ratio: 2.0}
page: {slack: "#releases", mention: "<!here>"}
"""
ARMED = ((4500.0, 25.0),)  # after more than an hour of control's past


@pytest.mark.parametrize(
    "life",
    [
        Life(15.0, steps=ARMED, seconds=6300.0, scrape=60.0),
        Life(15.0, stay=600.0, delay=soon, steps=ARMED, seconds=6300.0, scrape=60.0),
        Life(15.0, names="any", delay=soon, processes=2, steps=ARMED, seconds=6300.0, scrape=60.0),
    ],
    ids=["dense users", "sessions", "every way at once"],
)
def test_a_healthy_canary_is_not_tripped_by_the_sdks_own_metrics(tmp_path: Path, life: Life) -> None:
    """Three minutes after arming a healthy canary was tripped, on judged thumbs-down of 194 %."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "support-copilot.yaml").write_text(RULES)
    (tmp_path / "history.om").write_text(Service(life).run().openmetrics())
    command = ("backtest", "--rules", "rules", "--data", "history.om", "--percent", "25", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "killswitch", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    (rollout,) = summary["rollouts"]
    assert summary["trips"] == 0
    assert not rollout["traffic_split_is_wrong"]
    assert all(rule["judged_ticks"] > 20 for rule in rollout["rules"])
