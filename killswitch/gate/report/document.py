"""What the report of a gate run says, as one value; every form of it is made from this value alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from killswitch.gate.answers import Answer, RowResult
from killswitch.gate.judging import GateOutcome
from killswitch.roles.gate_record import GateNumber, GateRecord


@dataclass(frozen=True, slots=True)
class GateReport:
    """One run: what the store keeps of it, the rows that were asked of both models, and what was judged from them.

    ``outcome``: None where the run ended before its first row. ``unrecorded``: why the store does not keep the run, ""
    where it does; no promotion can rest on one that it does not keep.
    """

    record: GateRecord
    results: tuple[RowResult, ...]
    outcome: GateOutcome | None
    unrecorded: str = ""

    @property
    def numbers(self) -> tuple[GateNumber, ...]:
        return () if self.outcome is None else self.outcome.numbers

    @property
    def left_out(self) -> Mapping[str, tuple[str, ...]]:
        """Parameters of the role that were not sent, by the model that refuses them. Sorted."""
        found: dict[str, set[str]] = {}
        for answer in self._answers():
            if answer.left_out:
                found.setdefault(answer.model, set()).update(answer.left_out)
        return {model: tuple(sorted(names)) for model, names in sorted(found.items())}

    @property
    def other_names(self) -> Mapping[str, Mapping[str, int]]:
        """Which other models the responses name, by the model that was asked for, with how many responses do."""
        found: dict[str, Counter[str]] = {}
        for answer in self._answers():
            if answer.answered_by is not None and answer.answered_by != answer.model:
                found.setdefault(answer.model, Counter())[answer.answered_by] += 1
        return {model: dict(names.most_common()) for model, names in sorted(found.items())}

    @property
    def labels_of_prod(self) -> int:
        """How many of the rows have a label that prod said, which is no truth."""
        return sum(one.row.expect_from == "prod" for one in self.results)

    def _answers(self) -> Iterator[Answer]:
        for one in self.results:
            yield one.prod.answer
            yield one.candidate.answer
            if one.prod_again is not None:
                yield one.prod_again.answer
