"""``killswitch check``: all problems of the rule files and the role files, with file, line and fix."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import EXIT_REFUSED, JsonOption, print_problems, say, show
from killswitch.errors import BadRules, BadSettings
from killswitch.gate.golden_files import load_golden
from killswitch.model import Rollout
from killswitch.roles.config import RoleConfig
from killswitch.roles.pairs import PairKind, role_pair
from killswitch.rules.loading import load_folder, located
from killswitch.rules.retirement_files import load_retirements
from killswitch.rules.role_files import LoadedRoles, read_roles
from killswitch.shadow.criteria import criteria_of
from killswitch.spend.prices import PriceList
from killswitch.spend.rule_files import read_prices, without_price
from killswitch.wording import counted


def command(
    rules: Annotated[Path, typer.Argument(help="Folder of rule files, or one file.", envvar="KILLSWITCH_RULES")] = Path(
        "rules"
    ),
    roles: Annotated[
        Path | None,
        typer.Option(
            "--roles",
            envvar="KILLSWITCH_ROLES",
            help="Folder of role files.",
            show_default="KILLSWITCH_ROLES or ./roles, if it is there",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check rule files and role files: print all errors at once, and exit with 2 if there are any.

    Of roles it reads the golden sets, prices and retirement dates that they name as well. No model is asked.

    With --json, each problem and warning has the fields file, line (1 is the first), what, fix and text.
    """
    found = _read(rules, roles)
    show(found.document(), as_json=as_json, otherwise=found.say)
    if found.problems:
        raise typer.Exit(EXIT_REFUSED)


@dataclass(slots=True)
class _Checked:
    """What the files say; nothing but problems where there are any."""

    rollouts: tuple[Rollout, ...] = ()
    roles: Mapping[str, RoleConfig] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        good = not self.problems
        rollouts = [
            {
                "rollout": r.name,
                "file": r.file,
                "control": r.control,
                "canary": r.canary,
                "rules": [rule.name for rule in r.rules],
            }
            for r in self.rollouts
        ]
        return {
            "ok": good,
            "problems": [_parts(problem) for problem in self.problems],
            "warnings": [_parts(warning) for warning in self.warnings] if good else [],
            "rollouts": rollouts if good else [],
            "roles": [{"role": name, "file": role.file} for name, role in self.roles.items()] if good else [],
        }

    def say(self) -> None:
        if self.problems:
            print_problems(self.problems)
            return
        print_problems([f"warning: {warning}" for warning in self.warnings], style="yellow")
        for rollout in self.rollouts:
            names = ", ".join(rule.name for rule in rollout.rules)
            rules = f"{counted(len(rollout.rules), 'rule')} ({names})"
            say(f"{rollout.name}: {rules}, {rollout.decide.value}, {rollout.mode.value}{_slots(rollout)}")
        for name, role in self.roles.items():
            watch = "no watch" if role.watch is None else f"watched by {role.watch.rollout}"
            say(f"role {name}: {role.endpoint.provider}, golden set {role.golden or 'none'}, {watch}")


def _read(rules: Path, roles: Path | None) -> _Checked:
    found = _Checked()
    try:
        loaded = load_folder(rules)
        found.rollouts = loaded.rollouts
        found.warnings += [*loaded.warnings, *_checked_further(loaded.rollouts)]
    except BadRules as error:
        found.problems += error.problems
    try:
        files = _role_files(roles)
        found.roles = files.roles
        found.warnings += files.warnings
    except BadRules as error:
        found.problems += error.problems
    if rules.is_dir() and not found.problems:  # one file of many says nothing of the others
        found.warnings += _unwatched(found.roles, found.rollouts)
    return found


def _role_files(folder: Path | None) -> LoadedRoles:
    """The role files and what they name; none where there is no such folder and none was named. Raises BadRules."""
    if folder is None and not Path("roles").exists():
        return LoadedRoles({}, (), "")
    loaded = read_roles(folder or Path("roles"))
    problems: list[str] = []
    for role in loaded.roles.values():
        readers = ((role.golden, load_golden), (role.prices, PriceList.from_file), (role.retirements, load_retirements))
        for path, read in readers:
            if path is None:
                continue
            try:
                read(path)
            except (BadRules, BadSettings) as error:
                problems += [one for one in error.problems if one not in problems]
    if problems:
        raise BadRules(problems)
    return loaded


def _unwatched(roles: Mapping[str, RoleConfig], rollouts: Iterable[Rollout]) -> Iterator[str]:
    """Warnings of watches that no rule file keeps: after a promotion they could not be armed."""
    pairs = {one.name: role_pair(one.control, one.canary) for one in rollouts}
    for name, role in roles.items():
        if role.watch is None:
            continue
        pair = pairs.get(role.watch.rollout)
        if pair is None or (pair.role, pair.kind) != (name, PairKind.WATCH):
            yield (
                f"{role.file}: watch: no rule file compares previous and prod of role {name} as {role.watch.rollout}; "
                f"fix: write one with `control: role:{name}.previous` and `canary: role:{name}.prod`"
            )


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
