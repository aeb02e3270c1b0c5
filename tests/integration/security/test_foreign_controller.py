"""Something else listens where the controller should: `status` and `explain` say so, and the flags are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.doubles.http_double import Answer, HttpDouble
from tests.integration.security.secured import ROOT

FINDING = {"rule": "error_rate", "verdict": "HEALTHY", "reason": None, "unit": "fraction", "needed": None}
ANSWERS: list[object] = [
    {"rollouts": [1]},
    {"rollouts": {"copilot": {}}},
    {"rollouts": 7},
    {"rollouts": [{"rollout": "copilot"}]},
    {"rollouts": [{"rollout": "copilot", "state": "armed", "generation": 1, "sentence": "x", "findings": [FINDING]}]},
    {"rollouts": [{"rollout": ["copilot"], "state": "armed"}]},
    {"age_seconds": "yes", "rollouts": [{"rollout": "copilot", "state": "armed", "generation": 1, "findings": [1]}]},
    [],
    "x",
]


@pytest.mark.parametrize("document", ANSWERS, ids=lambda document: json.dumps(document)[:40])
def test_an_unexpected_response_hides_no_flag_and_never_crashes(document: object, tmp_path: Path) -> None:
    """If a controller's response has an unexpected shape, every flag is shown and no traceback appears."""
    url = f"sqlite:///{tmp_path}/flags.db"
    store = open_store(url)
    Switch(store, wall=lambda: 1.7e9, by="ann", origin="test").arm(
        "copilot", control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt=""
    )
    store.close()
    with HttpDouble(lambda _: Answer(200, json.dumps(document).encode())) as other:
        for arguments, code in ((("status",), 0), (("explain", "copilot"), 3)):
            done = subprocess.run(
                [sys.executable, "-m", "killswitch", *arguments, "--store", url, "--url", other.url],
                capture_output=True, text=True, timeout=60, check=False,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert done.returncode == code, done.stderr
            assert "Traceback" not in done.stderr
            assert "not a controller" in done.stderr
            if arguments == ("status",):
                assert "copilot  armed  5% model-new" in done.stdout
