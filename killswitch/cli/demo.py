"""``killswitch demo``: a simulated bad canary, and the kill switch that catches it."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from killswitch.cli.console import out
from killswitch.cli.invocation import errors_as_messages, fail, say
from killswitch.demo.pace import FASTEST, MOST_REQUESTS, Pace
from killswitch.demo.processes import DemoProcesses
from killswitch.demo.story import Story, clock_words
from killswitch.demo.traffic import Regression
from killswitch.demo.view import view
from killswitch.errors import Refused
from killswitch.timestamps import DAY

FRAME = 0.25
GIVE_UP_AFTER = 1200.0  # simulated seconds after the regression
HOLD_FOR = 300.0  # simulated seconds that a healthy canary is watched for beyond ``after``
SETTLE_SECONDS = 15.0  # real seconds that the page and the routers may take after the flip
PICTURE_WIDTH = 100


def command(
    regression: Annotated[Regression, typer.Option(help="What gets worse in the canary.")] = Regression.REFUSALS,
    speed: Annotated[float, typer.Option(min=1, max=FASTEST, help="Simulated seconds per second.")] = 10.0,
    after: Annotated[
        float, typer.Option(min=60, max=DAY, help="Simulated seconds before the canary gets worse.")
    ] = 420.0,
    real: Annotated[
        bool, typer.Option("--real", help="Use a real etcd and Prometheus, which must be installed.")
    ] = False,
    rate: Annotated[float, typer.Option(min=1, max=MOST_REQUESTS, help="Requests per simulated second.")] = 100.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers: another seed, other users.")] = 1,
    picture: Annotated[Path | None, typer.Option(help="Save the last frame as an SVG.", show_default=False)] = None,
) -> None:
    """Watch a simulated canary go bad, the kill switch trip, and the page arrive.

    Everything that the demo starts is removed at its end.
    """
    if rate * speed > MOST_REQUESTS:
        fail(f"--rate times --speed is {rate * speed:g} requests a real second; give at most {MOST_REQUESTS:g}")
    with errors_as_messages():
        story = Story(regression, Pace(speed))
        servers = "a real etcd and Prometheus" if real else "the embedded store and source"
        say(f"a simulated LLM service, and the daemon with {servers}; Ctrl-C ends both")
        try:
            with _terminated_as_interrupted():
                processes = DemoProcesses(
                    pace=story.pace, real=real, rate=rate, seed=seed, tell=lambda line: say(f"  {line}")
                )
                with processes:
                    _watch(processes, story, after, picture)
        except KeyboardInterrupt:
            say("\nended early; everything that was started is removed")
            raise typer.Exit(130) from None
    out.print()
    for line in story.lines():
        out.print(Text(line), soft_wrap=not out.is_terminal)
    if not story.ended_well:
        raise typer.Exit(1)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP (a closed terminal) end the demo like Ctrl-C, with everything removed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(processes: DemoProcesses, story: Story, after: float, picture: Path | None) -> None:
    processes.arm()
    story.began = processes.began
    if story.regression is not Regression.NONE:
        processes.regress(story.regression, after)
    until = after + (HOLD_FOR if story.regression is Regression.NONE else GIVE_UP_AFTER)
    tripped: float | None = None
    printed = 0
    with Live(console=out, auto_refresh=False, transient=not out.is_terminal) as live:
        while True:
            processes.check_running()
            state, status = processes.service_state(), processes.status()
            story.observe(state, status, processes.pages, processes.tripped())
            frame = view(story, state)
            if out.is_terminal:
                live.update(frame, refresh=True)
            else:
                printed = _print_events(story, printed)
            if story.tripped_at is not None and tripped is None:
                tripped = time.monotonic()
            settled = tripped is not None and time.monotonic() - tripped > SETTLE_SECONDS
            if story.over or story.now >= until or settled:
                break
            time.sleep(FRAME)
    if picture is not None:
        _save(Group(frame, Text("\n".join(["", *story.lines()]))), picture)


def _save(frame: RenderableType, picture: Path) -> None:
    canvas = Console(record=True, file=io.StringIO(), width=PICTURE_WIDTH, force_terminal=True)
    canvas.print(frame)
    # a picture in a README must not load fonts from another server
    drawing = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", canvas.export_svg(title="killswitch demo"))
    try:
        picture.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise Refused(f"the picture cannot be saved in {picture}: {error.strerror}") from error


def _print_events(story: Story, printed: int) -> int:
    """Without a terminal, print a line for each new event. Returns how many have been printed."""
    for event in story.events[printed:]:
        say(f"{clock_words(event.at):>7}  {event.text}")
    return len(story.events)
