"""``killswitch gate sample``: draws a golden set from a log or from shadow records, with prod's labels."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from killswitch.cli.gate.asking_prod import AskingProd, bar
from killswitch.cli.invocation import (
    EXIT_REFUSED,
    EXIT_UNAVAILABLE,
    JsonOption,
    RolesOption,
    SettingsOption,
    StoreOption,
    YesOption,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.daemon.wiring import build_store
from killswitch.errors import BadSettings, Refused
from killswitch.gate.answer_cache import default_cache_folder, open_answer_cache
from killswitch.gate.answers import Answer
from killswitch.gate.golden import Label
from killswitch.gate.labelling import Labelled, check_target, unlabelled, write_golden
from killswitch.gate.opening import prices_of
from killswitch.gate.rows_missing import too_few_to_pass
from killswitch.gate.sample_redaction import redacted_rows
from killswitch.gate.sample_sources import GoldenSample, SampleRow, sample_of_log, sample_of_records, unusable_in_words
from killswitch.gate.scoring import Scorer
from killswitch.gate.stratified_draw import StratifiedDraw
from killswitch.registry.stored_roles import StoredRoles
from killswitch.roles.config import RoleConfig
from killswitch.roles.role import check_role_name
from killswitch.rules.role_files import load_roles
from killswitch.shadow.redaction import Redact, hook, redact_forms
from killswitch.stores import Store
from killswitch.wording import counted, money_in_words

_MOST_STRATA_SHOWN = 12
_NO_REDACTION = "none"


def command(  # long: one argument an option
    role: Annotated[str, typer.Argument(help="The role's name.", show_default=False)],
    log: Annotated[
        Path | None,
        typer.Option("--log", help="JSON lines with input or messages, and perhaps class and output."),
    ] = None,
    records: Annotated[
        Path | None, typer.Option("--records", help="The folder of shadow records: the pairs whose texts were kept.")
    ] = None,
    rollout: Annotated[
        str | None, typer.Option("--rollout", help="The rollout of the records.", show_default="the role's name")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write.", show_default="`golden:` of the role file")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", help="How many rows to draw, at most 5,000.")] = 1_000,
    seed: Annotated[
        int, typer.Option("--seed", help="Another seed draws other rows; the same one draws the same.")
    ] = 1,
    redact: Annotated[
        str | None,
        typer.Option(
            "--redact",
            help="module:function that takes personal data out of each text, or none.",
            show_default="e-mail, card and phone numbers",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a file that is there.")] = False,
    roles: RolesOption = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of kept answers.", show_default="~/.cache/killswitch/gate")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Calls at once.")] = 8,
    store: StoreOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a golden set in strata from a log or from shadow records, and fill in what prod says now.

    The expected labels are prod's answers and no truth: read them, and correct what is wrong. Says what asking prod
    costs at most and asks first. After a break the same command goes on, and pays for no answer twice. The file holds
    texts of users and is written for you alone.
    """
    with opened(store, settings, roles=roles) as (known, opened_store, _switch):
        if (log is None) == (records is None):
            raise BadSettings(["name one source: --log FILE, JSON lines, or --records FOLDER, of shadow mode"])
        draw, redaction = _draw(rows, seed), _redaction(redact)
        config = _config(known.roles, role)
        target = _target(out, config)
        check_target(target, replace=replace)
        prod = _prod(opened_store, role)
        prices = prices_of(config, prod)
        scorer = Scorer(config)
        sample = _drawn(config, scorer, log, records, rollout, draw, quiet=as_json)
        kept_rows = _redacted(sample, redaction)
        if len(kept_rows) < rows:
            print_problems([f"only {len(kept_rows):,} different inputs could be drawn, not {rows:,}"], style="yellow")
        too_few = too_few_to_pass(len(kept_rows), config.bars)
        if too_few is not None:
            print_problems([f"in a gate run {too_few}"], style="yellow")
        golden = unlabelled(kept_rows)
        with open_answer_cache(cache or default_cache_folder(), role, wall=time.time) as answers:
            asking = AskingProd(config, prod, prices, scorer, answers, partial(build_store, known), concurrency)
            asking.confirm(golden, yes=yes)
            found, cost = asking.ask(golden, quiet=as_json)
        if found.broken_off is not None:
            kept = f"{counted(found.asked + found.kept, 'row')} of {len(golden):,} are answered and kept"
            print_problems([f"{found.broken_off}; nothing was written, {kept}: the same command goes on"])
            raise typer.Exit(EXIT_REFUSED if isinstance(found.broken_off, Refused) else EXIT_UNAVAILABLE)
        if not found.rows:
            raise Refused(f"{prod} has given no answer with a label: {'; '.join(list(found.without)[:3])}")
        write_golden(target, found.rows, model=prod, replace=replace)
    _answer(role, target, prod, sample, found, cost, as_json=as_json)


