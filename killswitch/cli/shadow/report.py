"""``killswitch shadow report``: what the recorded pairs prove, for a person, a browser, a pipeline."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from killswitch.cli.histories import moment, seconds_of
from killswitch.cli.invocation import (
    EXIT_UNAVAILABLE,
    EXIT_UNWANTED,
    JsonOption,
    RolloutArgument,
    errors_as_messages,
    print_problems,
    show,
)
from killswitch.errors import BadSettings, UnknownRollout
from killswitch.flags.flag import MAX_GENERATION
from killswitch.private_files import new_private_file
from killswitch.rules.loading import load_folder
from killswitch.shadow.criteria import Criteria, criteria_of
from killswitch.shadow.decision import GoNoGo
from killswitch.shadow.local_records import local_records
from killswitch.shadow.report.document import to_document
from killswitch.shadow.report.html import page
from killswitch.shadow.report.reading import ReportQuestion, newer_pairs, read_report
from killswitch.shadow.report.terminal import screen

# Of the newest pairs only the quick answers are recorded: a canary that times out would look well among them.
SETTLING = 60.0
_MOST_REQUESTS = 1e15  # in a month: more is a slip of the keyboard, and infinity makes numbers that are none
_DIGITS_OF_AN_AGE = 7  # of a number of seconds; Unix seconds of this century have ten
_EXIT_CODES = {GoNoGo.GO: 0, GoNoGo.NO_GO: EXIT_UNWANTED, GoNoGo.NOT_YET: EXIT_UNAVAILABLE}


def command(  # long: one argument an option
    rollout: RolloutArgument,
    records: Annotated[
        str,
        typer.Option(
            "--records",
            "--pairs",
            envvar="KILLSWITCH_SHADOW_RECORDS",
            help="The folder of recorded pairs, one file of them (.parquet, .jsonl), or an fsspec URL such as"
            " s3://bucket/pairs.",
            show_default=False,
        ),
    ],
    since: Annotated[
        str | None,
        typer.Option(
            help="Only pairs from then on: ISO 8601, Unix seconds, or an age before the newest pair, such as 24h.",
            show_default="all",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="Only pairs before: ISO 8601, Unix seconds, or `now`.", show_default="a minute ago"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the report as one HTML file.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules",
            help="Take `shadow.criteria` from this rule file, or this folder of them.",
            show_default="the default criteria",
        ),
    ] = None,
    as_points: Annotated[
        bool,
        typer.Option(
            "--as-points",
            help="Compare bare points, without margins and evidence. For a canary as good as control that is a coin"
            " flip.",
        ),
    ] = False,
    percent: Annotated[
        float | None,
        typer.Option(help="Share of requests that is sampled, 0 to 100; says what 100 % would cost a month."),
    ] = None,
    requests_per_month: Annotated[
        float | None, typer.Option("--requests-per-month", help="Control's requests in a month, for the same.")
    ] = None,
    ignore_drops: Annotated[
        bool,
        typer.Option(
            "--ignore-drops",
            help="Judge one file although it does not say what was dropped: take it that nothing was.",
        ),
    ] = False,
    generation: Annotated[
        str | None,
        typer.Option(
            help="Only pairs of this generation of the flag; `all` shows all of them together and decides nothing.",
            show_default="the newest",
        ),
    ] = None,
) -> None:
    """Report what recorded pairs prove: GO, NO_GO or NOT_YET, and everything that it rests on.

    Read from the records alone: the same records give the same report. Pairs of the last minute are left out unless
    --until asks for them, because slow answers are not recorded yet. Exit code 0 is GO, 1 is NO_GO, 3 is NOT_YET.
    """
    with errors_as_messages():
        question = ReportQuestion(
            source=Path(records),
            rollout=rollout,
            criteria=criteria_for(rules, rollout),
            as_points=as_points,
            percent=_between("--percent", percent, 100.0),
            requests_per_month=_between("--requests-per-month", requests_per_month, _MOST_REQUESTS),
            until=None if until is None else _moment("--until", until),
            settled=time.time() - SETTLING if until is None else None,
            generation=_generation(generation),
            ignore_drops=ignore_drops,
            **_since(since),
        )
        with local_records(records, rollout) as source:
            question = replace(question, source=source)
            report = read_report(question)
            young = newer_pairs(question) if report.period.oldest is None and question.settled is not None else 0
        if html is not None:
            _write(html, page(report))
    if young:
        are = "pair is" if young == 1 else "pairs are"
        print_problems([f"{young:,} {are} younger than a minute; wait, or use --until now"], style="yellow")
    elif report.period.oldest is None and isinstance(question.generation, int):
        said = f"no pair is of generation {question.generation}; without --generation the newest with pairs is shown"
        print_problems([said], style="yellow")
    show(to_document(report), as_json=as_json, otherwise=lambda: typer.echo(screen(report), nl=False))
    raise typer.Exit(_EXIT_CODES[GoNoGo(report.decided.verdict)])


def _since(text: str | None) -> dict[str, Any]:
    """An age counts back from the newest pair: the same records give the same report."""
    if text is None:
        return {}
    age = text[-1:].isalpha() and "T" not in text
    return {"last": seconds_of("--since", text)} if age else {"since": _moment("--since", text)}


def _generation(text: str | None) -> int | Literal["all"] | None:
    if text is None:
        return None
    if text == "all":
        return "all"
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:20]) <= MAX_GENERATION):
        raise BadSettings([f"--generation {text}: write a number such as 7, or all"])
    return int(text)


def _moment(option: str, text: str) -> float:
    if text == "now":
        return time.time()
    if text[-1:].isalpha() and "T" not in text:
        raise BadSettings([f"{option} {text}: write 2026-04-19T14:22:11Z, Unix seconds or now"])
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_OF_AN_AGE:
        age = f"; for an age write its unit, such as {text}h" if option == "--since" else ""
        raise BadSettings([f"{option} {text}: as Unix seconds that is in 1970{age}"])
    return moment(text, now=0.0)


def _between(option: str, value: float | None, most: float) -> float | None:
    if value is not None and not 0.0 < value <= most:
        raise BadSettings([f"{option} {value:g}: must be over 0 and at most {most:,.0f}"])
    return value


def criteria_for(rules: Path | None, name: str) -> Criteria | None:
    """``shadow.criteria`` of the rollout's rule file; None without one, or where it names none.

    Raises BadRules or UnknownRollout.
    """
    if rules is None:
        return None
    rollouts = {one.name: one for one in load_folder(rules).rollouts}
    if name not in rollouts:
        raise UnknownRollout(name, rollouts)
    rollout = rollouts[name]
    return criteria_of(rollout) if rollout.shadow.criteria else None


def _write(path: Path, text: str) -> None:
    """Write the page for its owner alone, because it may hold answers. Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new_private_file(temporary) as file:
            file.write(text.encode())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadSettings([f"--html {path}: {error.strerror or error}"]) from error
