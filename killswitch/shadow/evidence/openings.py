"""Tone: do the canary's answers begin with other words than control's?

The openings are grouped by their first three words. From the earlier pairs the test learns the set S of groups that
the canary used more often than control; on the next pairs it bets that the canary's answer is in S and control's
is not. The mean of that difference is P(canary in S) - P(control in S), which is at most the total variation
distance of the two distributions, for any S that was chosen before. S is learned again each time the number of pairs
has doubled. So "beyond the margin" is proven for the whole distribution, and "within" for the openings that stood out.

All openings that were never seen before are one group: else answers that begin in a new way each time would be in no S,
and look like control's. The model with more openings that were seen once is likely to say more new ones (Good, "The
population frequencies of species", Biometrika, 1953).

This is a test of two multinomials by a predictable plug-in alternative (Waudby-Smith and Ramdas 2024, section 4;
"testing by betting", Shafer, JRSS A, 2021).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.shadow.evidence.betting import Sample
from killswitch.shadow.evidence.columns import Codes
from killswitch.shadow.evidence.thresholds import stretches

LEARNING = 50  # pairs that only make the first S
WORDS = 3
CHARACTERS = 6  # of a text that does not separate its words
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True)
class CommonOpening:
    """The opening whose share differs most: ``candidate`` and ``control`` are shares of the answers."""

    words: str
    candidate: float
    control: float


def stem(opening: str) -> str:
    """What openings are grouped by: ``"I'd be happy to help!"`` -> ``"i'd be happy"``."""
    words = _WORD.findall(opening.casefold().replace(_APOSTROPHE, "'"))
    if words and len(words[0]) > 3 * CHARACTERS // 2 and not words[0].isascii():
        return str(words[0][:CHARACTERS])
    return " ".join(words[:WORDS])


def differing(candidate: Codes, control: Codes, table: Sequence[str]) -> tuple[Sample, CommonOpening | None]:
    """The bets of all pairs (N,) in order as -1, 0 and 1, and the opening that differs most.

    ``table``: the texts of the codes; a code outside it is one more group, "the rest".
    """
    stems = {name: number for number, name in enumerate(dict.fromkeys(stem(text) for text in table))}
    groups = np.array([*(stems[stem(text)] for text in table), len(stems)], dtype=np.intp)
    size = len(stems) + 1
    mine, theirs = groups[candidate], groups[control]  # the code -1 is the last group
    better = worse = 0
    for begin, end in stretches(mine.size, LEARNING):
        stood_out = _standing_out(_counts(mine[:begin], size), _counts(theirs[:begin], size))
        in_mine, in_theirs = stood_out[mine[begin:end]], stood_out[theirs[begin:end]]
        worse += int((in_mine & ~in_theirs).sum())
        better += int((~in_mine & in_theirs).sum())
    used = max(mine.size - LEARNING, 0)
    sample = Sample.of_signs(better, used - better - worse, worse)
    if not mine.size or not stems:
        return sample, None
    shares = (_counts(mine, size) / mine.size, _counts(theirs, size) / mine.size)
    largest = int(np.argmax(np.abs(shares[0] - shares[1])[:-1]))
    words = list(stems)[largest]
    return sample, CommonOpening(words, float(shares[0][largest]), float(shares[1][largest]))


def _standing_out(mine: npt.NDArray[np.intp], theirs: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """S: the groups that the canary used more often so far; those that no one used, if its once-used are more."""
    both = mine + theirs
    once = both == 1
    unseen = bool(mine[once].sum() > theirs[once].sum())
    return np.where(both == 0, unseen, mine > theirs)


def _counts(groups: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    return np.bincount(groups, minlength=size)
