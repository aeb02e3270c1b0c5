"""``killswitch check``: all problems of the rule files, with file, line and fix."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import EXIT_REFUSED, JsonOption, print_problems, say, show
from killswitch.errors import BadRules
from killswitch.model import Rollout
from killswitch.roles.pairs import role_pair
from killswitch.rules.loading import load_folder, located
from killswitch.shadow.criteria import criteria_of
from killswitch.spend.prices import PriceList
from killswitch.spend.rule_files import read_prices, without_price
from killswitch.wording import counted


def command(
    rules: Annotated[Path, typer.Argument(help="Folder of rule files, or one file.", envvar="KILLSWITCH_RULES")] = Path(
        "rules"
    ),
    as_json: JsonOption = False,
) -> None:
    """Check rule files: print all errors at once, and exit with 2 if there are any.

    With --json, each problem and warning has the fields file, line (1 is the first), what, fix and text.
    """
    try:
        loaded = load_folder(rules)
        warnings = (*loaded.warnings, *_checked_further(loaded.rollouts))
    except BadRules as error:
        problems = list(error.problems)
        refused = {"ok": False, "problems": [_parts(problem) for problem in problems], "warnings": [], "rollouts": []}
        show(refused, as_json=as_json, otherwise=lambda: print_problems(problems))
        raise typer.Exit(EXIT_REFUSED) from error
    document = {
        "ok": True,
        "problems": [],
        "warnings": [_parts(warning) for warning in warnings],
        "rollouts": [
            {
                "rollout": r.name,
                "file": r.file,
                "control": r.control,
                "canary": r.canary,
                "rules": [rule.name for rule in r.rules],
            }
            for r in loaded.rollouts
        ],
    }

    def words() -> None:
        print_problems([f"warning: {warning}" for warning in warnings], style="yellow")
        for rollout in loaded.rollouts:
            names = ", ".join(rule.name for rule in rollout.rules)
            rules = f"{counted(len(rollout.rules), 'rule')} ({names})"
            say(f"{rollout.name}: {rules}, {rollout.decide.value}, {rollout.mode.value}{_slots(rollout)}")

    show(document, as_json=as_json, otherwise=words)


def _slots(rollout: Rollout) -> str:
    """``; role:support.candidate against role:support.prod, the models that are pinned when it is armed``."""
    if role_pair(rollout.control, rollout.canary) is None:
        return ""
    return f"; {rollout.canary} against {rollout.control}, the models that are pinned when it is armed"


def _checked_further(rollouts: Iterable[Rollout]) -> Iterator[str]:
    """What the rule files' own reader does not know: criteria of stage shadow, and the files of prices.

    Yields warnings. Raises BadRules with all problems of both.
    """
    rollouts = tuple(rollouts)
    problems: list[str] = []
    prices: Mapping[str, PriceList] = {}
    for rollout in rollouts:
        try:
            criteria_of(rollout)
        except BadRules as error:
            problems += error.problems
    try:
        prices = read_prices(rollouts)
    except BadRules as error:
        problems += error.problems
    if problems:
        raise BadRules(problems)
    return _unpriced(rollouts, prices)


def _unpriced(rollouts: Iterable[Rollout], prices: Mapping[str, PriceList]) -> Iterator[str]:
    """Warnings of odd prices, and of models without a price now."""
    now = time.time()
    said: set[str] = set()
    for rollout in rollouts:
        if rollout.name not in prices:
            continue
        where = rollout.where("spend.prices")
        for odd in prices[rollout.name].odd:
            if odd not in said:
                yield f"{where}: spend: {rollout.spend.prices}: {odd}"
            said.add(odd)
        for model in without_price(rollout, prices[rollout.name], now):
            yield (
                f"{where}: spend: no price of {model} is valid now, so what it spends is not known; "
                f"fix: add it to {rollout.spend.prices}"
            )


def _parts(text: str) -> dict[str, str | int | None]:
    parts = located(text)
    return {"file": parts.file, "line": parts.line, "what": parts.what, "fix": parts.fix, "text": text}
