"""A worked example: a preset of metrics from outside (acme_gateway.py) makes a rule, and the rule reads its page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_rule_of_a_new_preset_counts_its_errors() -> None:
    """Between two pages control had 100 answers, 10 of them failed; the canary 10, 5 of them failed."""
    program = [sys.executable, "-m", "tests.unit.contributing.acme_gateway"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"control": [10, 100], "canary": [5, 10]}
