"""What `killswitch gate run` was asked for, and how its options are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from killswitch.cli.histories import seconds_of
from killswitch.errors import BadSettings
from killswitch.roles.role import check_model
from killswitch.rules.units import UnitError, parse_money


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of one run. ``most``: micro-dollars. Durations are seconds."""

    role: str
    golden: Path | None
    rows: int | None
    concurrency: int
    patience: float
    most: int | None
    cache: Path
    max_age: float
    fresh: bool
    report: Path | None
    point_estimates: bool
    record: bool
    yes: bool
    as_json: bool


def named_pair(prod: str | None, candidate: str | None) -> tuple[str, str] | None:
    """Prod and candidate as the options name them; None where the role's slots are meant. Raises BadSettings."""
    if prod is None and candidate is None:
        return None
    if prod is None or candidate is None:
        raise BadSettings(["--prod and --candidate go together: give both, or neither to compare the role's slots"])
    return check_model(prod), check_model(candidate)


def seconds_between(option: str, text: str, least: float, most: float) -> float:
    """Raises BadSettings."""
    seconds = seconds_of(option, text)
    if not least <= seconds <= most:
        raise BadSettings([f"{option} {text}: write 1s to {most / 86_400:g}d"])
    return seconds


def micros_of(text: str | None) -> int | None:
    """Micro-dollars of ``--max-dollars``. Raises BadSettings."""
    if text is None:
        return None
    try:
        return parse_money(text if text.startswith("$") else f"${text}")
    except UnitError as error:
        raise BadSettings([f"--max-dollars {text}: {error}"]) from error
