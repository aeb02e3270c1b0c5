"""Fills the expected labels of a drawn golden set with what prod says now, and writes the set.

These labels are prod's and no truth: each row says so (``expect_from``), until a person has read it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from killswitch.errors import BadSettings, KillswitchError, Unavailable
from killswitch.gate.answer_cache import AnswerKey, GateAnswers
from killswitch.gate.answers import ScoredAnswer
from killswitch.gate.golden import GoldenRow, Label, Message
from killswitch.gate.report.differences import harmless
from killswitch.gate.row_order import RowCall, asked_hash
from killswitch.gate.running import AsksModel, ScoresAnswers
from killswitch.gate.sample_sources import SampleRow, as_input, spelled
from killswitch.private_files import new_private_file, sync_folder

FROM_PROD: Final = "prod"
_ID_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Labelled:
    """``rows``: those that prod has given a label, in the order drawn. ``without``: how many have none, by reason.

    ``asked`` rows were asked now, and ``kept`` answers were there from before. ``broken_off``: why it ended early, None
    where every row was asked; a Refused must be fixed first, after anything else the same may be tried again.
    """

    rows: tuple[GoldenRow, ...]
    without: Mapping[str, int]
    asked: int
    kept: int
    broken_off: KillswitchError | None


@dataclass(frozen=True, slots=True)
class LabelAsk:
    """``setup``: the hash of how prod is asked. ``stopped``: whether a person wants the end; ``end`` makes it so for
    calls that wait. ``done`` is told how many rows are finished, of how many.
    """

    prod: AsksModel
    scorer: ScoresAnswers
    setup: str
    concurrency: int
    stopped: Callable[[], bool]
    end: Callable[[], None]
    done: Callable[[int], None]


def unlabelled(rows: Iterable[SampleRow]) -> tuple[GoldenRow, ...]:
    """The drawn rows with ids of their own, which the input alone decides; their labels are still empty."""
    return tuple(
        GoldenRow(_id(one.messages), one.messages, "", line, one.stratum or None, FROM_PROD)
        for line, one in enumerate(rows, 1)
    )


def _id(messages: Sequence[Message]) -> str:
    return hashlib.sha256(spelled(messages)).hexdigest()[:_ID_DIGITS]


def kept_keys(rows: Iterable[GoldenRow], *, setup: str, model: str) -> dict[str, AnswerKey]:
    """Where ``model``'s answer to each row is kept, by the row's id."""
    return {row.id: AnswerKey(f"sample:{setup}", model, asked_hash(row), RowCall.PROD) for row in rows}


def labelled(rows: Sequence[GoldenRow], ask: LabelAsk, answers: GateAnswers) -> Labelled:
    """Ask prod for every row whose answer is not kept. Every answer is on the disk before it counts.

    A failed call is asked again by the next sample. Raises what is a bug.
    """
    keys = kept_keys(rows, setup=ask.setup, model=ask.prod.model)
    scored: dict[str, ScoredAnswer] = {}
    for row in rows:
        answer = answers.kept(keys[row.id])
        if answer is not None:
            scored[row.id] = ask.scorer.scored(answer)
    kept = len(scored)
    broken_off: KillswitchError | None = None
    with ThreadPoolExecutor(ask.concurrency, "killswitch-sample") as pool:
        futures = [pool.submit(_asked, row, keys[row.id], ask, answers) for row in rows if row.id not in scored]
        for future in as_completed(futures):
            found = _result(future)
            if isinstance(found, KillswitchError):
                broken_off = broken_off or found
            elif found is not None:
                scored[found[0]] = found[1]
                ask.done(len(scored))
    if broken_off is None and len(scored) < len(rows):
        broken_off = Unavailable("it was stopped")
    return _labelled(rows, scored, kept, broken_off)


def _asked(row: GoldenRow, key: AnswerKey, ask: LabelAsk, answers: GateAnswers) -> tuple[str, ScoredAnswer] | None:
    if ask.stopped():
        return None
    try:
        answer = ask.prod.ask(row.messages)
    except KillswitchError:
        ask.end()  # here already: this thread must not take another row
        raise
    if answer.text is not None:
        answers.keep(key, answer)
    return row.id, ask.scorer.scored(answer)


def _result(
    future: Future[tuple[str, ScoredAnswer] | None],
) -> tuple[str, ScoredAnswer] | KillswitchError | None:
    """What a worker found; an error after which nothing more can be asked."""
    try:
        return future.result()
    except KillswitchError as error:
        return error


def _labelled(
    rows: Sequence[GoldenRow], scored: Mapping[str, ScoredAnswer], kept: int, broken_off: KillswitchError | None
) -> Labelled:
    without = Counter[str]()
    found: list[GoldenRow] = []
    for place, row in enumerate(rows):
        one = scored.get(row.id)
        if one is None:
            continue
        if one.label is None:
            without[harmless(one.problem or "no label")] += 1
        else:
            found.append(with_label(row, one.label, place + 1))
    return Labelled(tuple(found), dict(without.most_common()), len(scored) - kept, kept, broken_off)


def with_label(row: GoldenRow, label: Label, line: int) -> GoldenRow:
    return GoldenRow(row.id, row.messages, label, line, row.stratum, FROM_PROD)


def write_golden(path: Path, rows: Sequence[GoldenRow], *, model: str, replace: bool) -> None:
    """Write a golden file, whole or not at all, for its owner alone: it holds what users wrote.

    Raises BadSettings where there is a file already, unless it is to be replaced, and where it cannot be written.
    """
    check_target(path, replace=replace)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_private_file(temporary) as file:
            for row in rows:
                file.write(json.dumps(_document(row, model), ensure_ascii=False).encode() + b"\n")
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # fails where another process has made the file since
            temporary.unlink()
        sync_folder(path.parent)
    except FileExistsError:
        temporary.unlink(missing_ok=True)
        check_target(path, replace=replace)
        raise
    except OSError as error:
        raise BadSettings([f"--out {path}: {error.strerror or error}"]) from error


def check_target(path: Path, *, replace: bool) -> None:
    """Raises BadSettings where a file is there that must stay."""
    if path.is_dir():
        raise BadSettings([f"--out {path}: it is a folder; name a file, such as {path}/golden.jsonl"])
    if path.exists() and not replace:
        raise BadSettings([f"--out {path}: there is a file already; use --replace, or name another"])


def _document(row: GoldenRow, model: str) -> dict[str, Any]:
    named = {} if row.stratum is None else {"class": row.stratum}
    return {
        "id": row.id,
        "input": as_input(row.messages),
        "expect_label": json.loads(row.expect_label),
        **named,
        "expect_from": row.expect_from,
        "expect_model": model,
    }
