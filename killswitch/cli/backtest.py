"""``killswitch backtest``: what the kill switch would have done on a history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import err, out
from killswitch.cli.histories import (
    ChosenOption,
    DataOption,
    FromOption,
    IntervalOption,
    OpenHistory,
    ScrapeOption,
    ToOption,
    chosen,
    moment,
    open_history,
    progress_bar,
    seconds_of,
)
from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    RulesOption,
    SettingsOption,
    SourceOption,
    errors_as_messages,
    fail,
    print_problems,
    say,
)
from killswitch.daemon.settings import load_settings
from killswitch.model import Decide, Rollout
from killswitch.preflight.backtest.backtest import backtest, bare_comparison
from killswitch.preflight.backtest.results import BareRule, ReplayedTrip, RolloutHistory, Terms
from killswitch.rules.loading import load_folder
from killswitch.timestamps import to_iso
from killswitch.wording import count_in_words, counted, duration_in_words, odds_in_words, time_of_day

_Bare = Mapping[str, tuple[BareRule, ...]]


PercentOption = Annotated[
    float | None, typer.Option(help="The canary's share of users.", show_default="its share of requests")
]
ArmedAtOption = Annotated[
    str | None,
    typer.Option("--armed-at", help="When it was armed.", show_default="the first time both cohorts have requests"),
]
RearmOption = Annotated[
    str | None,
    typer.Option(
        "--rearm-after",
        help="After a trip, re-arm and continue after this long, for example 1h.",
        show_default="the first trip is the last",
    ),
]
CompareOption = Annotated[
    Literal["threshold"] | None, typer.Option(help="Also show what a plain threshold rule would have done.")
]
PlotOption = Annotated[Path | None, typer.Option(help="Draw the history into this file (.png, .svg, .pdf).")]
LinesOption = Annotated[
    bool, typer.Option("--json", help="Print JSON lines: one object for each trip, then a summary.")
]


def command(
    rules: RulesOption = None,
    data: DataOption = None,
    source: SourceOption = None,
    since: FromOption = None,
    until: ToOption = None,
    rollout: ChosenOption = None,
    percent: PercentOption = None,
    armed_at: ArmedAtOption = None,
    rearm_after: RearmOption = None,
    compare: CompareOption = None,
    plot: PlotOption = None,
    interval: IntervalOption = None,
    scrape_interval: ScrapeOption = None,
    settings: SettingsOption = None,
    as_json: LinesOption = False,
) -> None:
    """Replay history as the daemon would have judged it: one line for each trip it would have made.

    Exits with 0 whether or not there were trips; with 1 if a rollout or a rule could not be judged at all; with 2 if
    options, rules or a recording must be fixed; with 3 if the metric store does not answer.
    """
    _check_percent(percent)
    with errors_as_messages():
        rearm = None if rearm_after is None else seconds_of("--rearm-after", rearm_after)
        folder = rules if rules is not None else load_settings(settings).rules
        rollouts = chosen(load_folder(folder).rollouts, rollout)
        with open_history(
            rollouts,
            data=data,
            source=source,
            since=since,
            until=until,
            interval=interval,
            scrape_interval=scrape_interval,
            settings_file=settings,
        ) as history:
            terms = replace(
                history.terms,
                percent=percent,
                armed_at=None if armed_at is None else moment(armed_at, now=history.until),
                rearm_after=rearm,
                tracks=plot is not None,
            )
            found, bare = _replayed(history, rollouts, terms, compare=compare is not None)
            if plot is not None:
                _draw(history, found, terms, plot)
            (_print_json if as_json else _print)(history, terms, found, bare)
            if any(one.problem is not None or (one.ticks and one.never_judged) for one in found):
                raise typer.Exit(EXIT_UNWANTED)


def _check_percent(percent: float | None) -> None:
    if percent is not None and not 0.0 < percent <= 100.0:
        fail(f"--percent {percent:g}: give a number over 0, at most 100")


def _replayed(
    history: OpenHistory, rollouts: Sequence[Rollout], terms: Terms, *, compare: bool
) -> tuple[Sequence[RolloutHistory], _Bare]:
    """What the daemon would have done, and with ``compare`` what the bare comparison would have done."""
    with progress_bar("replaying") as progress:
        found = backtest(history.source, rollouts, terms, progress)
    if not compare:
        return found, {}
    with progress_bar("the bare comparison") as progress:
        return found, bare_comparison(history.source, found, terms, progress)


def _draw(history: OpenHistory, found: Sequence[RolloutHistory], terms: Terms, target: Path) -> None:
    try:
        from killswitch.preflight.plot import draw  # noqa: PLC0415  an extra of its own
    except ImportError:
        fail("--plot needs matplotlib: pip install 'matplotlib>=3.9,<4'")
    with progress_bar("drawing"):
        draw(history.source, found, terms, target)
    err.print(f"drawn: {target}", markup=False)


# --- for machines -------------------------------------------------------------------------------


def _print_json(history: OpenHistory, terms: Terms, found: Sequence[RolloutHistory], bare: _Bare) -> None:
    for trip in _trips(found):
        typer.echo(json.dumps(_trip(trip), ensure_ascii=False))
    unknown: Counter[str] = Counter()
    for one in found:
        for rule in one.rules:
            unknown.update(rule.unknown)
    summary = {
        "span": {"from": to_iso(history.since), "to": to_iso(history.until)},
        "interval_seconds": terms.interval,
        "step_seconds": terms.step,
        "scrape_interval_seconds": history.settings.scrape_interval,
        "ticks": sum(one.ticks for one in found),
        "trips": sum(len(one.trips) for one in found),
        "unknown": dict(unknown),
        "rollouts": [_rollout(one, bare.get(one.rollout.name, ())) for one in found],
    }
    typer.echo(json.dumps({"summary": summary}, ensure_ascii=False))


def _trip(trip: ReplayedTrip) -> dict[str, Any]:
    return {
        "rollout": trip.rollout,
        "rule": trip.rule,
        "at": to_iso(trip.at),
        "sentence": trip.sentence,
        "rules": list(trip.rules),
        "generation": trip.generation,
    }


def _rollout(one: RolloutHistory, bare: Sequence[BareRule]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "rollout": one.rollout.name,
        "decide": one.rollout.decide.value,
        "armed_at": to_iso(one.armed_at) if one.armed_at is not None else None,
        "percent": one.percent,
        "stages": [{"at": to_iso(stage.at), "percent": stage.percent} for stage in one.stages],
        "ticks": one.ticks,
        "trips": len(one.trips),
        "problem": one.problem,
        "why": list(one.why),
        "traffic_split_is_wrong": one.split_is_wrong,
        "doubts": list(one.doubts),
        "rules": [
            {
                "rule": rule.name,
                "judged_ticks": rule.ticks,
                "suspect_ticks": rule.suspect,
                "unknown": dict(rule.unknown),
                "peak_evidence": rule.peak,
                "peak_at": to_iso(rule.peak_at) if rule.peak_at is not None else None,
                "needed": rule.needed,
            }
            for rule in one.rules
        ],
    }
    if bare:
        document["threshold"] = [
            {
                "rule": rule.name,
                "trips": rule.episodes,
                "ticks_over": rule.ticks_over,
                "first": to_iso(rule.first) if rule.first is not None else None,
                "sentence": rule.sentence,
            }
            for rule in bare
        ]
    return document


# --- for people ---------------------------------------------------------------------------------


def _print(history: OpenHistory, terms: Terms, found: Sequence[RolloutHistory], bare: _Bare) -> None:
    for note in history.notes:
        err.print(note, style="dim", markup=False)
    for trip in _trips(found):
        say(f"{to_iso(trip.at)} {trip.rollout} {trip.rule}: {trip.sentence}")
    for one in found:
        _print_doubts(one)
    span = f"{to_iso(history.since)} to {to_iso(history.until)}"
    for one in found:
        if one.armed_at is None:
            continue
        trips = len(one.trips)
        said = counted(trips, "trip") if trips else "no trip"
        spacing = terms.step if one.rollout.decide is Decide.EVIDENCE else terms.interval
        watched = duration_in_words(one.ticks * spacing)
        say(f"{one.rollout.name}: {said} in {watched} from {to_iso(one.armed_at)} on ({_ramp(one)})")
        if one.rollout.name in bare:
            out.print(_compared(one, bare[one.rollout.name]))
    err.print(f"history: {span}, a tick every {duration_in_words(terms.interval)}", style="dim", markup=False)


def _ramp(one: RolloutHistory) -> str:
    """``5% canary``, or ``1% canary, 5% from 14:30:00``."""
    later = (f"{stage.percent:g}% from {time_of_day(stage.at)}" for stage in one.stages[1:])
    return ", ".join((f"{one.percent:g}% canary", *later))


def _print_doubts(one: RolloutHistory) -> None:
    name = one.rollout.name
    if one.problem is not None:
        print_problems([f"{name}: NOT JUDGED: {one.problem}", *(f"{name} {why}" for why in one.why)])
        return
    for rule in one.never_judged:
        reasons = ", ".join(f"{reason} {count_in_words(count)}x" for reason, count in rule.unknown.most_common(3))
        if one.ticks:
            print_problems([f"{name} {rule.name}: NEVER JUDGED ({reasons or 'no evidence'}): {rule.example}"])
    for rule in one.rules:
        missed = sum(rule.unknown.values())
        if rule.ticks and missed:
            reasons = ", ".join(f"{reason} {count_in_words(count)}x" for reason, count in rule.unknown.most_common(3))
            err.print(
                f"{name} {rule.name}: {counted(missed, 'tick')} not judged: {reasons}", style="yellow", markup=False
            )
    for rule in one.rules:
        if rule.suspect:
            said = f"SUSPECT for {rule.suspect:,} of {counted(rule.ticks, 'tick')}: over its limit, not proven"
            err.print(f"{name} {rule.name}: {said}", style="yellow", markup=False)
    for doubt in one.doubts:
        err.print(f"{name} {doubt}", style="yellow", markup=False)
    if one.split_is_wrong:
        print_problems([f"{name}: the canary's share of requests is far from {one.percent:g}%"])


def _compared(one: RolloutHistory, bare: Sequence[BareRule]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("rule", one.rollout.decide.value, "at most", "bare rule", "times (ticks)"):
        table.add_column(column, no_wrap=True)
    first = {rule: trip.at for trip in reversed(one.trips) for rule in trip.rules}
    for rule, other in zip(one.rules, bare, strict=True):
        tripped = Text(f"trip {_short(first[rule.name])}", style="bold red") if rule.name in first else Text("no trip")
        peak = odds_in_words(rule.peak) if rule.peak is not None and rule.peak >= 1 else "-"
        fired = Text(_short(other.first), style="bold red") if other.first is not None else Text("never")
        times = f"{other.episodes:,} ({other.ticks_over:,})" if other.episodes else "-"
        table.add_row(Text(rule.name), tripped, peak, fired, times)
    return table


def _short(at: float) -> str:
    return to_iso(at)[5:16].replace("T", " ")


def _trips(found: Sequence[RolloutHistory]) -> list[ReplayedTrip]:
    return sorted((trip for one in found for trip in one.trips), key=lambda trip: trip.at)
