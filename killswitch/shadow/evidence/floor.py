"""The noise floor: the canary against control, minus control against itself.

The same model asked twice rarely says the same. So a rate of differences means something only next to the rate that
control's second answers have. Both are measured on different requests, so they are matched in order: each noise pair
with R canary pairs of its time. The mean of those R minus the noise pair's number is bounded, its mean is the
difference of the two rates, and what moves both rates alike in time cancels. It is bet on like a paired difference.

Every 20 noise pairs are matched with the canary pairs among them, and never with earlier or later ones. One ratio R
for all would let the two kinds drift apart in time, and a rate that changes for both would then look like a difference.
Which kind a pair is depends on a hash of its request alone, so R says nothing about answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.shadow.evidence.betting import Array
from killswitch.shadow.evidence.columns import Flags

Rows = npt.NDArray[np.intp]

# Noise pairs that are matched together; with fewer nothing is compared with the floor.
FEWEST_NOISE = 20
_MOST_A_NOISE_PAIR = 64


@dataclass(frozen=True, slots=True)
class Matching:
    """Rows of B matched groups, in order: ``noise`` (B,), and ``candidates`` (C,), group after group.

    ``begins`` (B,): where each group begins in ``candidates``. No group is empty.
    """

    candidates: Rows
    begins: Rows
    noise: Rows

    @property
    def sizes(self) -> Rows:
        """Candidate pairs of each group, (B,)."""
        return np.diff(self.begins, append=self.candidates.size)

    def excess(self, numbers: Array, *, of_candidate: float = 1.0, of_noise: float = 1.0) -> Array:
        """``of_candidate`` times the mean of R canary pairs, minus ``of_noise`` times the noise pair's, (B,)."""
        means = np.add.reduceat(numbers[self.candidates], self.begins) / self.sizes
        excess: Array = of_candidate * means - of_noise * numbers[self.noise]
        return excess


def matched(noise: Flags) -> Matching | None:
    """The groups among pairs in order; None with fewer than `FEWEST_NOISE` noise pairs, or no canary among them."""
    noise_rows, candidate_rows = np.flatnonzero(noise), np.flatnonzero(~noise)
    stretches = noise_rows.size // FEWEST_NOISE
    ends = noise_rows[FEWEST_NOISE - 1 :: FEWEST_NOISE]  # a stretch ends with its last noise pair
    bounds = np.searchsorted(candidate_rows, ends)
    first, candidates = np.concatenate(([0], bounds[:-1])), np.diff(bounds, prepend=0)
    ratios = np.clip(candidates // FEWEST_NOISE, 1, _MOST_A_NOISE_PAIR)
    groups = np.minimum(candidates, FEWEST_NOISE)
    total = int(groups.sum())
    if not total:
        return None
    stretch = np.repeat(np.arange(stretches), groups)
    place = np.arange(total) - np.repeat(np.cumsum(groups) - groups, groups)  # of the group in its stretch
    sizes = ratios[stretch]
    begins = np.cumsum(sizes) - sizes
    within = np.arange(int(sizes.sum())) - np.repeat(begins, sizes)
    chosen = np.repeat(first[stretch] + place * sizes, sizes) + within
    return Matching(candidate_rows[chosen], begins, noise_rows[stretch * FEWEST_NOISE + place])
