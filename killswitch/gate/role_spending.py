"""What asking a role's models may cost: the most before it is asked, and the role's cap a day in the spend ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from killswitch.gate.golden import Message
from killswitch.roles.config import RoleConfig
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.spend import Cap, Ledger, Period, PriceList
from killswitch.stores import Store

WAIT: Final = 10.0  # seconds that a reservation waits for its block: a gate run has time


class BoundsModel(Protocol):
    """What knows the most tokens of a question; `killswitch.gate.role_model.RoleModel` does."""

    @property
    def model(self) -> str: ...

    def most(self, messages: Sequence[Message]) -> tuple[int, int] | None: ...


def scope_of(role: str) -> str:
    """The role's account in the ledger."""
    return f"role:{role}"


@contextmanager
def role_ledger(
    config: RoleConfig, store: str | Callable[[], Store], prices: PriceList
) -> Iterator[SpendLedger | None]:
    """The ledger in the scope ``role:<name>``, under the role's cap a day; None where the role has none.

    Raises BadSettings.
    """
    if config.max_micros_a_day is None:
        yield None
        return
    cap = Cap(scope_of(config.name), Period.DAY, hard=config.max_micros_a_day)
    with Ledger(store, [cap], prices) as ledger:
        yield ledger.for_scopes(cap.scope, wait=WAIT)


def most_micros(inputs: Iterable[Sequence[Message]], model: BoundsModel, prices: PriceList, *, at: float) -> int | None:
    """Micro-dollars that one attempt at each input costs at most; None where no price or no bound is known."""
    price = prices.price(model.model, at)
    total = 0
    for messages in inputs:
        bound = model.most(messages)
        if price is None or bound is None:
            return None
        total += price.at_most(*bound)
    return total
