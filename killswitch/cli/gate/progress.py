"""What a person sees while a gate run goes on: a bar on a terminal, a line now and then elsewhere. All on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from killswitch.cli import console
from killswitch.cli.terminal import one_line
from killswitch.gate.judging import GateOutcome
from killswitch.roles.gate_record import GateVerdict
from killswitch.wording import counted, money_in_words

_EVERY: Final = 15.0  # seconds between two lines where there is no terminal


class GateView:
    """Shows a run of at most ``total`` rows. ``bar`` None: lines are printed. ``clock``: monotonic seconds."""

    def __init__(self, total: int, bar: tuple[Progress, TaskID] | None, clock: Callable[[], float]) -> None:
        self._total = total
        self._bar = bar
        self._clock = clock
        self._said_at = clock()

    def row(self, done: int, spent: int) -> None:
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=done, spent=money_in_words(spent))
        elif self._clock() - self._said_at >= _EVERY:
            self._said_at = self._clock()
            self._say(f"{done:,} of {counted(self._total, 'row')} asked, {money_in_words(spent)} spent")

    def look(self, outcome: GateOutcome, rows: int) -> None:
        if outcome.verdict is GateVerdict.TOO_FEW_ROWS and rows < self._total:
            self._say(f"after {counted(rows, 'row')}: not clear yet, asking more")

    def ending(self, why: str) -> None:
        self._say(f"no further call: {why}; calls under way are waited for")

    def _say(self, text: str) -> None:
        target = console.err if self._bar is None else self._bar[0].console
        target.print(one_line(text), style="dim", markup=False, soft_wrap=True)


@contextmanager
def shown(total: int) -> Iterator[GateView]:
    """The view of a run."""
    if not console.err.is_terminal:
        yield GateView(total, None, time.monotonic)
        return
    columns = (
        TextColumn("asking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows at most"),
        TextColumn("{task.fields[spent]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.err, refresh_per_second=4, transient=True) as progress:
        task = progress.add_task("asking", total=total, spent=money_in_words(0))
        yield GateView(total, (progress, task), time.monotonic)
