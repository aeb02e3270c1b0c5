"""``killswitch power``: how soon a regression of each size would be seen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import out
from killswitch.cli.histories import (
    ChosenOption,
    DataOption,
    FromOption,
    OpenHistory,
    ScrapeOption,
    ToOption,
    chosen,
    open_history,
    progress_bar,
)
from killswitch.cli.invocation import (
    JsonOption,
    RulesOption,
    SettingsOption,
    SourceOption,
    errors_as_messages,
    fail,
    say,
    show,
)
from killswitch.daemon.settings import load_settings
from killswitch.errors import BadSettings
from killswitch.model import QuantileSignal, Rollout, Rule, Unit
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, assumed, limit_of, measured, value_of
from killswitch.preflight.backtest.window_readings import step_readings
from killswitch.preflight.power import Delay, RulePower, power, smallest_percent
from killswitch.preflight.users import effective_users, unlucky_cohorts
from killswitch.rules.loading import load_folder
from killswitch.rules.units import Kind, UnitError, parse_quantity
from killswitch.timestamps import HOUR
from killswitch.verdicts.evidence_entry import STEP, STEP_PER_USER
from killswitch.wording import duration_in_words, value_in_words

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?/ ?(s|m|h)\Z", re.ASCII)
_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}
# with fewer equally active users, their own habits can look like the model's
_FEW_USERS = 500.0


RateOption = Annotated[
    str | None,
    typer.Option(help="Requests of both cohorts together: 50/s, 300/m.", show_default="measured, or 50/s"),
]
ShareOption = Annotated[float, typer.Option(help="The canary's share of users, in percent.")]
RegressionOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Find the smallest percent that sees this within an hour: refusal_rate=8.7%, latency_p95=4s. "
        "May be repeated."
    ),
]
BaselineOption = Annotated[list[str] | None, typer.Option(help="Control's own rate: error_rate=1%. May be repeated.")]
UsersOption = Annotated[int | None, typer.Option(min=1, help="How many users there are, to see if they are enough.")]


def command(
    rules: RulesOption = None,
    rate: RateOption = None,
    percent: ShareOption = 5.0,
    regression: RegressionOption = None,
    baseline: BaselineOption = None,
    users: UsersOption = None,
    rollout: ChosenOption = None,
    data: DataOption = None,
    source: SourceOption = None,
    since: FromOption = None,
    until: ToOption = None,
    scrape_interval: ScrapeOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate regressions of many sizes: how long each takes to be seen, and which would be missed.

    Control's rates come from --data, --source or KILLSWITCH_SOURCE, or from --baseline. Without them they are assumed,
    and the output says so.
    """
    with errors_as_messages():
        if not 0.0 < percent < 100.0:
            raise BadSettings([f"--percent {percent:g}: give a number between 0 and 100"])
        loaded = load_settings(settings)
        rollouts = chosen(load_folder(rules if rules is not None else loaded.rules).rollouts, rollout)
        asked = {one.name: _asked(one, regression or ()) for one in rollouts}
        measurements = _Measurements(loaded.step, {one.name: ({}, 0.0) for one in rollouts})
        if data is not None or source is not None or "source" in loaded.model_fields_set:
            with open_history(
                rollouts,
                data=data,
                source=source,
                since=since,
                until=until,
                scrape_interval=scrape_interval,
                settings_file=settings,
            ) as history:
                measurements = _measured(history, rollouts)
        answers: list[_Answer] = []
        for one in rollouts:
            controls, level = measurements.of(one, percent, rate)
            answers.append(_answered(one, controls | _given(one, baseline or ()), level, asked[one.name], users))
        document = {"rollouts": [_document(answer) for answer in answers]}
        show(document, as_json=as_json, otherwise=lambda: _print(answers))


class _Measurements(NamedTuple):
    """By rollout, control's values by rule and its requests a ``step`` of seconds, 0 where nothing was measured."""

    step: float
    control: Mapping[str, tuple[dict[str, AssumedTraffic], float]]

    def of(self, rollout: Rollout, percent: float, rate: str | None) -> tuple[dict[str, AssumedTraffic], TrafficLevel]:
        """Control's values, and the traffic: ``rate`` if it is given, else as measured, else 50 requests a second."""
        values, requests = self.control[rollout.name]
        seen = requests / self.step / (1 - percent / 100.0) if requests else 50.0
        return values, TrafficLevel(_per_second(rate) if rate is not None else seen, percent, self.step)


