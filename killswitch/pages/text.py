"""A page as plain text: its tables in columns, the time and the exposure, and the whole page."""

from __future__ import annotations

from collections.abc import Sequence

from killswitch.pages.page import Page, RuleRow
from killswitch.pages.stage_rows import COLUMNS, StageRow
from killswitch.wording import date_and_time


def table_lines(rows: Sequence[RuleRow]) -> tuple[str, ...]:
    """The rules as a table for a fixed-width font; ``>`` marks the rules that tripped."""
    if not rows:
        return ()
    head: tuple[str, ...] = ("", "rule", "canary", "control", "limit", "requests", "counted", "verdict")
    body: list[tuple[str, ...]] = [
        (
            ">" if row.tripping else "",
            *(row.rule, row.canary, row.control, row.limit, row.samples, row.counted, row.verdict),
        )
        for row in rows
    ]
    if not any(row.counted for row in rows):
        head, body = _without_counted(head), [_without_counted(line) for line in body]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    return tuple(
        "  ".join(
            cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *body)
    )


def stage_lines(stages: Sequence[StageRow]) -> tuple[str, ...]:
    """The stages of a plan as a table for a fixed-width font; ``>`` marks the one that the rollout is in."""
    if not stages:
        return ()
    lines = [("", *COLUMNS), *((">" if stage.standing == "now" else "", *stage.cells) for stage in stages)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return tuple(
        "  ".join(
            cell.rjust(width) if column == 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def when_and_whom(page: Page) -> str:
    """``At 2026-04-19 14:22:11 UTC. Exposed: 5% of users, since …``."""
    exposed = f" Exposed: {page.exposed}." if page.exposed else ""
    return f"At {date_and_time(page.at)}.{exposed}"


def _without_counted(line: tuple[str, ...]) -> tuple[str, ...]:
    return line[:6] + line[7:]


def plain_text(page: Page, *, possible_repeat: bool = False) -> str:
    """The whole page as lines of text, for consoles, and for receivers that refuse a richer form."""
    repeat = "(possible repeat) " if possible_repeat else ""
    lines = [
        f"{repeat}{page.headline}",
        page.why,
        when_and_whom(page),
        *table_lines(page.rows),
        *stage_lines(page.stages),
        *(f"- {step}" for step in page.next_steps),
    ]
    return "\n".join(line for line in lines if line)