def _config(roles: Path, role: str) -> RoleConfig:
    check_role_name(role)
    known = load_roles(roles)
    if role not in known:
        there = ", ".join(sorted(known)) or "none"
        raise BadSettings(
            [f"{roles} has no file of role {role}; roles there: {there:.400}; name a folder with --roles"]
        )
    return known[role]


def _target(out: Path | None, config: RoleConfig) -> Path:
    target = out or config.golden
    if target is None:
        raise BadSettings([f"--out is missing, and {config.file or 'the role file'} names no `golden:` file"])
    return target


def _prod(store: Store, role: str) -> str:
    found = StoredRoles(store).required(role).role
    if found is None or found.prod is None:
        raise Refused(f"role {role} has no prod model yet; killswitch role show {role} shows its slots")
    return found.prod


def _draw(rows: int, seed: int) -> StratifiedDraw:
    try:
        return StratifiedDraw(rows, seed=seed)
    except ValueError as error:
        raise BadSettings([f"--rows {rows}: {error}"]) from error


def _drawn(
    config: RoleConfig,
    scorer: Scorer,
    log: Path | None,
    records: Path | None,
    rollout: str | None,
    draw: StratifiedDraw,
    *,
    quiet: bool,
) -> GoldenSample:
    label_of = partial(_label, scorer)
    if log is not None:
        with bar("reading", log.stat().st_size if log.is_file() else None, quiet=quiet) as seen:
            sample = sample_of_log(log, draw, label_of=label_of, system=config.system, seen=seen)
    else:
        assert records is not None, "one of the two is given"
        sample = sample_of_records(records, rollout or config.name, draw, label_of=label_of)
        said = "records keep texts only of answers that differed: these rows are harder than your traffic"
        print_problems([said], style="yellow")
    print_problems(unusable_in_words(sample), style="yellow")
    if not sample.rows:
        raise Refused(f'{log or records}: no row can be drawn; a line is {{"input": "…"}} or {{"messages": […]}}')
    return sample


def _label(scorer: Scorer, text: str) -> Label | None:
    """The label in an answer of the past, which only chooses the stratum."""
    return scorer.scored(Answer("", None, text, None, None, None, None, 1)).label


def _redaction(name: str | None) -> Redact | None:
    if name == _NO_REDACTION:
        return None
    return redact_forms if name is None else hook(name)


def _redacted(sample: GoldenSample, redact: Redact | None) -> tuple[SampleRow, ...]:
    if redact is None:
        return sample.rows
    done = redacted_rows(sample.rows, redact)
    if done.failed:
        print_problems([f"{counted(done.failed, 'row')} left out: --redact failed on them"], style="yellow")
    if done.changed:
        print_problems([f"personal data was taken out of {counted(done.changed, 'row')}"], style="yellow")
    return done.rows


def _answer(
    role: str, target: Path, prod: str, sample: GoldenSample, found: Labelled, cost: int, *, as_json: bool
) -> None:
    strata = Counter(row.stratum or "" for row in found.rows)
    document = {
        "role": role,
        "file": str(target),
        "rows": len(found.rows),
        "expect_from": prod,
        "strata": dict(strata.most_common()),
        "read": sample.read,
        "unusable": sample.unusable,
        "offered": sample.offered,
        "without_label": found.without,
        "asked": found.asked,
        "kept": found.kept,
        "cost_micros": cost,
    }
    for reason, number in found.without.items():
        print_problems([f"{counted(number, 'row')} left out, without a label of {prod}: {reason}"], style="yellow")
    show(document, as_json=as_json, otherwise=lambda: _say(document, strata, cost))


def _say(document: dict[str, Any], strata: Counter[str], cost: int) -> None:
    shown = [f"{name or 'no class'} {rows:,}" for name, rows in strata.most_common(_MOST_STRATA_SHOWN)]
    shown += [f"{len(strata) - len(shown):,} more"] if len(strata) > len(shown) else []
    say(f"{document['file']}: {counted(document['rows'], 'row')}: {', '.join(shown)}")
    kept = f", {counted(document['kept'], 'answer')} were there already" if document["kept"] else ""
    say(f"asking {document['expect_from']} cost {money_in_words(cost)}{kept}")
    say("the expected labels are prod's answers, not truth: read them, and correct what is wrong")
    say("the file holds texts of users: keep it where such texts may be")
