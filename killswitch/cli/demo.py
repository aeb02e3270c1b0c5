"""``killswitch demo``: watch a bad canary being caught."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live

from killswitch.cli.invocation import errors_as_messages, out, say
from killswitch.demo.pace import FASTEST, Pace
from killswitch.demo.stage import DemoStage
from killswitch.demo.story import Story
from killswitch.demo.traffic import Regression
from killswitch.demo.view import view
from killswitch.wording import duration_in_words

FRAME = 0.5
GIVE_UP_AFTER = 3600.0  # simulated seconds after the regression
SETTLE_SECONDS = 15.0  # real seconds: what page and routers may take after the flip


def command(
    regression: Annotated[Regression, typer.Option(help="What gets worse in the canary.")] = Regression.REFUSALS,
    speed: Annotated[float, typer.Option(min=1, max=FASTEST, help="Simulated seconds a second.")] = 10.0,
    after: Annotated[float, typer.Option(min=60, help="Healthy simulated seconds before it gets worse.")] = 600.0,
    real: Annotated[bool, typer.Option("--real", help="Use a real etcd and Prometheus (must be installed).")] = False,
    rate: Annotated[float, typer.Option(min=1, help="Requests a simulated second.")] = 100.0,
    seed: Annotated[int, typer.Option(help="Another seed, other users.")] = 1,
) -> None:
    """Watch a simulated canary go bad, the kill switch trip, and the page arrive. Cleans up after itself."""
    with errors_as_messages():
        pace = Pace(speed)
        story = Story(regression, pace)
        servers = "a real etcd and Prometheus" if real else "the embedded flag store and source"
        say(f"starting a simulated LLM service and the daemon on {servers}; Ctrl-C ends it all")
        stage = DemoStage(pace=pace, regression=regression, regress_after=after, real=real, rate=rate, seed=seed)
        try:
            with stage:
                _watch(stage, story, after)
        except KeyboardInterrupt:
            say("\nended early; everything it started is gone")
            raise typer.Exit(130) from None
    for line in story.lines():
        say(line)
    if (story.tripped_at is None) != (regression is Regression.NONE):
        raise typer.Exit(1)


def _watch(stage: DemoStage, story: Story, after: float) -> None:
    until = 2 * after if story.regression is Regression.NONE else after + GIVE_UP_AFTER
    tripped: float | None = None
    told = ""
    with Live(console=out, auto_refresh=False, transient=not out.is_terminal) as live:
        while True:
            stage.check_running()
            state, status = stage.service_state(), stage.status()
            story.observe(state, status, stage.receiver.pages)
            if out.is_terminal:
                live.update(view(story, state, status), refresh=True)
            else:
                told = _tell(story, status, told)
            if story.tripped_at is not None and tripped is None:
                tripped = time.monotonic()
            if story.over or story.now >= until:
                return
            if tripped is not None and time.monotonic() - tripped > SETTLE_SECONDS:
                return
            time.sleep(FRAME)


def _tell(story: Story, status: dict[str, object] | None, told: str) -> str:
    """Without a terminal: a line whenever the daemon's sentence changes."""
    rollouts = (status or {}).get("rollouts")
    sentence = rollouts[0]["sentence"] if isinstance(rollouts, list) and rollouts else ""
    if sentence and sentence != told:
        say(f"{duration_in_words(round(story.now)) or '0s':>8}  {sentence}")
    return sentence or told
