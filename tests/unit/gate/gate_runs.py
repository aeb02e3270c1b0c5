"""One gate run with models that say what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from killswitch.gate.answer_cache import GateAnswers, open_answer_cache
from killswitch.gate.golden import GoldenSet
from killswitch.gate.judging import judged
from killswitch.gate.provider_failures import Judge
from killswitch.gate.recording import EndedRun, RunFacts, ended_run
from killswitch.gate.row_order import drawn_order
from killswitch.gate.run_budget import RunBudget
from killswitch.gate.running import AsksModel, GateAsk, GateRun, GateRunning
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.spend.prices import PriceList
from tests.doubles.clock import VirtualClock
from tests.doubles.said_models import ListedProgress, SaidModel, WordScorer

PROD, CANDIDATE = "model-old", "model-new"
ROLE = RoleConfig("triage", RoleEndpoint("openai"), label="$")


@dataclass
class Trial:
    """``stop_at``: a person stops it once this many rows are finished."""

    golden: GoldenSet
    folder: Path
    prod: AsksModel = field(default_factory=lambda: SaidModel(PROD))
    candidate: AsksModel = field(default_factory=lambda: SaidModel(CANDIDATE))
    config: RoleConfig = ROLE
    concurrency: int = 4
    patience: float = 600.0
    stop_at: int | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    pause: Callable[[float], bool] | None = None
    over: threading.Event = field(default_factory=threading.Event)
    told: ListedProgress = field(default_factory=ListedProgress)

    @property
    def judge(self) -> Judge:
        return lambda seen: judged(seen, self.config.bars, rows=len(self.golden.rows))

    @property
    def budget(self) -> RunBudget:
        return RunBudget(PriceList([]), most=None, ledger=None, wall=self.clock.wall, stopped=self.over.is_set)

    def opened(self, answers: GateAnswers, budget: RunBudget | None = None) -> GateRunning:
        ask = GateAsk(
            order=drawn_order(self.golden),
            setup=self.config.asking(PROD, CANDIDATE),
            prod=self.prod,
            candidate=self.candidate,
            scorer=WordScorer(),
            judge=self.judge,
            concurrency=self.concurrency,
            patience=self.patience,
        )
        return GateRunning(
            ask,
            answers,
            budget or self.budget,
            over=self.over,
            stop=lambda: self.stop_at is not None and len(self.told.rows) >= self.stop_at,
            progress=self.told,
            monotonic=self.clock.monotonic,
            pause=self.pause,
        )

    def run(self, budget: RunBudget | None = None) -> GateRun:
        with open_answer_cache(self.folder, self.config.name, wall=self.clock.wall) as answers:
            return self.opened(answers, budget).run()

    def ended(self) -> EndedRun:
        run = self.run()
        facts = RunFacts(self.config, self.golden, PROD, CANDIDATE, False, 10.0, 20.0, "me", 0)
        return ended_run(run, facts, self.judge)
