"""A picture for people who are paged: both cohorts around a trip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from killswitch.pages.page import Page

MAX_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """``png``: at most `MAX_BYTES`. ``alt`` says in words what is to be seen, for people who cannot see it."""

    png: bytes
    title: str
    alt: str


# The picture for a page, or None while there is none. It may read the flag store, and may raise any KillswitchError.
Pictures = Callable[[Page], Picture | None]
