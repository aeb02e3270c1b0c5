"""The bars of the four numbers, and how sure a verdict must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bars:
    """``schema`` and ``agreement``: least shares. ``latency`` and ``cost``: most that candidate / prod may be.

    ``wrong``: the chance that a run may pass a candidate that is at a bar, or fail one that is at prod's own level.
    """

    schema: float = 0.99
    agreement: float = 0.95
    latency: float = 1.3
    cost: float = 1.05
    wrong: float = 0.05
