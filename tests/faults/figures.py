"""Measured figures: printed, so that `pytest -rP` and `make soak` show them; `tests/README.md` records them."""

from __future__ import annotations

import os
from pathlib import Path


def figure(*words: object) -> None:
    """Say a figure; appended as well to the file that KILLSWITCH_TEST_FIGURES names."""
    line = " ".join(map(str, words))
    print(line)  # noqa: T201  a measurement is what the reader of a test's output looks for
    file = os.environ.get("KILLSWITCH_TEST_FIGURES")
    if file:
        with Path(file).open("a", encoding="utf-8") as figures:
            figures.write(line + "\n")
