"""``killswitch gate run``: asks a golden set of a role's prod and candidate, and says whether it may be promoted."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from killswitch.cli import console
from killswitch.cli.gate.progress import shown
from killswitch.cli.gate.run_options import RunOptions, micros_of, named_pair, seconds_between
from killswitch.cli.gate.show import as_json_of
from killswitch.cli.invocation import (
    EXIT_REFUSED,
    EXIT_UNWANTED,
    JsonOption,
    RolesOption,
    SettingsOption,
    StoreOption,
    YesOption,
    errors_as_messages,
    fail,
    opened,
    person,
    print_problems,
    say,
    show,
)
from killswitch.cli.stopping import stopping
from killswitch.cli.terminal import one_line
from killswitch.daemon.settings import Settings, load_settings
from killswitch.daemon.wiring import build_store
from killswitch.errors import BadSettings, KillswitchError, Refused
from killswitch.gate.answer_cache import (
    AnswerKey,
    GateAnswers,
    default_cache_folder,
    forget_answers,
    open_answer_cache,
)
from killswitch.gate.answers import Answer
from killswitch.gate.estimate import CostEstimate, estimated
from killswitch.gate.golden import GoldenRow
from killswitch.gate.golden_files import load_golden
from killswitch.gate.opening import (
    GateQuestion,
    models_by_call,
    opened_models,
    prices_of,
    repriced,
)
from killswitch.gate.recording import EndedRun, RunFacts, ended_run
from killswitch.gate.report.document import GateReport
from killswitch.gate.report.terminal import print_report
from killswitch.gate.report.words import UNFINISHED
from killswitch.gate.report.writing import write_reports
from killswitch.gate.role_spending import role_ledger
from killswitch.gate.row_order import RowCall, asked_hash
from killswitch.gate.rows_missing import too_few_to_pass
from killswitch.gate.run_budget import RunBudget
from killswitch.gate.running import GateAsk, GateRun, GateRunning
from killswitch.gate.scoring import Scorer
from killswitch.registry import gate_runs
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.config import RoleConfig
from killswitch.roles.gate_record import GateVerdict
from killswitch.roles.role import check_role_name
from killswitch.rules.role_files import load_roles
from killswitch.stores import Store

EXIT_OF: Final[Mapping[GateVerdict, int]] = {
    GateVerdict.PASS: 0,
    GateVerdict.FAIL: EXIT_UNWANTED,
    GateVerdict.TOO_FEW_ROWS: EXIT_REFUSED,
    GateVerdict.NEEDS_APPROVAL: EXIT_REFUSED,
    GateVerdict.UNKNOWN: EXIT_REFUSED,
}
MAX_CONCURRENCY: Final = 256
MAX_PATIENCE: Final = 86_400.0
MAX_AGE_ALLOWED: Final = 7 * 86_400.0


def command(  # long: one line an option
    role: Annotated[str, typer.Argument(help="The role's name.", show_default=False)],
    golden: Annotated[
        Path | None, typer.Option(help="The golden set, JSON lines.", show_default="`golden:` of the role file")
    ] = None,
    prod: Annotated[str | None, typer.Option(help="A first look without the registry: the model of today.")] = None,
    candidate: Annotated[str | None, typer.Option(help="A first look without the registry: the new model.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows asked at most.", show_default="all")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=MAX_CONCURRENCY, help="Rows under way at once.")] = 8,
    max_dollars: Annotated[
        str | None, typer.Option(help="What this run may spend, such as $5. It ends before it spends more.")
    ] = None,
    patience: Annotated[str, typer.Option(help="How long a model may give no answer before the run ends.")] = "10m",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of kept answers; they hold users' texts.", show_default="~/.cache/killswitch/gate"),
    ] = None,
    max_answer_age: Annotated[str, typer.Option(help="Kept answers that are older are asked again.")] = "24h",
    fresh: Annotated[bool, typer.Option("--fresh", help="Use no kept answers: ask, and pay, again.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the role's kept answers and ask nothing.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder to write the report to, as HTML, JSON and Markdown.")
    ] = None,
    accept_point_estimates: Annotated[
        bool, typer.Option("--accept-point-estimates", help="Compare plain values with the bars, without intervals.")
    ] = False,
    no_record: Annotated[bool, typer.Option("--no-record", help="Store nothing: no promotion can rest on it.")] = False,
    yes: YesOption = False,
    roles: RolesOption = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a golden set of a role's prod and candidate, row by row in turn, and judge four numbers.

    It stops as soon as PASS or FAIL is clear. After Ctrl-C, or whatever ends it, the same command goes on and pays
    nothing twice. Exits with 0 for PASS, 1 for FAIL, and 2 where it cannot say.
    """
    with _cannot_say():
        folder = default_cache_folder() if cache is None else cache
        if forget:
            _forget(folder, role)
            return
        with errors_as_messages():
            wanted = RunOptions(
                role=check_role_name(role),
                golden=golden,
                rows=rows,
                concurrency=concurrency,
                patience=seconds_between("--patience", patience, 1.0, MAX_PATIENCE),
                most=micros_of(max_dollars),
                cache=folder,
                max_age=seconds_between("--max-answer-age", max_answer_age, 1.0, MAX_AGE_ALLOWED),
                fresh=fresh,
                report=report,
                point_estimates=accept_point_estimates,
                record=not no_record,
                yes=yes,
                as_json=as_json,
            )
            pair = named_pair(prod, candidate)
        if pair is not None:
            with errors_as_messages():
                loaded = load_settings(settings, store=store, roles=roles)
                verdict = _first_look(wanted, loaded, pair)
        else:
            with opened(store, settings, roles=roles) as (loaded, opened_store, _):
                verdict = _recorded(wanted, loaded, opened_store)
    raise typer.Exit(EXIT_OF[verdict])


