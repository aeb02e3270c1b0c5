"""``killswitch init``: writes the first rule file of a rollout, from what is in the metric store."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.histories import DataOption, progress_bar
from killswitch.cli.init_choices import EVERYTHING, Choosing, Given, choose_family
from killswitch.cli.init_questions import Questions
from killswitch.cli.invocation import (
    EXIT_UNAVAILABLE,
    EXIT_UNWANTED,
    RulesOption,
    SettingsOption,
    SourceOption,
    errors_as_messages,
    fail,
    source_url,
    which,
)
from killswitch.daemon.settings import Settings, load_settings, without_secrets
from killswitch.daemon.wiring import build_source
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadRules, BadSettings, Unavailable
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.checks import PATIENCE, Setup, Status
from killswitch.preflight.first_rules.draft import RuleFileDraft
from killswitch.preflight.first_rules.looking import Looking
from killswitch.preflight.first_rules.proposing import Proposal, propose
from killswitch.rules.loading import load_folder
from killswitch.sources import Source
from killswitch.sources.counter_health import ExaminesCounters
from killswitch.sources.inventory import ListsMetrics
from killswitch.sources.recording import Recording, SampledHistory
from killswitch.sources.scrape_interval import ScrapedElsewhere, rounded
from killswitch.timestamps import DAY, to_iso
from killswitch.wording import counted


def command(  # long: its options
    source: SourceOption = None,
    data: DataOption = None,
    rules: RulesOption = None,
    rollout: Annotated[str | None, typer.Option(help="The rollout's name.", show_default="asked")] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="The family of metrics: a preset, or a counter of requests.", show_default="found, or asked"),
    ] = None,
    control: Annotated[str | None, typer.Option(help="Control's model.", show_default="found, or asked")] = None,
    canary: Annotated[str | None, typer.Option(help="The canary's model.", show_default="found, or asked")] = None,
    control_is: Annotated[
        str | None,
        typer.Option(metavar="LABEL=VALUE", help="The label that control's series alone have.", show_default="found"),
    ] = None,
    canary_is: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL=VALUE", help="The label that the canary's series alone have.", show_default="found"
        ),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=VALUE",
            help=f"Series of this service alone; `{EVERYTHING}`: of every service. May be repeated.",
            show_default="asked, if several services count",
        ),
    ] = None,
    slack: Annotated[str | None, typer.Option(help="Slack channel of its pages.", show_default="asked")] = None,
    mention: Annotated[str | None, typer.Option(help="Who is mentioned in them.", show_default="asked")] = None,
    percent: Annotated[
        float, typer.Option(min=0.01, max=99.0, help="The canary's share of users that comments are computed for.")
    ] = 5.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write.", show_default="ROLLOUT.yaml in --rules")
    ] = None,
    to_stdout: Annotated[bool, typer.Option("--stdout", help="Print the file instead of writing it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: take what is safe, say it, and fail where nothing is.")
    ] = False,
    settings: SettingsOption = None,
) -> None:
    """Look into the metric store, ask what it cannot say, and write a commented rule file in mode dry_run.

    Limits come from control's last week. A rule that the doctor would call wrong is left out, with the reason. The
    source must keep a past: a Prometheus (or what speaks its API), or a recording. Nothing else is changed.

    Exits with 1 if the doctor finds something wrong that no rule file can fix, with 2 if a choice is not safe or a file
    is in the way, with 3 if the metric store does not answer.
    """
    questions = Questions(yes=yes)
    given = Given(metrics, tuple(match or ()), control_is, canary_is, rollout, control, canary, slack, mention)
    with errors_as_messages():
        configured = load_settings(settings, source=source_url(source), rules=rules)
        if output is not None and not to_stdout:
            _refuse_existing(output, force=force)
        with _opened(configured, data, source) as opened:
            now = opened.now(Deadline(PATIENCE))
            assert isinstance(opened, ListsMetrics)
            looking = Looking(opened, now)
            look = looking.look()
            for note in look.notes if look.families else ():
                questions.say(f"left out: {note}")
            family, serving = choose_family(questions, look, metrics)
            names = Choosing(questions, looking, family, given).names(serving)
            path = output if output is not None else _folder(configured) / f"{names.rollout}.yaml"
            if not to_stdout:
                _refuse_existing(path, force=force)
                _refuse_second_file(path, names.rollout)
            draft = RuleFileDraft(family, names, _about(configured, data, now))
            proposal = _proposal(configured, opened, looking, draft, percent, now)
        if to_stdout:
            typer.echo(proposal.text, nl=False)
        else:
            _write(path, proposal.text, force=force)
        _report(questions, proposal, None if to_stdout else path)


@contextmanager
def _opened(settings: Settings, data: Path | None, source: str | None) -> Iterator[Source]:
    if data is not None and source is not None:
        raise BadSettings(["give --data or --source, not both"])
    if data is None and settings.source.startswith("scrape+"):
        why = "this source keeps no past that limits could come from; name a Prometheus that scrapes the same services"
        otherwise = "with --source, or copy rules/support-copilot.yaml and change its names"
        raise BadSettings([f"{without_secrets(settings.source)}: {why} {otherwise}"])
    if data is None and settings.source.startswith("clickhouse+"):
        why = "a table of requests has no metrics to look for, because its columns are known"
        otherwise = "copy rules/support-copilot.yaml, keep `metrics: cohort-labels`, and change its names"
        raise BadSettings([f"{without_secrets(settings.source)}: {why}; {otherwise}"])
    opened: Source = Recording(data) if data is not None else build_source(settings, timeout=PATIENCE)
    try:
        yield opened
    except (Unavailable, AccessDenied) as error:
        raise type(error)(f"{error} ({which(settings, 'source', given=source)})") from error
    finally:
        opened.close()


def _proposal(
    settings: Settings, source: Source, looking: Looking, draft: RuleFileDraft, percent: float, now: float
) -> Proposal:
    interval = looking.interval(draft.family.requests)
    if interval is None:
        fail(
            f"{draft.family.requests.metric} was scraped only once so far; run this again in a minute", EXIT_UNAVAILABLE
        )
    interval = rounded(interval)
    configured = settings.model_copy(update={"scrape_interval": interval})
    recorded = isinstance(source, SampledHistory)
    reader = (
        source.at_interval(interval)
        if isinstance(source, SampledHistory)
        else build_source(configured, timeout=PATIENCE)
    )
    setup = Setup(
        source=reader,
        rollouts=(),
        terms=Terms(now - DAY, now, interval=configured.interval, step=configured.step, patience=PATIENCE),
        scrape_interval=interval,
        wall=None if recorded else time.time(),
        measure=reader.measure_scrape_interval if isinstance(reader, ScrapedElsewhere) else None,
        counters=reader.counter_health if isinstance(reader, ExaminesCounters) else None,
        labels=reader if isinstance(reader, ListsMetrics) else None,
    )
    try:
        with progress_bar("reading the last week") as progress:
            return propose(draft, setup, percent, progress)
    finally:
        if reader is not source:
            reader.close()


def _about(settings: Settings, data: Path | None, now: float) -> tuple[str, ...]:
    where = str(data) if data is not None else without_secrets(settings.source)
    then = "Change what you know better, then run `killswitch check` and `killswitch doctor`."
    return (
        f"Written by `killswitch init` on {to_iso(now)[:10]} from {where}. {then} docs/rules.md explains every key.",
    )


# --- the file ---


def _folder(settings: Settings) -> Path:
    rules = Path(settings.rules)
    return rules.parent if rules.is_file() else rules


def _refuse_existing(path: Path, *, force: bool) -> None:
    if not force and (path.exists() or path.is_symlink()):
        fail(f"{path} is there already; name another file with --output, or replace it with --force")


def _refuse_second_file(path: Path, rollout: str) -> None:
    """Two files with one rollout are refused by `check` and by the daemon, all files of the folder with them."""
    try:
        loaded = load_folder(path.parent).rollouts
    except BadRules:
        return  # an empty folder, or one with problems of its own
    for other in loaded:
        if other.name == rollout and Path(other.file).name != path.name:
            fail(
                f"{path.parent / Path(other.file).name} has a rollout {rollout!r} already; name this one with --rollout"
            )


def _write(path: Path, text: str, *, force: bool) -> None:
    """Whole or not at all. Without ``force``, what another process has put there since stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.chmod(0o644)  # no secret is in it, and the daemon may run as another user
            if force:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        _refuse_existing(path, force=False)
    except OSError as error:
        fail(f"{path} cannot be written: {error}")


def _report(questions: Questions, proposal: Proposal, path: Path | None) -> None:
    rollout = proposal.rollout
    questions.say("")
    if path is not None:
        questions.say(
            f"wrote {path}: {counted(len(rollout.rules), 'rule')} ({', '.join(rule.name for rule in rollout.rules)})"
        )
    wrong = [check for check in proposal.checks if check.status is Status.WRONG]
    warnings = sum(check.status is Status.WARNING for check in proposal.checks)
    for check in wrong:
        questions.say(f"wrong: {check.about}: {check.found}; {check.fix}")
    for warning in proposal.warnings:
        questions.say(f"check warns: {warning}")
    if warnings:
        questions.say(f"the doctor has {counted(warnings, 'warning')}; `killswitch doctor` shows them")
    if path is not None:
        questions.say(f"next: `killswitch check {path.parent}`, `killswitch doctor`, then docs/first-day.md")
    if wrong:
        raise typer.Exit(EXIT_UNWANTED)
