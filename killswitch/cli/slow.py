"""``killswitch slow``: what users said and did days later, in both cohorts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import err, print_table
from killswitch.cli.histories import moment
from killswitch.cli.invocation import (
    EXIT_UNAVAILABLE,
    EXIT_UNWANTED,
    JsonOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    StoreOption,
    fail,
    opened,
    rollout_of,
    say,
    show,
)
from killswitch.cli.slow_outlook import as_document, outlooks, print_outlooks
from killswitch.cli.terminal import one_line
from killswitch.controller.slow_signals import exposure_history
from killswitch.model import Verdict
from killswitch.slow.days import date_of
from killswitch.slow.document import to_document
from killswitch.slow.findings import Judgement, SlowFinding, amount, points
from killswitch.slow.history import ExposureHistory
from killswitch.slow.literal import usual_users
from killswitch.slow.picture import lines_of_text, svg
from killswitch.slow.reading import Evaluation, evaluate
from killswitch.slow_settings import SlowSettings
from killswitch.timestamps import to_iso
from killswitch.trips.stored_flags import StoredFlags
from killswitch.wording import counted, date_and_time

_STYLES = {Verdict.BREACH: "bold red", Verdict.UNKNOWN: "yellow"}


def command(
    rollout: RolloutArgument,
    days: Annotated[int, typer.Option(min=1, max=120, help="How many of the newest days to show.")] = 14,
    as_json: JsonOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show the statement, who is in which cohort, and what was left out.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option("--svg", help="Also draw both cohorts into this file.", show_default=False)
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--at", help="The newest evaluation before: ISO 8601 or Unix seconds.", show_default="now"),
    ] = None,
    rules: RulesOption = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
) -> None:
    """Show the signals that arrive days later: both cohorts by day, their difference, and both verdicts.

    Reads the warehouse of the rule file's section `slow`, and changes nothing. Before a user is exposed it says what
    could be seen at which percent. Exit code 0 is HEALTHY, 1 is a BREACH, 3 is UNKNOWN.
    """
    with opened(store, settings, rules) as (known, opened_store, _switch):
        found = rollout_of(known, rollout, required=True)
        if found is None or found.slow is None:
            fail(f"{rollout}: its rule file has no section `slow`; add one, see docs/rules.md")
        at = time.time() if until is None else moment(until, now=time.time())
        flag = StoredFlags(opened_store).stored(rollout).flag
        history = None if flag is None else exposure_history(opened_store, flag)
        if history is None or not history.waves:
            _show_outlook(rollout, found.slow, at, as_json=as_json)
            raise typer.Exit(EXIT_UNAVAILABLE)
        evaluation = evaluate(found.slow, history, at)
        if picture is not None:
            picture.write_text(svg(evaluation.findings, days), encoding="utf-8")
            err.print(f"drawn: {picture}", markup=False)
        document = {
            "rollout": rollout,
            "findings": [
                to_document(finding, days, statement if explain else None)
                for finding, statement in zip(evaluation.findings, evaluation.statements, strict=True)
            ],
        }
        show(document, as_json=as_json, otherwise=lambda: _print(evaluation, history, days, explain=explain))
        verdicts = {finding.verdict for finding in evaluation.findings}
        if Verdict.BREACH in verdicts:
            raise typer.Exit(EXIT_UNWANTED)
        if Verdict.UNKNOWN in verdicts:
            raise typer.Exit(EXIT_UNAVAILABLE)


def _show_outlook(rollout: str, settings: SlowSettings, now: float, *, as_json: bool) -> None:
    found = outlooks(rollout, settings, now)
    document = {"rollout": rollout, "findings": [], "outlook": as_document(found)}
    show(document, as_json=as_json, otherwise=lambda: print_outlooks(found))


def _print(evaluation: Evaluation, history: ExposureHistory, days: int, *, explain: bool) -> None:
    say(f"evaluated for {date_and_time(evaluation.findings[0].evaluated_at)}")
    print_table(_table(evaluation.findings))
    for finding, statement in zip(evaluation.findings, evaluation.statements, strict=True):
        say("")
        say(one_line(finding.sentence))
        for line in lines_of_text(finding, days) if finding.first_day else ():
            say(line)
        for line in _notes(finding):
            say(line)
        if explain:
            for line in _explained(finding, statement):
                say(line)
    if explain:
        say("")
        for wave in history.waves:
            say(
                f"{wave.low:g} to {wave.high:g} % of users are in the canary since {to_iso(wave.at)} "
                f"(generation {wave.generation})"
            )


def _table(findings: tuple[SlowFinding, ...]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("signal", "evidence", "literal rule"):
        table.add_column(name, no_wrap=True)
    for name in ("difference", "99 % interval", "limit"):
        table.add_column(name, justify="right", overflow="fold")
    for finding in findings:
        table.add_row(
            Text(finding.signal),
            *(_verdict(one) for one in (finding.by_evidence, finding.literal)),
            *(Text(text) for text in _numbers(finding)),
        )
    return table


def _verdict(judgement: Judgement) -> Text:
    reason = "" if judgement.reason is None else f"({judgement.reason})"
    return Text(f"{judgement.verdict}{reason}", style=_STYLES.get(judgement.verdict, ""))


def _numbers(finding: SlowFinding) -> list[str]:
    sign = -1.0 if finding.lower_is_worse else 1.0
    share = finding.as_share
    limit = f"{'-' if finding.lower_is_worse and finding.limit else ''}{points(finding.limit, as_share=share)}"
    if finding.worse is None or finding.low is None or finding.high is None:
        return ["-", "-", limit]
    low, high = sorted((sign * finding.low, sign * finding.high))
    return [
        amount(sign * finding.worse, as_share=share, sign=True),
        f"{amount(low, as_share=share, sign=True)} to {amount(high, as_share=share, sign=True)}",
        limit,
    ]


def _notes(finding: SlowFinding) -> list[str]:
    """What the literal rule would do to a healthy canary here, and what was left out."""
    found = []
    usual = usual_users(finding.days)
    if usual is not None and finding.drop_to_see is not None:
        control, canary = round(usual[0]), round(usual[1])
        to_see = points(finding.drop_to_see, as_share=finding.as_share)
        after = "over ten years" if finding.days_to_see is None else counted(finding.days_to_see, "day")
        found.append(
            f"{counted(canary, 'user')} a day in the canary, {control:,} in control; "
            f"{to_see} {'lower' if finding.lower_is_worse else 'higher'} would be proven after {after} in all"
        )
    if finding.literal_false_pins is not None:
        works = (
            "no percent makes it work"
            if finding.literal_percent is None
            else f"it works from {finding.literal_percent:g} % of users on"
        )
        found.append(
            "with this many users a day, the literal rule pins a healthy canary within a week in "
            f"{finding.literal_false_pins:.1%} of runs; {works}"
        )
    if finding.left_out:
        listed = ", ".join(f"{number:,} {_reason(reason)}" for reason, number in finding.left_out.items())
        found.append(f"counted in neither cohort: {listed}")
    return found


def _reason(reason: str) -> str:
    return f"user-days on {reason}" if reason.startswith(("a day", "the day")) else f"rows of {reason}"


def _explained(finding: SlowFinding, statement: str) -> list[str]:
    newest = "none" if finding.newest_day is None else str(date_of(finding.newest_day))
    days = f"days {date_of(finding.first_day)} to {date_of(finding.last_day)}"
    counting = days if 0 < finding.first_day <= finding.last_day else "no day"
    split = "; ".join(
        f"{one.canary:,} of {one.canary + one.control:,} users in the canary, the flag's history says {one.share:.2%}"
        for one in finding.split
    )
    answers = "not judged" if finding.answers is None else finding.answers.sentence
    return [
        f"  statement: {one_line(statement)}",
        f"  newest row: {newest}; counted: {counting}",
        f"  split: {split or 'no day counts yet'}",
        f"  answers: {one_line(answers)}",
        f"  by evidence: {one_line(finding.by_evidence.sentence)}",
        f"  literally: {one_line(finding.literal.sentence)}",
    ]