def _first_look(wanted: RunOptions, settings: Settings, pair: tuple[str, str]) -> GateVerdict:
    """Without the registry. Only a cap a day needs the store."""
    question = _question(wanted, settings, pair, recorded=False)
    capped = question.config.max_micros_a_day is not None
    ended = _run(wanted, question, partial(build_store, settings) if capped else None)
    return _answer(wanted, ended, None, "a first look without the registry is not recorded")


def _recorded(wanted: RunOptions, settings: Settings, store: Store) -> GateVerdict:
    stored = StoredRoles(store).required(wanted.role).role
    assert stored is not None, "a role that is not there is refused"
    if stored.prod is None or stored.candidate is None:
        empty = "prod" if stored.prod is None else "candidate"
        fix = f"`killswitch role set-candidate {wanted.role} MODEL` names one"
        if empty == "prod":
            fix = f"`killswitch role create {wanted.role} --prod MODEL` names the model that serves users today"
        raise Refused(f"role {wanted.role} has no {empty}, so there is nothing to compare; {fix}")
    if stored.prod == stored.candidate:
        raise Refused(
            f"prod and candidate of role {wanted.role} are the same model, {stored.prod}; name another candidate: "
            f"`killswitch role set-candidate {wanted.role} MODEL`"
        )
    question = _question(wanted, settings, (stored.prod, stored.candidate), recorded=wanted.record)
    ended = _run(wanted, question, partial(build_store, settings))
    if not wanted.record:
        return _answer(wanted, ended, None, "not recorded, as --no-record says")
    return _answer(wanted, ended, partial(gate_runs.keep, store, ended.record), "")


def _question(wanted: RunOptions, settings: Settings, pair: tuple[str, str], *, recorded: bool) -> GateQuestion:
    config = _config(settings, wanted.role)
    path = wanted.golden or config.golden
    if path is None:
        raise BadSettings(
            [f"role {wanted.role} names no golden set; name one with --golden or `golden:` in {config.file}"]
        )
    return GateQuestion(
        config,
        load_golden(path),
        *pair,
        rows=wanted.rows,
        point_estimates=wanted.point_estimates,
        recorded=recorded,
    )


def _config(settings: Settings, role: str) -> RoleConfig:
    roles = load_roles(settings.roles)
    if role not in roles:
        listed = ", ".join(sorted(roles)) or "none"
        said = f"{settings.roles} has no file of role {role} (roles there: {listed})"
        raise BadSettings([f"{said}; write one, or name another folder with --roles"])
    return roles[role]


