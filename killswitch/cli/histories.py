"""Opens the history that a command is given: a recording, a Prometheus, or the configured source."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from killswitch.cli.console import err
from killswitch.cli.invocation import source_url, which
from killswitch.daemon.settings import Settings, load_settings, without_secrets
from killswitch.daemon.wiring import build_source
from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, BadDocument, BadSettings, Unavailable, UnknownRollout
from killswitch.model import Rollout
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.progress import Progress as Report
from killswitch.rules.units import UnitError, parse_duration
from killswitch.sources import Source
from killswitch.sources.recording import Recording, SampledHistory
from killswitch.sources.scrape_interval import measured
from killswitch.timestamps import from_iso
from killswitch.wording import duration_in_words

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="A recording: OpenMetrics text with timestamps, as promtool reads it.", show_default=False
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", help="Start of the history: ISO 8601, Unix seconds, or an age such as 7d.", show_default="all, or 1d"
    ),
]
ToOption = Annotated[
    str | None, typer.Option("--to", help="End of the history, in the same forms.", show_default="the newest")
]
ChosenOption = Annotated[
    list[str] | None, typer.Option("--rollout", help="Only this rollout. May be repeated.", show_default=False)
]
IntervalOption = Annotated[
    str | None, typer.Option("--interval", help="How often the daemon judges.", show_default="30s")
]
ScrapeOption = Annotated[
    str | None,
    typer.Option("--scrape-interval", help="How often the services were scraped.", show_default="measured"),
]

_AGE = re.compile(r"[0-9.]+ ?(?:ms|s|m|h|d)", re.ASCII)
_PATIENCE = 120.0
_DEFAULT_AGE = "1d"
_FIRST_SECOND = 946_684_800.0  # the year 2000: `--from 7` is meant as an age, and would be replayed from 1970 on
_LOOKED_AT = (1.0, 0.5, 0.75, 0.25, 0.05)  # shares of the span at which scrapes are looked for


@dataclass(frozen=True, slots=True)
class OpenHistory:
    """A source with a past, and the requested span of it (Unix seconds). ``notes``: what to tell the person."""

    source: Source
    settings: Settings
    since: float
    until: float
    notes: tuple[str, ...]

    @property
    def terms(self) -> Terms:
        """The terms to replay the whole span as the daemon would with these settings."""
        settings = self.settings
        return Terms(self.since, self.until, interval=settings.interval, step=settings.step, patience=_PATIENCE)


@contextmanager
def open_history(
    rollouts: Sequence[Rollout],
    *,
    data: Path | None,
    source: str | None,
    since: str | None,
    until: str | None,
    interval: str | None = None,
    scrape_interval: str | None = None,
    settings_file: Path | None = None,
) -> Iterator[OpenHistory]:
    """Open what the options name. The scrape interval is measured unless it is given.

    Raises BadSettings, BadDocument, Unavailable, AccessDenied.
    """
    if data is not None and source is not None:
        raise BadSettings(["give --data or --source, not both"])
    url = source_url(source)
    settings = load_settings(settings_file, source=url, interval=interval, scrape_interval=scrape_interval)
    if data is None and settings.source.startswith("scrape+") and settings.scrape_file is None:
        problem = "this source has no past of its own: set the daemon's scrape_file (KILLSWITCH_SCRAPE_FILE)"
        raise BadSettings([f"{without_secrets(settings.source)}: {problem}"])
    reader: Source = Recording(data) if data is not None else build_source(settings, timeout=_PATIENCE)
    try:
        first, last = _span(reader, since, until)
        moments = [first + share * (last - first) for share in _LOOKED_AT]
        real = measured(reader, rollouts, moments, Deadline(_PATIENCE)) if scrape_interval is None else None
        notes: tuple[str, ...] = ()
        if real is not None and abs(real - settings.scrape_interval) > 1e-6:
            said = "" if "scrape_interval" not in settings.model_fields_set else ", not as configured"
            notes = (f"scrapes are {duration_in_words(real)} apart{said}",)
            settings = load_settings(
                settings_file, source=url, interval=interval, scrape_interval=f"{round(real * 1000)}ms"
            )
            if not isinstance(reader, SampledHistory):
                reader.close()
                reader = build_source(settings, timeout=_PATIENCE)
        if isinstance(reader, SampledHistory):
            reader = reader.at_interval(settings.scrape_interval)
        yield OpenHistory(reader, settings, first, last, notes)
    except (Unavailable, AccessDenied) as error:
        raise type(error)(f"{error} ({which(settings, 'source', given=source)})") from error
    finally:
        reader.close()


def chosen(rollouts: Sequence[Rollout], names: Sequence[str] | None) -> Sequence[Rollout]:
    """The rollouts that ``--rollout`` names, or all without that option. Raises UnknownRollout."""
    known = {rollout.name: rollout for rollout in rollouts}
    for name in names or ():
        if name not in known:
            raise UnknownRollout(name, known)
    return [known[name] for name in dict.fromkeys(names)] if names else rollouts


def moment(text: str, *, now: float) -> float:
    """Unix seconds of ``2026-04-19T14:22:11Z``, ``1776608531`` or ``7d`` (ago). Raises BadSettings."""
    if _AGE.match(text):
        return now - seconds_of("time", text)
    try:
        seconds = float(text)
    except ValueError:
        try:
            return from_iso(text)
        except BadDocument as error:
            raise BadSettings(
                [f"time {text!r}: write 2026-04-19T14:22:11Z, Unix seconds, or an age such as 7d"]
            ) from error
    if not 0 <= seconds < 1e11:
        raise BadSettings([f"time {text!r}: Unix seconds must be between 0 and 1e11"])
    return seconds


def seconds_of(option: str, text: str) -> float:
    """A duration given on the command line. Raises BadSettings."""
    try:
        return parse_duration(text)
    except UnitError as error:
        raise BadSettings([f"{option} {text}: {error}"]) from error


def _span(source: Source, since: str | None, until: str | None) -> tuple[float, float]:
    if isinstance(source, SampledHistory):
        start, end = source.span
        now = end
    else:
        end = now = source.now(Deadline(_PATIENCE)) if until is None or since is None else time.time()
        start = moment(since or _DEFAULT_AGE, now=now)
    first = moment(since, now=now) if since is not None else start
    last = moment(until, now=now) if until is not None else end
    if first < _FIRST_SECOND and not isinstance(source, SampledHistory):
        raise BadSettings([f"time {since!r} is before the year 2000; an age has a unit, such as 7d"])
    if not first < last:
        raise BadSettings([f"the history from {first:.0f} to {last:.0f} is empty; --from must be before --to"])
    return first, last


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """A progress bar on standard error, if that is a terminal. Gives the function to report progress to."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)

        def report(share: float) -> None:
            bar.update(task, completed=share if math.isfinite(share) else 0.0)

        yield report
