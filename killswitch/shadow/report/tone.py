"""The openings of answers: how often control, the canary and control's second answers begin with the same words.

Openings are grouped as the test groups them, by `killswitch.shadow.evidence.openings.stem`. Shapes: N pairs, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from killswitch.shadow.evidence.columns import Codes, Flags, PairColumns
from killswitch.shadow.evidence.openings import stem
from killswitch.shadow.report.document import SharePart, ThreeWays

MOST_OPENINGS = 20


@dataclass(frozen=True, slots=True)
class Openings:
    """``grown``: the opening whose share grew most, and ``grown_texts`` the recorded texts that begin so."""

    by_control: tuple[ThreeWays, ...]
    by_candidate: tuple[ThreeWays, ...]
    grown: str | None
    grown_texts: tuple[str, ...]


def openings_of(columns: PairColumns) -> Openings:
    """Over pairs in which both answered. An answer without words has no opening and is not counted."""
    stems = {name: number for number, name in enumerate(dict.fromkeys(stem(text) for text in columns.openings))}
    # a text that the table leaves out has the code -1, which is the last group: counted, never shown
    groups = np.array([*(stems[stem(text)] for text in columns.openings), len(stems)], np.intp)
    names = list(stems)
    answered = columns.control.has_outcome("ok", "refused") & columns.other.has_outcome("ok", "refused")
    series = (
        (columns.control.opening, answered & ~columns.noise),
        (columns.other.opening, answered & ~columns.noise),
        (columns.other.opening, answered & columns.noise),
    )
    control, candidate, noise = (_counts(groups, codes, rows, len(names), stems.get("")) for codes, rows in series)
    totals = [int(counts.sum()) for counts in (control, candidate, noise)]

    def row(group: int) -> ThreeWays:
        counts = (int(of[group]) for of in (control, candidate, noise))
        return ThreeWays(names[group], *(SharePart(count, total) for count, total in zip(counts, totals, strict=True)))

    def most(counts: npt.NDArray[np.int64]) -> tuple[ThreeWays, ...]:
        order = sorted(np.flatnonzero(counts[:-1]), key=lambda group: (-counts[group], names[group]))
        return tuple(row(int(group)) for group in order[:MOST_OPENINGS])

    growth = candidate[:-1] * totals[0] - control[:-1] * totals[1]
    grown = names[int(np.argmax(growth))] if growth.size and growth.max() > 0 else None
    texts = () if grown is None else tuple(text for text in columns.openings if stem(text) == grown)
    return Openings(most(control), most(candidate), grown, texts)


def _counts(
    groups: npt.NDArray[np.intp], codes: Codes, rows: Flags, size: int, empty: int | None
) -> npt.NDArray[np.int64]:
    """Answers in each group (G + 1,), none in the group of answers without words."""
    counts = np.bincount(groups[codes[rows]], minlength=size + 1).astype(np.int64)
    if empty is not None:
        counts[empty] = 0
    return counts
