"""The demo in a terminal: both cohorts, the verdicts, the flip and the page, redrawn as they change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from killswitch.demo.stage import CANARY, CONTROL
from killswitch.demo.story import Story, clock_words
from killswitch.findings_table import findings_table

_BAR = 40


def view(story: Story, state: Mapping[str, Any] | None, status: Mapping[str, Any] | None) -> RenderableType:
    """One frame."""
    parts: list[RenderableType] = [_heading(story, state), _cohorts(state)]
    rollout = next(iter(status["rollouts"]), None) if status is not None else None
    if rollout is not None:
        parts.append(Panel(_verdicts(rollout), title="kill switch", title_align="left", border_style="dim"))
    if story.page is not None:
        parts.append(Panel(_page(story.page), title="page", title_align="left", border_style="red"))
    return Group(*parts)


def _heading(story: Story, state: Mapping[str, Any] | None) -> Text:
    text = Text(f"simulated time {clock_words(story.now)} (x{story.pace.speed:g})", style="bold")
    if story.regressed_at is not None:
        text.append(f"   {CANARY} is worse since {clock_words(story.regressed_at)}", style="bold yellow")
    elif state is not None and state["regression_at"] is not None:
        text.append(f"   {CANARY} will get worse at {clock_words(state['regression_at'])}", style="dim")
    if story.tripped_at is not None:
        text.append(f"   TRIPPED at {clock_words(story.tripped_at)}", style="bold red")
    return text


def _cohorts(state: Mapping[str, Any] | None) -> RenderableType:
    if state is None:
        return Text("the service is starting", style="dim")
    share = state["canary_share"]
    filled = 0 if not share else max(1, round(share * _BAR))
    bar = Text("█" * filled, style="magenta") + Text("█" * (_BAR - filled), style="blue")
    words = "no traffic yet" if share is None else f"{share:.1%} of requests to {CANARY}"
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("model", "requests", "errors", "refusals", "thumbs-down"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for model, cohort, colour in ((CONTROL, "control", "blue"), (CANARY, "canary", "magenta")):
        tally = state[cohort]
        served = max(tally["requests"], 1)
        rates = (f"{tally[key] / served:.2%}" for key in ("errors", "refused", "thumbs_down"))
        table.add_row(Text(f"{model} ({cohort})", style=colour), f"{tally['requests']:,}", *rates)
    return Group(bar + Text(f"  {words}"), table)


def _verdicts(rollout: Mapping[str, Any]) -> RenderableType:
    sentence = Text(str(rollout["sentence"]), style="bold red" if rollout["state"] == "tripped" else "")
    if not rollout["findings"]:
        return sentence
    return Group(findings_table(rollout["findings"]), sentence)


def _page(page: Mapping[str, Any]) -> Text:
    fields = ("alert", "reason", "stage", "ts", "samples_new", "samples_old", "auto_action")
    return Text("\n".join(f"{name}: {page[name]}" for name in fields if name in page))
