"""What rule files say about money, as the ledger counts it: the scopes of their caps, and their files of prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from killswitch.errors import BadRules, BadSettings
from killswitch.model import Rollout
from killswitch.roles.references import PREFIX
from killswitch.spend.caps import Cap, Period
from killswitch.spend.prices import PriceList


def ledger_scope(scope: str, rollout: str) -> str:
    """``shadow`` of the rollout ``support`` is ``shadow:support``; a project is the same for every rollout."""
    return scope if scope.startswith("project:") else f"{scope}:{rollout}"


def ledger_caps(rollout: Rollout) -> tuple[Cap, ...]:
    """The caps of a rule file under the ledger's scopes."""
    return tuple(
        Cap(ledger_scope(cap.scope, rollout.name), Period(cap.per), cap.soft, cap.hard) for cap in rollout.spend.caps
    )


def price_files(rollouts: Iterable[Rollout]) -> Mapping[str, Path]:
    """The file of prices of each rollout that names one, by its name. A path is relative to the rule file."""
    return {one.name: Path(one.file).parent / one.spend.prices for one in rollouts if one.spend.prices is not None}


def read_prices(rollouts: Iterable[Rollout]) -> Mapping[str, PriceList]:
    """The prices of each rollout that names a file of them, by its name.

    Raises BadRules with every problem of every file.
    """
    rollouts = tuple(rollouts)
    paths = price_files(rollouts)
    found: dict[str, PriceList] = {}
    read: dict[Path, PriceList | None] = {}
    problems: list[str] = []
    for rollout in rollouts:
        path = paths.get(rollout.name)
        if path is None:
            continue
        if path not in read:
            try:
                read[path] = PriceList.from_file(path)
            except BadSettings as error:
                read[path] = None
                problems += [f"{rollout.where('spend.prices')}: spend.prices: {problem}" for problem in error.problems]
        prices = read[path]
        if prices is not None:
            found[rollout.name] = prices
    if problems:
        raise BadRules(problems)
    return found


def without_price(rollout: Rollout, prices: PriceList, at: float) -> tuple[str, ...]:
    """The models of the rollout that have no price at ``at`` (Unix seconds), so that their spend is not known.

    Which models a role's slots pin is not in the file: the gate refuses a model without a price.
    """
    models = (model for model in (rollout.control, rollout.canary) if not model.startswith(PREFIX))
    return tuple(model for model in models if prices.price(model, at) is None)