def _run(wanted: RunOptions, question: GateQuestion, store: Callable[[], Store] | None) -> EndedRun:
    config = question.config
    prices = prices_of(config, question.prod, question.candidate)
    over = threading.Event()
    started = time.time()
    with (
        open_answer_cache(wanted.cache, config.name, wall=time.time, max_age=wanted.max_age) as answers,
        role_ledger(config, prices, store) as ledger,
    ):
        budget = RunBudget(prices, most=wanted.most, ledger=ledger, wall=time.time, stopped=over.is_set)
        with opened_models(question, prices, budget, over.wait) as (prod, candidate):
            kept = partial(_kept, answers, question) if not wanted.fresh else _nothing_kept
            by_call = models_by_call(prod, candidate)
            if not question.point_estimates:
                _say_too_few(len(question.order), config)
            _agree(wanted, estimated(question.order, by_call, prices, now=started, kept=kept))
            if wanted.fresh:
                answers.forget_setup(question.setup)
            ask = GateAsk(
                order=question.order,
                setup=question.setup,
                prod=prod,
                candidate=candidate,
                scorer=Scorer(config),
                judge=question.judge,
                concurrency=wanted.concurrency,
                patience=wanted.patience,
                sequential=not question.point_estimates,
                repriced=partial(repriced, prices=prices),
            )
            run = _asked(ask, answers, budget, over)
        facts = RunFacts(
            config=config,
            golden=question.golden,
            prod=question.prod,
            candidate=question.candidate,
            point_estimates=question.point_estimates,
            started_at=started,
            ended_at=time.time(),
            by=person(),
            cost=budget.spent,
        )
        ended = ended_run(run, facts, question.judge)
        if ended.storm:
            answers.forget_setup(question.setup)  # its answers are no evidence, and neither are those between them
    return ended


def _asked(ask: GateAsk, answers: GateAnswers, budget: RunBudget, over: threading.Event) -> GateRun:
    with stopping() as stop, shown(len(ask.order)) as view:
        return GateRunning(ask, answers, budget, over=over, stop=lambda: stop.asked, progress=view).run()


def _kept(answers: GateAnswers, question: GateQuestion, row: GoldenRow, call: RowCall) -> Answer | None:
    model = question.candidate if call is RowCall.CANDIDATE else question.prod
    return answers.kept(AnswerKey(question.setup, model, asked_hash(row), call))


def _nothing_kept(_row: GoldenRow, _call: RowCall) -> None:
    return None


def _say_too_few(rows: int, config: RoleConfig) -> None:
    said = too_few_to_pass(rows, config.bars)
    if said is not None:
        console.err.print(said, style="yellow", markup=False, soft_wrap=True)


def _agree(wanted: RunOptions, estimate: CostEstimate) -> None:
    """Say what it may cost, and ask. Ends the command with 2 where no one agrees: no number has failed."""
    said = f"role {wanted.role}: {estimate.sentence}"
    console.err.print(one_line(said), markup=False, soft_wrap=True)
    if wanted.yes or estimate.calls == 0:
        return
    if not sys.stdin.isatty():
        fail("no terminal to answer; use --yes to spend this much without the question: nothing was asked")
    try:
        agreed = typer.confirm("Go on?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        fail("nothing was asked")


def _answer(wanted: RunOptions, ended: EndedRun, keep: Callable[[], None] | None, unrecorded: str) -> GateVerdict:
    """Record the run, write and print its report; the verdict."""
    record, trouble = ended.record, None
    if not ended.complete:
        keep, unrecorded = None, UNFINISHED
    if keep is not None:
        try:
            keep()
        except KillswitchError as error:
            trouble, unrecorded = error, "not recorded"
    report = GateReport(record, ended.results, ended.outcome, unrecorded)
    written, unwritten = _written(report, wanted.report)
    document = {
        "run": as_json_of(record),
        "recorded": not unrecorded,
        "finished": ended.complete,
        "reports": [str(path) for path in written],
    }

    show(document, as_json=wanted.as_json, otherwise=lambda: print_report(report))
    for path in written:
        print_problems([f"report: {path}"], style="dim")
    print_problems(unwritten)
    if unrecorded:
        print_problems([unrecorded], style="yellow")
    if not ended.complete:
        print_problems([f"answers are kept: the same command goes on, for {wanted.max_age / 3600:g} h"], style="yellow")
    if trouble is not None:
        raise trouble
    return record.verdict


def _written(report: GateReport, folder: Path | None) -> tuple[tuple[Path, ...], list[str]]:
    """The files of the report, and why there are none: a full disk changes no verdict, and hides none."""
    if folder is None:
        return (), []
    try:
        return write_reports(report, folder), []
    except BadSettings as error:
        return (), list(error.problems)


def _forget(folder: Path, role: str) -> None:
    with errors_as_messages():
        there = forget_answers(folder, check_role_name(role))
    say(f"the kept answers of {role} are deleted" if there else f"no answers of {role} are kept in {folder}")


@contextmanager
def _cannot_say() -> Iterator[None]:
    """A bug, or Ctrl-C before the run, exits with 2: 1 says that the candidate failed, and neither says that."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        fail("stopped: nothing was decided")
    except Exception as error:
        traceback.print_exc()
        raise typer.Exit(EXIT_REFUSED) from error
