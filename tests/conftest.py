"""Puts the repository root on the path, so that tests can import `tests.servers` and `tests.doubles`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
