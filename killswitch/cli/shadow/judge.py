"""``killswitch shadow judge``: another model says which of two answers is better."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    RolloutArgument,
    SettingsOption,
    StoreOption,
    errors_as_messages,
    fail,
    print_problems,
    say,
    show,
)
from killswitch.cli.stopping import StopSignal, stopping
from killswitch.daemon.settings import load_settings
from killswitch.daemon.wiring import build_store
from killswitch.errors import BadSettings
from killswitch.shadow.judge.judging import JudgeRun
from killswitch.shadow.judge.labels import write_unlabelled
from killswitch.shadow.judge.opening import OpenJudge, open_judge, waiting_pairs
from killswitch.shadow.judge.settings import load_judge_settings
from killswitch.shadow.judge.spending import judge_ledger
from killswitch.shadow.judge.summary import document_of, sentences
from killswitch.shadow.judge.verdicts import read_findings
from killswitch.shadow.pairs import no_pairs_of, rollouts_in
from killswitch.stores import Store
from killswitch.wording import counted

RecordsOption = Annotated[
    Path,
    typer.Option(
        "--records", envvar="KILLSWITCH_SHADOW_RECORDS", help="The folder of recorded pairs.", show_default=False
    ),
]
JudgeFileOption = Annotated[
    Path | None,
    typer.Option("--judge", help="A YAML or JSON file of the judge's settings (`judge:`).", show_default=False),
]
ModelOption = Annotated[str | None, typer.Option(help="The judge's model, of another family than the canary's.")]
EndpointOption = Annotated[str | None, typer.Option("--url", help="The API's base: https://host/v1.")]
ProtocolOption = Annotated[str | None, typer.Option(help="openai (chat completions) or anthropic (messages).")]
KeyFileOption = Annotated[Path | None, typer.Option(help="A file with the judge's own API key.")]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="People's verdicts, JSON lines, to measure the judge's agreement with.", show_default=False),
]
ToLabelOption = Annotated[
    Path | None,
    typer.Option(
        "--write-pairs-to-label",
        help="Judge nothing: write up to 100 of the waiting pairs to this new file, for people to label.",
        show_default=False,
    ),
]
ShareOption = Annotated[float | None, typer.Option(help="Share of the recorded pairs that --kept judges, 0 to 1.")]
MostOption = Annotated[int | None, typer.Option("--max-pairs-a-day", help="Pairs judged in a day (UTC), at most.")]
InsistOption = Annotated[bool, typer.Option("--insist", help="Judge a canary of the judge's own family.")]
KeptOption = Annotated[bool, typer.Option("--kept", help="Also judge recorded pairs whose texts were kept.")]
FollowOption = Annotated[bool, typer.Option("--follow", help="Go on with pairs that come, until stopped.")]

LOOK_EVERY = 10.0  # seconds
LOOK_AGAIN = 300.0  # after a cap or failures ended a look


def command(
    rollout: RolloutArgument,
    records: RecordsOption,
    judge: JudgeFileOption = None,
    model: ModelOption = None,
    url: EndpointOption = None,
    protocol: ProtocolOption = None,
    key_file: KeyFileOption = None,
    labels: LabelsOption = None,
    write_pairs_to_label: ToLabelOption = None,
    share: ShareOption = None,
    max_pairs_a_day: MostOption = None,
    insist: InsistOption = False,
    kept: KeptOption = False,
    follow: FollowOption = False,
    store: StoreOption = None,
    daemon_settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let another model say which answer is better: each pair in both orders, a verdict that flips is a tie.

    Judges the pairs that wait for it. Verdicts are kept, so no pair is paid for twice. The win rate decides nothing
    until the judge agrees with people's labels. Exits with 1 if the judge was refused or kept failing.
    """
    with errors_as_messages(), stopping() as stop:
        if rollout not in rollouts_in(records):
            _say_unknown(records, rollout, may_come=follow or labels is not None)
        if write_pairs_to_label is not None:
            _write_to_label(records, rollout, write_pairs_to_label)
            return
        settings = load_judge_settings(
            judge,
            model=model,
            url=url,
            protocol=protocol,
            key_file=key_file,
            share=share,
            max_pairs_a_day=max_pairs_a_day,
            insist=insist or None,
        )
        with (
            judge_ledger(settings, partial(_opened_store, store, daemon_settings), rollout) as ledger,
            open_judge(settings, records, rollout, ledger=ledger, pause=stop.wait, stop=lambda: stop.asked) as opened,
        ):
            runs = [] if labels is None else [opened.judge_labels(labels)]
            runs += _judge(opened, kept=kept, stop=stop, follow=follow)
        _answer(records, rollout, opened, runs, as_json=as_json)
    if any(run.stopped_by in {"refused", "failing", "family"} for run in runs):
        raise typer.Exit(EXIT_UNWANTED)


def _say_unknown(records: Path, rollout: str, *, may_come: bool) -> None:
    """Raises BadSettings for a rollout without a folder, because its name is most often mistyped."""
    if not may_come:
        raise BadSettings([no_pairs_of(records, rollout)])
    print_problems([f"{no_pairs_of(records, rollout)}; going on without"], style="yellow")


def _write_to_label(records: Path, rollout: str, path: Path) -> None:
    written = write_unlabelled(path, waiting_pairs(records, rollout, share=1.0).take())
    if not written:
        fail("no pair waits for the judge, so none can be labelled; run the worker with --judge-share", EXIT_UNWANTED)
    say(
        f"{path}: {counted(written, 'pair')}. Into each line's label write control, candidate (the canary) or tie; "
        "then give the file with --labels"
    )


def _opened_store(url: str | None, daemon_settings: Path | None) -> Store:
    return build_store(load_settings(daemon_settings, store=url))


def _judge(opened: OpenJudge, *, kept: bool, stop: StopSignal, follow: bool) -> list[JudgeRun]:
    """The first look at each source, and with ``follow`` the newest one, too."""
    runs = [opened.judge_waiting()]
    if kept:
        runs.append(opened.judge_kept())
    newest = runs[0]
    while follow and newest.stopped_by not in {"refused", "family"}:
        if stop.wait(LOOK_AGAIN if newest.stopped else LOOK_EVERY):
            break
        newest = opened.judge_waiting()
    return runs if newest is runs[0] else [*runs, newest]


def _answer(records: Path, rollout: str, opened: OpenJudge, runs: list[JudgeRun], *, as_json: bool) -> None:
    expired = sum(run.expired for run in runs)
    if expired:
        said = f"{counted(expired, 'pair')} waited over `wait_hours` and were deleted unjudged"
        print_problems([said], style="yellow")
    findings = read_findings(records, rollout, by=opened.settings.by)
    assert findings is not None, "each run leaves its sweep"
    document = {"rollout": rollout, "findings": document_of(findings)}

    def in_words() -> None:
        for sentence in sentences(findings):
            say(f"{rollout}: {sentence}")
        if not any(run.pairs or run.skipped for run in runs):
            say(f"{rollout}: no pair waits for the judge; `killswitch shadow worker` hands pairs over")

    show(document, as_json=as_json, otherwise=in_words)
