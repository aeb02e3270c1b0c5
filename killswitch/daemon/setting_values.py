"""The kinds of value that settings hold, and what is asked of several of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from killswitch.errors import BadRules
from killswitch.rules.units import parse_duration


def _seconds(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except (BadRules, ValueError) as error:
            raise ValueError(f"{error}; write a duration such as 30s or 5m") from error
    if type(value) is float:  # a default, or given by code
        return value
    raise ValueError(f"{value!r} has no unit; write a duration such as 30s or 5m")


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=86400)]


def given(file: Path | None, name: str) -> bool:
    """Whether the secret called ``name`` has a place: a file, or the environment variable of its name."""
    return file is not None or f"KILLSWITCH_{name.upper()}" in os.environ


def pair(user: str | None, file: Path | None, name: str) -> bool:
    """A user needs a password; a password without a user is refused where a setting names it."""
    return given(file, name) if user is not None else file is None


def is_plain_address(url: str) -> bool:
    """An address that pages may show: no white space or markup in it, and no place for a secret."""
    return (
        re.fullmatch(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/[A-Za-z0-9._~/-]*)?", url)
        is not None
    )
