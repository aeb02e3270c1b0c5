"""Programs that Debian does not ship: `make compat` builds them, and tests skip without them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_BUILT = Path(__file__).resolve().parents[2] / ".compat" / "bin"


def compat_program(name: str) -> str | None:
    """The program's path: what ``KILLSWITCH_TEST_<NAME>`` names, else what `make compat` has built, else None."""
    named = os.environ.get(f"KILLSWITCH_TEST_{name.upper().replace('-', '_')}")
    if named is not None:
        return named
    return shutil.which(name, path=str(_BUILT))
