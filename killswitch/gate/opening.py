"""Opens what a gate run needs: its question, the prices, and the two models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from killswitch.gate.answers import Answer
from killswitch.gate.golden import GoldenRow, GoldenSet
from killswitch.gate.judging import judged
from killswitch.gate.provider_failures import Judge
from killswitch.gate.role_model import RoleModel, check_prices
from killswitch.gate.row_order import RowCall, drawn_order
from killswitch.roles.config import RoleConfig
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.spend.prices import PriceList


@dataclass(frozen=True, slots=True)
class GateQuestion:
    """What is compared. ``rows``: how many of the golden set may be asked, None for all.

    ``recorded``: whether the run is stored as evidence.
    """

    config: RoleConfig
    golden: GoldenSet
    prod: str
    candidate: str
    rows: int | None = None
    point_estimates: bool = False
    recorded: bool = True

    @property
    def order(self) -> tuple[GoldenRow, ...]:
        return drawn_order(self.golden)[: self.rows]

    @property
    def judge(self) -> Judge:
        rows = len(self.golden.rows) if self.rows is None else min(self.rows, len(self.golden.rows))
        return partial(judged, bars=self.config.bars, rows=rows, point_estimates=self.point_estimates)

    @property
    def setup(self) -> str:
        """The hash of how the pair is asked: answers are kept under it.

        Both models are in it. Prod's answers to an earlier candidate were given in another hour's weather. Answers of a
        run that is not recorded are kept apart: else one could look until a run passes, and record that one alone.
        """
        asking = self.config.asking(self.prod, self.candidate)
        return asking if self.recorded else f"{asking}:unrecorded"


def prices_of(config: RoleConfig, *models: str) -> PriceList:
    """The prices of the role's file. Raises BadSettings where a model has none: unknown is not free."""
    prices = None if config.prices is None else PriceList.from_file(config.prices)
    check_prices(config, models, prices)
    assert prices is not None, "no file of prices is refused"
    return prices


@contextmanager
def opened_models(
    question: GateQuestion, prices: PriceList, ledger: SpendLedger, pause: Callable[[float], bool]
) -> Iterator[tuple[RoleModel, RoleModel]]:
    """Prod and candidate. Raises BadSettings: no SDK, no key."""
    prod = RoleModel(question.prod, question.config, prices=prices, ledger=ledger, pause=pause)
    with closing(prod):
        candidate = RoleModel(question.candidate, question.config, prices=prices, ledger=ledger, pause=pause)
        with closing(candidate):
            yield prod, candidate


def repriced(answer: Answer, prices: PriceList, wall: Callable[[], float] = time.time) -> Answer:
    """A kept answer at the prices of now, so that one table of prices decides.

    What failed attempts have cost is not kept by itself, so an answer with several attempts keeps its cost.
    """
    price = prices.price(answer.model, wall())
    if price is None or answer.usage is None or answer.attempts != 1:
        return answer
    return replace(answer, cost=price.cost(answer.usage))


def models_by_call(prod: RoleModel, candidate: RoleModel) -> tuple[tuple[RowCall, RoleModel], ...]:
    """Who makes which call of a row."""
    return (RowCall.PROD, prod), (RowCall.PROD_AGAIN, prod), (RowCall.CANDIDATE, candidate)
