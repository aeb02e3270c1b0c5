"""Asks prod for the labels of a drawn golden set: what it costs at most, a question, a progress bar, Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from killswitch.cli.console import err
from killswitch.cli.invocation import confirm
from killswitch.cli.stopping import stopping
from killswitch.gate.answer_cache import GateAnswers
from killswitch.gate.golden import GoldenRow
from killswitch.gate.labelling import LabelAsk, Labelled, kept_keys, labelled
from killswitch.gate.role_model import RoleModel
from killswitch.gate.role_spending import most_micros, role_ledger
from killswitch.gate.run_budget import RunBudget
from killswitch.gate.scoring import Scorer
from killswitch.roles.config import RoleConfig
from killswitch.spend.prices import PriceList
from killswitch.stores import Store
from killswitch.wording import counted, money_in_words, plain


@dataclass(frozen=True, slots=True)
class AskingProd:
    """``store`` opens one for the spend ledger, where the role has a cap a day."""

    config: RoleConfig
    prod: str
    prices: PriceList
    scorer: Scorer
    answers: GateAnswers
    store: Callable[[], Store]
    concurrency: int

    def confirm(self, golden: tuple[GoldenRow, ...], *, yes: bool) -> None:
        """Say what asking costs at most, and ask unless ``yes``; nothing where every answer is kept."""
        keys = kept_keys(golden, setup=self.config.asking(self.prod), model=self.prod)
        new = [row for row in golden if self.answers.kept(keys[row.id]) is None]
        if not new:
            return
        with closing(self._model(None, threading.Event().wait)) as model:
            most = most_micros((row.messages for row in new), model, self.prices, at=time.time())
        cost = "an amount that is not known" if most is None else f"at most {money_in_words(most)}"
        kept = f"; {counted(len(golden) - len(new), 'answer')} are kept already" if len(new) < len(golden) else ""
        confirm(f"{counted(len(new), 'row')} will be asked of {self.prod}, which costs {cost}{kept}", yes=yes)

    def ask(self, golden: tuple[GoldenRow, ...], *, quiet: bool) -> tuple[Labelled, int]:
        """Prod's labels, and what they have cost in micro-dollars."""
        over = threading.Event()
        store = self.store if self.config.max_micros_a_day is not None else None
        with (
            stopping() as stop,
            role_ledger(self.config, self.prices, store) as ledger,
            bar(f"asking {plain(self.prod, 60)}", len(golden), quiet=quiet) as step,
        ):

            def stopped() -> bool:
                return stop.asked or over.is_set()

            budget = RunBudget(self.prices, most=None, ledger=ledger, wall=time.time, stopped=stopped)
            with closing(self._model(budget, lambda seconds: stop.wait(seconds) or over.is_set())) as model:
                ask = LabelAsk(
                    prod=model,
                    scorer=self.scorer,
                    setup=self.config.asking(self.prod),
                    concurrency=self.concurrency,
                    stopped=stopped,
                    end=over.set,
                    done=_Steps(step),
                )
                return labelled(golden, ask, self.answers), budget.spent

    def _model(self, budget: RunBudget | None, pause: Callable[[float], bool]) -> RoleModel:
        return RoleModel(self.prod, self.config, prices=self.prices, ledger=budget, pause=pause)


class _Steps:
    """Turns how many rows are done into steps of a bar."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self._step = step
        self._before = 0

    def __call__(self, done: int) -> None:
        self._step(done - self._before)
        self._before = done


@contextmanager
def bar(what: str, total: int | None, *, quiet: bool) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere; what it gives takes steps."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda step: progress.advance(task, step)
