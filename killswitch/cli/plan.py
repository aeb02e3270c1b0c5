"""``killswitch plan``: the stages of a rollout's plan with dates, and what the plan would do before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import print_table
from killswitch.cli.invocation import (
    JsonOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    StoreOption,
    UrlOption,
    fail,
    opened,
    say,
    show,
)
from killswitch.cli.plan_view import planned, view
from killswitch.cli.terminal import one_line
from killswitch.model import Rollout
from killswitch.plan import Plan
from killswitch.ramps.forecast import StageForecast, forecast
from killswitch.rules.units import UnitError, parse_rate
from killswitch.status.plan_table import timeline_table
from killswitch.timestamps import to_iso
from killswitch.wording import count_in_words, reasons_in_words, span_in_words


def command(
    rollout: RolloutArgument,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Show what the plan would do from now on, before anything is armed.")
    ] = False,
    rate: Annotated[
        str | None,
        typer.Option(help="With --simulate: requests of both cohorts, such as 50/s.", show_default="the plan's rate"),
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="With --simulate: how many users there are in a day.")
    ] = None,
    store: StoreOption = None,
    rules: RulesOption = None,
    url: UrlOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stages of a plan: done, now and to come, with dates, and why it is not moving.

    With --simulate, show how long each stage would take, what it can see, and how many requests and users it exposes.
    Rates of errors and refusals are then taken for usual ones, and requests for independent, so real traffic takes
    longer.
    """
    with opened(store, settings, rules) as (known, opened_store, switch):
        rules_of, plan = planned(known, rollout)
        if simulate:
            per_second = _rate(rate, plan)
            found = forecast(rules_of, plan, rate=per_second, starts=time.time(), users=users)
            document = {"rollout": rollout, "rate": per_second, "stages": [one.document() for one in found]}
            show(document, as_json=as_json, otherwise=lambda: _print_forecast(rules_of, found, per_second))
            return
        if rate is not None or users is not None:
            fail("--rate and --users need --simulate")
        flag = switch.required(rollout).flag
        assert flag is not None
        seen = view(opened_store, known, rules_of, plan, flag, url=url)
        shown: dict[str, Any] = {"rollout": rollout, "generation": flag.generation, **seen.document()}
        show(shown, as_json=as_json, otherwise=lambda: _print_timeline(rollout, shown))


def _rate(text: str | None, plan: Plan) -> float:
    if text is None and plan.rate is None:
        fail("--simulate needs the traffic: add --rate 50/s, or `rate: 50/s` to the plan")
    if text is None:
        assert plan.rate is not None
        return plan.rate
    try:
        return parse_rate(text)
    except UnitError as error:
        fail(f"--rate: {error}")


def _print_timeline(rollout: str, shown: Mapping[str, Any]) -> None:
    advance = shown["advance"].replace("_", " ")
    say(f"{rollout}: the next step is {advance}; dates to come are the earliest possible, in UTC")
    print_table(timeline_table(shown))
    say(one_line(reasons_in_words(str(shown["why"]))))


def _print_forecast(rollout: Rollout, found: tuple[StageForecast, ...], rate: float) -> None:
    say(f"{rollout.name} at {rate:g} requests/s, if nothing goes wrong and nothing else is missing:")
    table = _table("stage", "share", "for", "takes", "begins", "ends", "canary requests", "canary users")
    for one in found:
        cells = (
            one_line(one.stage.stage),
            f"{one.stage.percent:g}%",
            span_in_words(one.stage.seconds),
            span_in_words(one.takes) if one.ends is not None else "never ends",
            _date(one.begins),
            _date(one.ends),
            count_in_words(one.requests),
            "" if one.users is None else count_in_words(one.users),
        )
        table.add_row(*map(Text, cells), style="yellow" if one.takes > one.stage.seconds else "")
    print_table(table)
    for one in found:
        for sentence in _sight(one):
            say(f"  {one_line(one.stage.stage)}: {sentence}")


def _sight(one: StageForecast) -> list[str]:
    said = []
    for found in one.detections:
        longer = f", longer than `for` ({span_in_words(one.stage.seconds)})"
        shows = f"{found.rule} {found.regression} shows after {span_in_words(found.seconds)}"
        said.append(shows + (longer if found.seconds > one.stage.seconds else ""))
    seen = ", ".join(f"{rule} {ratio:g}x" for rule, ratio in one.sees if ratio is not None)
    unseen = ", ".join(rule for rule, ratio in one.sees if ratio is None)
    if seen:
        said.append(f"sees, from this size on: {seen}")
    if unseen:
        said.append(f"cannot see even 10x of {unseen}")
    return said


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in names:
        right = name == "share" or name.startswith("canary")
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    return table


def _date(at: float | None) -> str:
    return "" if at is None else to_iso(round(at))[:16].replace("T", " ")
