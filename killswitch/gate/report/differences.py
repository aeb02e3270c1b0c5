"""Which rows of a gate run differ, and how: from each other, and from the label that is expected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from killswitch.gate.answers import RowResult, ScoredAnswer
from killswitch.gate.golden import Label

MOST_LABELS = 20  # of a confusion matrix; the rest is one row and one column
OTHER = "other labels"
NO_LABEL = "no label"
MOST_REASONS = 10
MOST_CLASSES = 20
_LONGEST_REASON = 300
_URL = re.compile(
    r"\b([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/?#@]{0,200}@)?([^\s?#\"'<>]{0,400})[^\s\"'<>)]*", re.IGNORECASE
)


class RowDifference(StrEnum):
    """Why a row is shown. Where one model has no label, the row says nothing of who is right."""

    CANDIDATE_WRONG = "candidate wrong"
    PROD_WRONG = "prod wrong"
    BOTH_MOVED = "both alike, not as expected"
    BOTH_WRONG = "both wrong, each in its own way"
    NO_LABEL = "an answer has no label"
    SCHEMA = "alike, and the candidate breaks the schema"


def difference(one: RowResult) -> RowDifference | None:
    """None where both models say what is expected, and the candidate as the schema asks."""
    prod, candidate, expected = one.prod.label, one.candidate.label, one.row.expect_label
    if prod is None or candidate is None:
        return RowDifference.NO_LABEL
    if prod == candidate:
        if prod != expected:
            return RowDifference.BOTH_MOVED
        return None if one.candidate.schema_ok else RowDifference.SCHEMA
    if prod == expected:
        return RowDifference.CANDIDATE_WRONG
    return RowDifference.PROD_WRONG if candidate == expected else RowDifference.BOTH_WRONG


def groups(results: Sequence[RowResult]) -> dict[RowDifference, list[RowResult]]:
    """The rows of each kind, in the order of the golden set; a kind without rows has an empty list."""
    found: dict[RowDifference, list[RowResult]] = {kind: [] for kind in RowDifference}
    for one in sorted(results, key=lambda result: result.row.line):
        kind = difference(one)
        if kind is not None:
            found[kind].append(one)
    return found


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why calls of one model failed, or why its answers break the schema: reason to rows, the most frequent first.

    ``more``: rows with one of the reasons that are not listed.
    """

    listed: tuple[tuple[str, int], ...]
    more: int

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.listed) + self.more


Side = Callable[[RowResult], ScoredAnswer]


def prod_of(one: RowResult) -> ScoredAnswer:
    return one.prod


def candidate_of(one: RowResult) -> ScoredAnswer:
    return one.candidate


def failures(results: Iterable[RowResult], side: Side) -> Reasons:
    """Of calls that failed."""
    return _reasons(side(one).answer.failure for one in results)


def schema_failures(results: Iterable[RowResult], side: Side) -> Reasons:
    """Of calls that were answered, but not as the schema asks."""
    return _reasons(
        None
        if side(one).schema_ok or side(one).answer.failure is not None
        else side(one).problem or "does not satisfy the schema"
        for one in results
    )


def without_label(results: Iterable[RowResult], side: Side) -> Reasons:
    """Of answers that satisfy the schema and have no label."""
    return _reasons(
        side(one).problem or "no label" if side(one).schema_ok and side(one).label is None else None for one in results
    )


def _reasons(found: Iterable[str | None]) -> Reasons:
    counts = Counter(harmless(reason) for reason in found if reason is not None)
    listed = tuple(counts.most_common(MOST_REASONS))
    return Reasons(listed, counts.total() - sum(rows for _, rows in listed))


def harmless(reason: str) -> str:
    """The reason without what may be secret: of a URL its query, its fragment and who signs in. At most 300 characters.

    Some providers take the key as a part of the query.
    """
    found = _URL.sub(r"\1\2", reason[: 4 * _LONGEST_REASON])
    return found if len(found) <= _LONGEST_REASON else f"{found[: _LONGEST_REASON - 1]}…"


def right(results: Iterable[RowResult], side: Side) -> int:
    """How many rows have the label that is expected; a failed call has none."""
    return sum(side(one).label == one.row.expect_label for one in results)


@dataclass(frozen=True, slots=True)
class Confusion:
    """``counts[i][j]``: rows that prod labels ``labels[i]`` and the candidate ``labels[j]``.

    The last two labels are `OTHER` and `NO_LABEL`, in words, where they are needed; all before are labels as JSON.
    """

    labels: tuple[Label, ...]
    counts: tuple[tuple[int, ...], ...]
    left_out: int


def confusion(results: Sequence[RowResult], most: int = MOST_LABELS) -> Confusion:
    """The matrix over the ``most`` labels that both models say most often; ``left_out`` of them are `OTHER`."""
    said = Counter[Label]()
    for one in results:
        said.update(label for label in (one.prod.label, one.candidate.label) if label is not None)
    shown = tuple(label for label, _ in sorted(said.items(), key=lambda item: (-item[1], item[0]))[:most])
    places = {label: place for place, label in enumerate(shown)}
    # these two words are no label: a label is JSON
    pairs = Counter((_place(one.prod.label, places), _place(one.candidate.label, places)) for one in results)
    seen = {name for pair in pairs for name in pair}
    names = (*shown, *(name for name in (OTHER, NO_LABEL) if name in seen))
    keys: list[int | str] = [places.get(name, name) for name in names]
    counts = tuple(tuple(pairs[row, column] for column in keys) for row in keys)
    return Confusion(names, counts, len(said) - len(shown))


def _place(label: Label | None, places: dict[Label, int]) -> int | str:
    return NO_LABEL if label is None else places.get(label, OTHER)


@dataclass(frozen=True, slots=True)
class ClassOfRows:
    """The rows of one class of the golden set."""

    name: str
    results: tuple[RowResult, ...]

    @property
    def agreeing(self) -> int:
        return sum(one.agrees for one in self.results)


def classes(results: Sequence[RowResult]) -> tuple[ClassOfRows, ...]:
    """By class, the one with most disagreement first; empty where the golden set has no classes."""
    found: dict[str, list[RowResult]] = {}
    for one in results:
        found.setdefault(one.row.stratum or "", []).append(one)
    if set(found) <= {""}:
        return ()
    rows = [ClassOfRows(name, tuple(of)) for name, of in found.items()]
    return tuple(sorted(rows, key=lambda one: (one.agreeing / len(one.results), one.name)))
