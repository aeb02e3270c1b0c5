"""What a run may cost, before anything is spent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from killswitch.errors import BadSettings
from killswitch.gate.answers import Answer
from killswitch.gate.golden import GoldenRow, Message
from killswitch.gate.judging import repeats
from killswitch.gate.row_order import RowCall, calls_of
from killswitch.spend.prices import PriceList
from killswitch.wording import counted, money_in_words, plain

BYTES_A_TOKEN: Final = 4  # of usual text, where no tokenizer is asked


class BoundsCalls(Protocol):
    """`killswitch.gate.role_model.RoleModel` is one."""

    @property
    def model(self) -> str: ...

    def most(self, messages: Sequence[Message]) -> tuple[int, int] | None:
        """The most input and output tokens of one attempt; None where nothing bounds them."""
        ...


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Of the calls that are not kept. ``rows``: that may be asked, of which ``kept_calls`` calls have kept answers.

    ``at_most``: micro-dollars, if each answer is as long as the role allows and each prompt has a token a byte.
    ``inputs``: about what the prompts alone cost, at `BYTES_A_TOKEN`. ``like_kept``: what the calls cost if they are
    like those that are kept, None where none are.
    """

    rows: int
    calls: int
    kept_calls: int
    at_most: int
    inputs: int
    like_kept: int | None

    @property
    def sentence(self) -> str:
        """For the question before the run."""
        kept = f" ({counted(self.kept_calls, 'answer')} kept from before)" if self.kept_calls else ""
        about = f"about {_rounded_up(self.inputs)} for the prompts alone"
        if self.like_kept is not None:
            about = f"about {_rounded_up(self.like_kept)} if answers are like those kept"
        return (
            f"up to {counted(self.rows, 'row')} in {counted(self.calls, 'call')}{kept}: at most "
            f"{_rounded_up(self.at_most)}, {about}; it stops as soon as the verdict is clear"
        )


def estimated(
    order: Sequence[GoldenRow],
    models: Iterable[tuple[RowCall, BoundsCalls]],
    prices: PriceList,
    *,
    now: float,
    kept: Callable[[GoldenRow, RowCall], Answer | None],
) -> CostEstimate:
    """The estimate for all rows of ``order``, with prod asked twice on those of which that is sure before the run.

    ``now``: Unix seconds; every price is known then. Raises BadSettings for a row whose tokens nothing bounds.
    """
    by_call = dict(models)
    calls = kept_calls = at_most = inputs = kept_cost = kept_known = 0
    for row, call in _calls(order):
        answer = kept(row, call)
        if answer is not None:
            kept_calls += 1
            if answer.cost is not None:
                kept_known, kept_cost = kept_known + 1, kept_cost + answer.cost
            continue
        model = by_call[call]
        most = model.most(row.messages)
        price = prices.price(model.model, now)
        assert price is not None, "prices were checked"
        if most is None:
            raise BadSettings([_unbounded(row, model.model)])
        calls += 1
        at_most += price.at_most(*most)
        inputs += price.at_most(-(-most[0] // BYTES_A_TOKEN), 0)
    like_kept = None if kept_known == 0 else calls * kept_cost // kept_known
    return CostEstimate(len(order), calls, kept_calls, at_most, inputs, like_kept)


def _rounded_up(micros: int) -> str:
    """To cents from a dollar on, else to a hundredth of a cent: an estimate has no more digits than it knows."""
    step = 10_000 if micros >= 1_000_000 else 100
    return money_in_words(-(-micros // step) * step)


def _calls(order: Sequence[GoldenRow]) -> Iterator[tuple[GoldenRow, RowCall]]:
    for index, row in enumerate(order):
        for call in calls_of(row, twice=repeats(index, ())):
            yield row, call


def _unbounded(row: GoldenRow, model: str) -> str:
    said = f"golden row {plain(json.dumps(row.id), 100)} (line {row.line})"
    what = "has parts whose tokens nothing bounds (a file, a sound, a tool of the provider)"
    return f"{said} {what}, so what {plain(model, 100)} costs is not known; fix: remove it, or make it a text"
