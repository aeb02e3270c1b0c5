"""Opens what a gate run needs: prices, the spend ledger of its role, and the two models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from killswitch.errors import BadSettings
from killswitch.gate.answers import Answer
from killswitch.gate.golden import GoldenRow, GoldenSet
from killswitch.gate.judging import judged
from killswitch.gate.provider_failures import Judge
from killswitch.gate.role_model import RoleModel, check_prices
from killswitch.gate.row_order import RowCall, drawn_order
from killswitch.roles.config import RoleConfig
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import PriceList
from killswitch.stores import Store

WAIT: Final = 10.0  # seconds that a reservation waits for its block: a run has time


@dataclass(frozen=True, slots=True)
class GateQuestion:
    """What is compared. ``rows``: how many of the golden set may be asked, None for all."""

    config: RoleConfig
    golden: GoldenSet
    prod: str
    candidate: str
    rows: int | None = None
    point_estimates: bool = False

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

        Both models are in it. Prod's answers to an earlier candidate were given in another hour's weather.
        """
        return self.config.asking(self.prod, self.candidate)


def prices_of(config: RoleConfig, *models: str) -> PriceList:
    """The prices of the role's file. Raises BadSettings where a model has none: unknown is not free."""
    prices = None if config.prices is None else PriceList.from_file(config.prices)
    check_prices(config, models, prices)
    assert prices is not None, "no file of prices is refused"
    return prices


@contextmanager
def gate_ledger(
    config: RoleConfig, prices: PriceList, store: Callable[[], Store] | None
) -> Iterator[SpendLedger | None]:
    """The ledger in the scope ``gate:<role>``, with the role's cap a day, or a count alone where it has none.

    ``store`` None: there is no ledger. Raises BadSettings where the role has a cap, which only a store can count.
    """
    if store is None:
        if config.max_micros_a_day is not None:
            said = f"{config.file}: `max_per_day` is counted in the flag store, for all runs of a day together"
            raise BadSettings([f"{said}; name the store with --store"])
        yield None
        return
    scope = f"gate:{config.name}"
    with Ledger(store, [Cap(scope, Period.DAY, hard=config.max_micros_a_day)], prices) as ledger:
        yield ledger.for_scopes(scope, wait=WAIT)


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
