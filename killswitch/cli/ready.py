"""``killswitch ready``: the gate of the stage that a rollout is in, check by check."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import print_table
from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    RolesOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    StoreOption,
    UrlOption,
    opened,
    say,
    show,
)
from killswitch.cli.plan_view import planned, view
from killswitch.cli.terminal import one_line
from killswitch.ramps.gate_check import CheckOutcome
from killswitch.ramps.standing import PlanStanding
from killswitch.wording import span_in_words

_COLOURS = {CheckOutcome.PASS: "green", CheckOutcome.FAIL: "bold red", CheckOutcome.NOT_YET: "yellow"}


def command(
    rollout: RolloutArgument,
    store: StoreOption = None,
    rules: RulesOption = None,
    roles: RolesOption = None,
    url: UrlOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show whether a rollout may leave its stage: each check of the gate, what is missing, and how long that takes.

    Exits with 0 if every check passes, else with 1. Verdicts come from a controller (--url), all else from the store.
    """
    with opened(store, settings, rules, roles=roles) as (known, opened_store, switch):
        rules_of, plan = planned(known, rollout)
        flag = switch.required(rollout).flag
        assert flag is not None
        seen = view(opened_store, known, rules_of, plan, flag, url=url)
        show(_document(seen), as_json=as_json, otherwise=lambda: _print(seen))
        if not seen.gate.ready:
            raise typer.Exit(EXIT_UNWANTED)


def _document(seen: PlanStanding) -> dict[str, Any]:
    return {
        "rollout": seen.flag.rollout,
        "generation": seen.flag.generation,
        "stage": seen.flag.stage,
        "canary_percent": seen.flag.canary_percent,
        "ready": seen.gate.ready,
        "next": None if seen.step.to is None else seen.step.to.stage,
        "why": seen.step.sentence,
        "checks": seen.gate.document(),
    }


def _print(seen: PlanStanding) -> None:
    flag = seen.flag
    say(f"{flag.rollout}, stage {flag.stage} ({flag.canary_percent:g}%), generation {flag.generation}")
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("check", "outcome", "wait", "what"):
        table.add_column(name, no_wrap=name != "what")
    for check in seen.gate.checks:
        wait = "" if check.wait is None else span_in_words(check.wait)
        outcome = Text(check.outcome.value, style=_COLOURS[check.outcome])
        table.add_row(Text(one_line(check.name)), outcome, wait, Text(one_line(check.sentence)))
    print_table(table)
    say(one_line(seen.step.sentence))
