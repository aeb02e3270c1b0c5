"""What a gate run adds to the calls that it makes: 200 rows at concurrency 8, against a model that answers in 200 ms.

The provider is a process of its own that speaks OpenAI's HTTP. With no overhead at all, ``calls`` calls take
``calls / 8 * 0.2`` s. The processor time of the run says what a busy machine adds to the wall time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from killswitch.gate.answer_cache import open_answer_cache
from killswitch.gate.golden import GoldenRow, GoldenSet, version_of
from killswitch.gate.judging import GateOutcome
from killswitch.gate.opening import GateQuestion, opened_models
from killswitch.gate.run_budget import RunBudget
from killswitch.gate.running import GateAsk, GateRunning
from killswitch.gate.scoring import Scorer
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.spend.prices import Price, PriceList
from tests.doubles.model_providers import OpenAIProvider

SCHEMA = {"type": "object", "required": ["label"], "properties": {"label": {"type": "string"}}}
MODELS = ("model-old", "model-new")


class _NoView:
    """Nothing is shown."""

    def row(self, done: int, spent: int) -> None: ...

    def look(self, outcome: GateOutcome, rows: int) -> None: ...

    def ending(self, why: str) -> None: ...


def measured(rows: int, concurrency: int, seconds: float) -> dict[str, float]:
    """Wall and processor seconds of a run that asks all rows, and the seconds of its calls alone."""
    golden = _golden(rows)
    prices = PriceList([Price(model, 0.0, *[2_000_000] * 5) for model in MODELS])
    over = threading.Event()
    with _provider(seconds) as url, tempfile.TemporaryDirectory() as folder, _key(Path(folder)) as key:
        endpoint = RoleEndpoint("openai", url=url, key_file=key, parameters={"temperature": 0})
        config = RoleConfig("bench", endpoint, schema=SCHEMA)
        question = GateQuestion(config, golden, *MODELS, point_estimates=True)
        budget = RunBudget(prices, most=None, ledger=None, wall=time.time, stopped=over.is_set)
        with (
            open_answer_cache(Path(folder), "bench", wall=time.time) as answers,
            opened_models(question, prices, budget, over.wait) as (prod, candidate),
        ):
            ask = GateAsk(
                order=question.order,
                setup=question.setup,
                prod=prod,
                candidate=candidate,
                scorer=Scorer(config),
                judge=question.judge,
                concurrency=concurrency,
                sequential=False,
            )
            wall, processor = time.perf_counter(), time.process_time()
            run = GateRunning(ask, answers, budget, over=over, stop=lambda: False, progress=_NoView()).run()
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
    assert run.broken_off is None, run.broken_off
    assert len(run.results) == rows
    return {
        "calls": run.asked,
        "wall": wall,
        "processor": processor,
        "least": math.ceil(run.asked / concurrency) * seconds,
        # on a busy machine the provider's own process answers late
        "answered": sum(one.prod.answer.seconds or 0.0 for one in run.results) / rows,
    }


def _golden(rows: int) -> GoldenSet:
    text = "The app crashes whenever I open the settings, and support has not answered for a week. "
    found = [
        GoldenRow(f"r{number}", ({"role": "user", "content": f"{text}{number}"},), '"bug"', number + 1)
        for number in range(rows)
    ]
    return GoldenSet(tuple(found), version_of(found))


@contextmanager
def _provider(seconds: float) -> Iterator[str]:
    """The address of a provider in a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, seconds), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join(10)


def _serve(pipe: Connection, seconds: float) -> None:
    with OpenAIProvider(answer=lambda _model, _prompt: json.dumps({"label": "bug"})) as provider:
        provider.seconds = dict.fromkeys(MODELS, seconds)
        pipe.send(provider.url)
        pipe.recv()


@contextmanager
def _key(folder: Path) -> Iterator[Path]:
    path = folder / "key"
    path.write_text("bench-key")
    yield path


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.2)
    given = parser.parse_args(arguments)
    found = measured(given.rows, given.concurrency, given.seconds)
    print(
        f"{given.rows} rows, {found['calls']:.0f} calls, {given.concurrency} at once: {found['wall']:.2f} s, where the "
        f"calls alone take {found['least']:.2f} s ({found['wall'] / found['least'] - 1:+.1%}); processor "
        f"{found['processor']:.2f} s; a call of prod took {1000 * found['answered']:.0f} ms"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
