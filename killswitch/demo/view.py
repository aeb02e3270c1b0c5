"""The demo in a terminal: who serves whom, the verdicts, what happened, and the page. Fits into 80 x 24."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from killswitch.demo.processes import CANARY, CONTROL, PERCENT, ROLLOUT
from killswitch.demo.story import Mood, Story, clock_words
from killswitch.status.table import findings_table

_BAR = 20
_COLOURS = {Mood.PLAIN: "default", Mood.GOOD: "green", Mood.WARNING: "yellow", Mood.BAD: "bold red"}
_PAGED = ("reason", "samples_new", "samples_old", "auto_action")


def view(story: Story, state: Mapping[str, Any] | None) -> RenderableType:
    """One frame."""
    parts: list[RenderableType] = [_heading(story), _traffic(state)]
    seen = "the last 5 minutes" if story.tripped_at is None else "what it tripped on"
    parts.append(_panel(_verdicts(story), f"kill switch: {seen}"))
    parts.append(_panel(_timeline(story), "what happened"))
    if story.page is not None:
        parts.append(_panel(_page(story.page), f"page: {story.page['alert']}", colour="red"))
    return Group(*parts)


def _panel(content: RenderableType, title: str, *, colour: str = "dim") -> Panel:
    return Panel(content, title=Text(title), title_align="left", border_style=colour, box=ROUNDED)


def _heading(story: Story) -> Table:
    row = Table.grid(expand=True)
    row.add_column()
    row.add_column(justify="right")
    left = Text(ROLLOUT, style="bold")
    if story.tripped_at is None:
        left.append(f"  armed, {PERCENT:g}% canary", style="green not bold")
    else:
        left.append("  TRIPPED", style="bold red")
    if story.regressed_at is None and story.regresses_at is not None:
        left.append(f"  gets worse at {clock_words(story.regresses_at)}", style="dim not bold")
    right = Text(clock_words(story.now), style="bold")
    right.append(f" ({story.pace.speed:g} times faster)", style="dim not bold")
    row.add_row(left, right)
    return row


def _traffic(state: Mapping[str, Any] | None) -> Text:
    share = None if state is None else state["canary_share"]
    if state is None or share is None:
        return Text("no traffic yet", style="dim")
    canary = 0 if not share else max(1, round(share * _BAR))
    text = Text("█" * (_BAR - canary), style="blue").append("█" * canary, style="magenta")
    text.append(f"  {CONTROL} {1 - share:.1%}", style="blue").append(f"  {CANARY} {share:.1%}", style="magenta")
    served = state["control"]["requests"] + state["canary"]["requests"]
    return text.append(f"  of {served:,} requests", style="dim")


def _verdicts(story: Story) -> RenderableType:
    if story.judged_at is None:
        return Text(f"waiting for the first numbers of {CANARY}: a rate needs two scrapes", style="dim")
    # the trip's own line says since when, and 24 lines are few
    return findings_table(story.findings, window=story.window, since_below=False)


def _timeline(story: Story) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column()
    for event in story.events:
        table.add_row(clock_words(event.at), Text(event.text, style=_COLOURS[event.mood]))
    return table


def _page(page: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name in _PAGED:
        if name in page:
            number = isinstance(page[name], int)
            table.add_row(name, Text(f"{page[name]:,}" if number else str(page[name])))
    return table
