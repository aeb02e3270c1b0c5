"""A command whose extra is not installed says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
WITHOUT = "import sys; sys.modules['scipy'] = None; sys.argv = ['killswitch', 'gate', 'run', 'triage']; "


def test_without_scipy_a_gate_run_names_the_extra() -> None:
    """Exit code 1 would say that the candidate failed."""
    done = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT}from killswitch.cli import main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "scipy is missing; in the clone: pip install '.[daemon,gate]'"
