"""What asking a role's models may cost: the most before it is asked, and the role's cap a day in the spend ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from killswitch.errors import BadSettings
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
    """The role's account in the ledger, for gate runs and samples alike."""
    return f"gate:{role}"


@contextmanager
def role_ledger(
    config: RoleConfig, prices: PriceList, store: Callable[[], Store] | None
) -> Iterator[SpendLedger | None]:
    """The ledger in the scope ``gate:<role>``: the role's cap a day, or a count alone where it has none.

    ``store`` None: there is no ledger. Raises BadSettings where the role has a cap, which only a store can count.
    """
    if store is None:
        if config.max_micros_a_day is not None:
            said = f"{config.file}: `max_per_day` is counted in the flag store, for all runs of a day together"
            raise BadSettings([f"{said}; name the store with --store"])
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
