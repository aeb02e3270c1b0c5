"""The stages of a plan in words, for pages, the status and the status page: done, now and to come, with dates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.wording import plain, span_in_words

MAX_STAGES = 20  # shown; a plan of more is a mistake
_MAX_NAME = 40
COLUMNS = ("stage", "share", "for", "standing", "begins", "ends")


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage, already in words: ``5%``, ``1d``, ``2026-04-19 14:22``. Dates ahead are the earliest possible."""

    stage: str
    share: str
    lasts: str
    standing: str
    begins: str
    ends: str

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of `COLUMNS`."""
        return (self.stage, self.share, self.lasts, self.standing, self.begins, self.ends)


def stage_rows(timeline: Mapping[str, Any]) -> tuple[StageRow, ...]:
    """The rows of a timeline's JSON document, UTC to the minute."""
    return tuple(
        StageRow(
            plain(str(stage["stage"]), _MAX_NAME),
            f"{stage['percent']:g}%",
            span_in_words(stage["for_seconds"]),
            plain(str(stage["standing"]), _MAX_NAME),
            _minute(stage["begins"]),
            _minute(stage["ends"]),
        )
        for stage in timeline["stages"][:MAX_STAGES]
    )


def _minute(iso: object) -> str:
    return iso[:16].replace("T", " ") if isinstance(iso, str) else ""