def _measured(history: OpenHistory, rollouts: Sequence[Rollout]) -> _Measurements:
    found = {}
    for one in rollouts:
        readings = step_readings(history.source, one, history.terms)
        found[one.name] = measured(one, readings, (STEP_PER_USER, STEP))
    return _Measurements(history.settings.step, found)


def _per_second(text: str) -> float:
    found = _RATE.match(text)
    if found is None or float(found[1]) <= 0:
        raise BadSettings([f"--rate {text!r}: write requests and a unit of time, such as 50/s or 300/m"])
    return float(found[1]) / _PER[found[2]]


def _given(rollout: Rollout, texts: Sequence[str]) -> dict[str, AssumedTraffic]:
    found = {}
    for text in texts:
        rule, value = _assignment(rollout, text, "--baseline")
        if isinstance(rule.signal, QuantileSignal):
            raise BadSettings([f"--baseline {text}: a latency needs a whole histogram; take it from --data"])
        found[rule.name] = AssumedTraffic(value, assumed=False)
    return found


def _asked(rollout: Rollout, texts: Sequence[str]) -> list[_Asked]:
    return [_Asked(text, *_assignment(rollout, text, "--regression")) for text in texts]


def _assignment(rollout: Rollout, text: str, option: str) -> tuple[Rule, float]:
    """``refusal_rate=8.7%`` as a rule and a value in its unit. Raises BadSettings."""
    name, equals, value = text.partition("=")
    rule = next((rule for rule in rollout.rules if rule.name == name.strip()), None)
    if rule is None or not equals:
        known = ", ".join(rule.name for rule in rollout.rules)
        raise BadSettings([f"{option} {text}: write rule=value; the rules of {rollout.name} are {known}"])
    try:
        quantity = parse_quantity(value.strip())
    except UnitError as error:
        raise BadSettings([f"{option} {text}: {error}"]) from error
    wanted = {Unit.FRACTION: Kind.PERCENT, Unit.SECONDS: Kind.DURATION}.get(rule.unit, Kind.RATIO)
    if quantity.kind is not wanted or (wanted is Kind.PERCENT and not quantity.value <= 1):
        example = "8.7%" if wanted is Kind.PERCENT else "4s"
        raise BadSettings([f"{option} {text}: {rule.name} is written as in {rule.name}={example}"])
    return rule, quantity.value


class _Asked(NamedTuple):
    """A regression, as it was written and as a rule and a value in its unit."""

    text: str
    rule: Rule
    value: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """The results for one rollout. ``smallest``: for each regression, the percent and what was tried."""

    rollout: str
    level: TrafficLevel
    powers: tuple[RulePower, ...]
    smallest: tuple[tuple[str, float | None, tuple[tuple[float, Delay], ...]], ...]
    users: dict[str, Any] | None


def _answered(
    rollout: Rollout,
    baselines: dict[str, AssumedTraffic],
    level: TrafficLevel,
    asked: Sequence[_Asked],
    users: int | None,
) -> _Answer:
    # simulating takes many seconds, so refuse first what has no answer
    for text, rule, value in asked:
        limit = limit_of(rule, baselines.get(rule.name) or assumed(rule))
        if value <= limit:
            words = value_in_words(limit, rule.unit)
            fail(f"--regression {text}: that is within the limit ({words}), so no rule should trip")
    with progress_bar(f"simulating {rollout.name}") as progress:
        powers = power(rollout, baselines, level, progress=progress)
    smallest = []
    for text, rule, value in asked:
        own = baselines.get(rule.name) or assumed(rule)
        with progress_bar(f"percents for {text}") as progress:
            percent, tried = smallest_percent(rollout, rule, own, level, value, progress=progress)
        smallest.append((text, percent, tried))
    found = _users_document(powers, users, level.percent) if users is not None else None
    return _Answer(rollout.name, level, powers, tuple(smallest), found)


def _document(answer: _Answer) -> dict[str, Any]:
    return {
        "rollout": answer.rollout,
        "rate_per_second": answer.level.rate,
        "percent": answer.level.percent,
        "step_seconds": answer.level.step,
        "rules": [_rule_document(one) for one in answer.powers],
        "regressions": [
            {
                "regression": text,
                "smallest_percent": percent,
                "tried": [{"percent": each, **_delay_document(found)} for each, found in tried],
            }
            for text, percent, tried in answer.smallest
        ],
        "users": answer.users,
    }


