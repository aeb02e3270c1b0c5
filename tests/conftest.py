"""Puts the repository root on the path, so that tests can import `tests.servers` and `tests.doubles`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# a shared machine may be slow at any moment: no example is timed, and none is called too slow to draw
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

# a shell that starts the tests in the background has Ctrl-C ignored, and what tests start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
