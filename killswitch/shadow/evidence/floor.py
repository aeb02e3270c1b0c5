"""The noise floor: the candidate against control, minus control against itself.

The same model asked twice rarely says the same. So a rate of differences means something only next to the rate that
control's second answers have. Both are measured on different requests, so they are matched in order: each noise pair
with the next R candidate pairs. The mean of those R minus the noise pair's number is bounded, its mean is the
difference of the two rates, and what moves both rates alike in time cancels. It is bet on like a paired difference.

R is the ratio of the two kinds among the first pairs and never changes later. Which kind a pair is depends on a hash
of its request alone, so R says nothing about answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.shadow.evidence.betting import Array
from killswitch.shadow.evidence.columns import Flags

Rows = npt.NDArray[np.intp]

# With fewer noise pairs nothing is compared with the floor, because R is not known.
FEWEST_NOISE = 20
_MOST_A_NOISE_PAIR = 64


@dataclass(frozen=True, slots=True)
class Matching:
    """``candidates`` (B, R) and ``noise`` (B,): rows of B matched groups, in order."""

    candidates: Rows
    noise: Rows

    def excess(self, numbers: Array, *, of_candidate: float = 1.0, of_noise: float = 1.0) -> Array:
        """``of_candidate`` times the mean of R candidate pairs, minus ``of_noise`` times the noise pair's, (B,)."""
        excess: Array = of_candidate * numbers[self.candidates].mean(axis=1) - of_noise * numbers[self.noise]
        return excess


def matched(noise: Flags) -> Matching | None:
    """The groups among pairs in order; None with fewer than `FEWEST_NOISE` noise pairs, or no candidate."""
    noise_rows, candidate_rows = np.flatnonzero(noise), np.flatnonzero(~noise)
    if noise_rows.size < FEWEST_NOISE:
        return None
    before = int(noise_rows[FEWEST_NOISE - 1]) + 1 - FEWEST_NOISE
    ratio = min(max(before // FEWEST_NOISE, 1), _MOST_A_NOISE_PAIR)
    groups = min(noise_rows.size, candidate_rows.size // ratio)
    if groups == 0:
        return None
    return Matching(candidate_rows[: groups * ratio].reshape(groups, ratio), noise_rows[:groups])
