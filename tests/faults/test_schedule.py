"""A random schedule over all faults: short here, as long as one likes with `make soak SEED=… MINUTES=…`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.figures import figure
from tests.faults.fleet import SMALL_DISK, started
from tests.faults.schedule import Schedule

SEED = int(os.environ.get("KILLSWITCH_TEST_SEED") or random.SystemRandom().randrange(10**6))
MINUTES = float(os.environ.get("KILLSWITCH_TEST_MINUTES") or 0.75)


@pytest.mark.timeout(int(MINUTES * 60) + 600)
def test_a_random_schedule_of_faults_breaks_no_safety_property(tmp_path: Path) -> None:
    """No random schedule of faults breaks a safety property, and the last breach trips."""
    figure(f"seed {SEED}: repeat with `make soak SEED={SEED} MINUTES={MINUTES:g}`")
    with started(tmp_path, replicas=3, members=3, lying=True, etcd_arguments=SMALL_DISK) as fleet:
        Schedule(fleet, SEED).run(MINUTES * 60)
