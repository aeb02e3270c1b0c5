"""``killswitch spend``: what each scope has spent, its caps, and when they are reached."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import fits, out, print_table
from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    SettingsOption,
    StoreOption,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.cli.terminal import one_line
from killswitch.errors import AccessDenied, UnknownScope
from killswitch.spend.period_clock import PeriodClock, clocks_in_words, wrong_clocks
from killswitch.spend.prices import MILLION, PriceList
from killswitch.spend.standing import Standing, standings
from killswitch.stores import Store, keys
from killswitch.wording import counted, money_in_words


def command(
    scope: Annotated[str | None, typer.Argument(help="Show only this scope.", show_default=False)] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="Check this file of prices, and show what is valid now.")
    ] = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each scope has spent this hour, day and month (UTC), its caps, and when they are reached.

    Used is what is spent or may have been by now; leased is what processes hold beyond that. Amounts in the JSON
    document are in micro-dollars. Processes whose clock is not the store's are named (`clocks`: seconds ahead).
    Exits with 1 if a stored account cannot be read.
    """
    with opened(store, settings) as (_, opened_store, _switch):
        known = None if prices is None else PriceList.from_file(prices)
        books, clocks = opened_store.list(keys.LEDGER), _clocks(opened_store)
        clock = PeriodClock(time.time, time.monotonic)
        clock.note(opened_store)
        now = clock()
        found, problems = standings(books, now)
        if scope is not None:
            if scope not in {one.book.scope for one in found}:
                raise UnknownScope(scope, {one.book.scope for one in found})
            found = tuple(one for one in found if one.book.scope == scope)
        document = {
            "scopes": [one.document() for one in found],
            "problems": list(problems.values()),
            "clocks": dict(clocks),
            **({} if known is None else {"prices": _prices(known, now), "odd_prices": list(known.odd)}),
        }
        show(document, as_json=as_json, otherwise=lambda: _print(found, known, now))
        wrong = [clocks_in_words(ahead, f"the clock of {owner}") for owner, ahead in clocks.items()]
        own = [clocks_in_words(clock.ahead, "the clock of this machine")] if clock.ahead else []
        if not as_json:
            odd = () if known is None else known.odd
            print_problems([f"warning: {one}" for one in (*own, *wrong, *odd)], style="yellow")
        if problems:
            print_problems(problems.values())
            raise typer.Exit(EXIT_UNWANTED)


def _clocks(store: Store) -> Mapping[str, float]:
    """The processes whose clock is not the store's; none where this user may not see the processes."""
    try:
        return wrong_clocks(store.list(keys.LEDGER_OWNERS))
    except AccessDenied:
        return {}


def _print(found: tuple[Standing, ...], prices: PriceList | None, now: float) -> None:
    if found:
        _print_scopes(found)
    else:
        say("nothing was spent through the ledger yet; caps appear here once a process has opened it")
    if prices is not None:
        valid = _prices(prices, now)
        say(f"prices of {counted(len(valid), 'model')} are valid now, in dollars per million tokens:")
        for model, price in valid.items():
            kinds = ", ".join(f"{kind} {money_in_words(micros)}" for kind, micros in price.items())
            say(f"  {one_line(model)}: {kinds}")


def _prices(prices: PriceList, now: float) -> dict[str, dict[str, int]]:
    """Micro-dollars per million tokens of each kind, of the models that have a price now."""
    kinds = ("input", "cached_input", "cache_write", "output", "reasoning")
    found = {model: prices.price(model, now) for model in prices.models}
    return {
        model: {kind: getattr(price, kind) for kind in kinds} for model, price in found.items() if price is not None
    }


def _print_scopes(found: tuple[Standing, ...]) -> None:
    """A row each, or some lines each where the rows are wider than the terminal."""
    table = _table(found)
    if fits(table):
        print_table(table)
        return
    for one in found:
        amounts = {"used": one.used, "leased": one.leased, "soft": one.book.soft, "hard": one.book.hard}
        known = ", ".join(f"{name} {_money(micros)}" for name, micros in amounts.items() if micros is not None)
        out.print(Text(f"{one.book.scope} per {one.book.period.value}: {known}", style=_style(one)), soft_wrap=True)
        out.print(Text(f"  {_forecast(one)}"), soft_wrap=True)


def _table(found: tuple[Standing, ...]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("scope", no_wrap=True)
    table.add_column("per", no_wrap=True)
    for name in ("used", "leased", "soft", "hard"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("forecast")
    for one in found:
        table.add_row(
            Text(one.book.scope),
            one.book.period.value,
            _money(one.used),
            _money(one.leased),
            _money(one.book.soft),
            _money(one.book.hard),
            Text(_forecast(one)),
            style=_style(one),
        )
    return table


def _style(one: Standing) -> str:
    hard, soft = one.hard, one.soft
    if hard is not None and hard.reached:
        return "bold red"
    return "yellow" if soft is not None and soft.reached else ""


def _forecast(one: Standing) -> str:
    beyond = one.book.current.beyond
    return one.sentence + (f"; {money_in_words(beyond)} beyond the cap" if beyond else "")


def _money(micros: int | None) -> str:
    """In dollars and whole cents, rounded up; no limit is ``-``."""
    if micros is None:
        return "-"
    return money_in_words(-(-micros // 10_000) * (MILLION // 100))