def _print(answers: Sequence[_Answer]) -> None:
    for answer in answers:
        _print_answer(answer)


def _print_answer(answer: _Answer) -> None:
    level = answer.level
    canary = level.rate * level.percent / 100
    say(f"{answer.rollout}: {level.rate:.4g} requests a second, {canary:.3g} of them the canary's ({level.percent:g}%)")
    for one in answer.powers:
        _print_rule(one)
    for text, percent, tried in answer.smallest:
        _print_smallest(text, percent, tried)
    if answer.users is not None:
        _print_users(answer.users, level.percent)


def _rule_document(one: RulePower) -> dict[str, Any]:
    return {
        "rule": one.rule.name,
        "control": value_of(one.rule, one.baseline),
        "limit": limit_of(one.rule, one.baseline),
        "assumed": one.baseline.assumed,
        "delays": [_delay_document(each) for each in one.delays],
        "threshold": {"days_with_a_false_trip": one.bare.days_with_trip, "false_trips_a_day": one.bare.trips_a_day},
    }


def _delay_document(one: Delay) -> dict[str, Any]:
    return {
        "canary": one.value,
        "from_the_start": {"median_seconds": one.at_start, "p90_seconds": one.at_start_90},
        "an_hour_later": {"median_seconds": one.later, "p90_seconds": one.later_90},
        "information_bound_seconds": one.bound,
        "seen": one.seen,
        "horizon_seconds": one.horizon,
    }


def _print_rule(one: RulePower) -> None:
    unit = one.rule.unit
    control, limit = (value_in_words(f(one.rule, one.baseline), unit) for f in (value_of, limit_of))
    origin = "assumed; measure it with --data or --source" if one.baseline.assumed else "measured or given"
    say(f"\n{one.rule.name}: control {control} ({origin}), limit {limit}; seen after, median and 9 cases in 10:")
    table = Table(box=None, padding=(0, 1, 0, 2), header_style="dim")
    for name in ("canary", "at start", "90%", "an hour in", "90%", "at best"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in one.delays:
        table.add_row(
            value_in_words(each.value, unit),
            *(_time(value, each) for value in (each.at_start, each.at_start_90, each.later, each.later_90)),
            Text(duration_in_words(round(each.bound)) if each.bound is not None else "-", style="dim"),
        )
    out.print(table)
    bare = one.bare
    if bare.days_with_trip > 0:
        say(
            f"  `decide: threshold` would trip a healthy canary on {bare.days_with_trip:.0%} of days,"
            f" {_rounded(bare.trips_a_day)} times a day"
        )
    else:
        say("  `decide: threshold` tripped a healthy canary on no simulated day")


def _rounded(count: float) -> str:
    return f"{count:.2g}" if count < 100 else f"{count:.0f}"


def _time(value: float | None, one: Delay) -> str:
    return duration_in_words(value) if value is not None else f"over {duration_in_words(one.horizon)}"


def _print_smallest(text: str, percent: float | None, tried: Sequence[tuple[float, Delay]]) -> None:
    hour = duration_in_words(HOUR)
    if percent is None:
        most, last = tried[-1]
        say(f"\n{text}: no percent up to {most:g}% sees it within {hour} in 9 of 10 cases ({last.seen:.0%} do)")
        return
    say(f"\n{text}: {percent:g}% is the smallest canary that sees it within {hour} in 9 of 10 cases")
    for each, delay in tried:
        say(f"  {each:>4g}%: median {_time(delay.later, delay)}, seen within {hour} in {delay.seen:.0%}")


def _users_document(powers: Sequence[RulePower], users: int, percent: float) -> dict[str, Any]:
    return {
        "users": users,
        "effective_canary_users": effective_users(users, percent),
        "few": effective_users(users, percent) < _FEW_USERS,
        "unlucky": {one.rule.name: unlucky_cohorts(one.rule, one.baseline, users, percent) for one in powers},
    }


def _print_users(document: dict[str, Any], percent: float) -> None:
    say(
        f"\n{document['users']:,} users at {percent:g}%: the canary's users count like"
        f" {document['effective_canary_users']:,.0f} equally active ones (activity log-normal, sd 1.2)"
    )
    for rule, share in document["unlucky"].items():
        if share:
            say(f"  {rule}: in {share:.1%} of draws these users alone are over the limit, with the same model")
    if document["few"]:
        say("  too few: begin with stage `aa`, which measures how much they differ, or choose a larger percent")
