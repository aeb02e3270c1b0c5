"""``killswitch plan``: the stages of a rollout's plan with dates, and what the plan would do before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from killswitch.cli.console import print_table
from killswitch.cli.histories import DataOption, FromOption, OpenHistory, ToOption, open_history
from killswitch.cli.invocation import (
    JsonOption,
    RolesOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    SourceOption,
    StoreOption,
    UrlOption,
    fail,
    opened,
    print_problems,
    say,
    show,
)
from killswitch.cli.plan_view import planned, view
from killswitch.cli.terminal import one_line
from killswitch.model import Rollout
from killswitch.plan import Plan
from killswitch.preflight.todays_traffic import todays_traffic
from killswitch.ramps.condition_checks import PROVEN_BY_TRAFFIC
from killswitch.ramps.forecast import ExpectedTraffic, StageForecast, forecast
from killswitch.rules.planning import JUDGED_PART, window_for
from killswitch.rules.units import UnitError, parse_rate
from killswitch.status.plan_table import timeline_table
from killswitch.timestamps import to_iso
from killswitch.wording import count_in_words, reasons_in_words, span_in_words

WHOLE_PART = 0.9  # of the time asked for: less traffic than that is no whole day


def command(  # long: its options, and what it says before and after
    rollout: RolloutArgument,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Show what the plan would do from now on, before anything is armed.")
    ] = False,
    rate: Annotated[
        str | None,
        typer.Option(help="With --simulate: requests of both cohorts, such as 50/s.", show_default="the plan's rate"),
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="With --simulate: how many users there are in a day.")
    ] = None,
    data: DataOption = None,
    source: SourceOption = None,
    since: FromOption = None,
    until: ToOption = None,
    store: StoreOption = None,
    rules: RulesOption = None,
    roles: RolesOption = None,
    url: UrlOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stages of a plan: done, now and to come, with dates, and why it is not moving.

    With --simulate, show how long each stage would take, what it can see, and how many requests and users it exposes.
    With --source or --data, the traffic and control's rates are those of the last day. Otherwise rates of errors and
    refusals are taken for usual ones. Requests are taken for independent, so real traffic takes longer.
    """
    with opened(store, settings, rules, roles=roles) as (known, opened_store, switch):
        rules_of, plan = planned(known, rollout)
        if simulate:
            history = source is not None or data is not None
            if history and rate is not None:
                fail("--rate says how much traffic there is, and so does a history; give one")
            if history or (rate is None and plan.rate is None and "source" in known.model_fields_set):
                span = open_history(
                    [rules_of], data=data, source=source, since=since, until=until, settings_file=settings
                )
                traffic = _read_from(span, rules_of)
            else:
                traffic = _stated(rate, plan)
            _simulate(rules_of, plan, traffic, users, as_json=as_json)
            return
        if any(one is not None for one in (rate, users, data, source, since, until)):
            fail("--rate, --users, --data, --source, --from and --to need --simulate")
        flag = switch.required(rollout).flag
        assert flag is not None
        seen = view(opened_store, known, rules_of, plan, flag, url=url)
        shown: dict[str, Any] = {"rollout": rollout, "generation": flag.generation, **seen.document()}
        show(shown, as_json=as_json, otherwise=lambda: _print_timeline(rollout, shown))


def _simulate(rollout: Rollout, plan: Plan, traffic: ExpectedTraffic, users: int | None, *, as_json: bool) -> None:
    found = forecast(rollout, plan, traffic, starts=time.time(), users=users)
    document = {
        "rollout": rollout.name,
        "rate": traffic.rate,
        "judged_rate": traffic.judged,
        "control_rates": dict(traffic.shares),
        "stages": [one.document() for one in found],
    }
    show(document, as_json=as_json, otherwise=lambda: _print_forecast(rollout, plan, found, traffic))


def _stated(text: str | None, plan: Plan) -> ExpectedTraffic:
    if text is None:
        if plan.rate is None:
            fail("--simulate needs the traffic: add --rate 50/s or --prometheus URL, or `rate: 50/s` to the plan")
        return ExpectedTraffic(plan.rate, plan.rate)
    try:
        rate = parse_rate(text)
    except UnitError as error:
        fail(f"--rate: {error}")
    return ExpectedTraffic(rate, rate)


def _read_from(span: AbstractContextManager[OpenHistory], rollout: Rollout) -> ExpectedTraffic:
    with span as history:
        found = todays_traffic(history.source, rollout, history.terms)
    if found is None:
        fail(f"there is no request of {rollout.name} in this history; run `killswitch doctor`, or give --rate")
    asked = history.terms.until - history.terms.since
    if found.seconds is not None and found.seconds < WHOLE_PART * asked:
        known, all_of_it = span_in_words(found.seconds), span_in_words(asked)
        fix = "ask again once there is a whole day, because traffic differs by the hour"
        print_problems([f"warning: requests are known for {known} of {all_of_it}; {fix}"], style="yellow")
    return found


def _print_timeline(rollout: str, shown: Mapping[str, Any]) -> None:
    advance = shown["advance"].replace("_", " ")
    say(f"{rollout}: the next step is {advance}; dates to come are the earliest possible, in UTC")
    print_table(timeline_table(shown))
    say(one_line(reasons_in_words(str(shown["why"]))))


def _print_forecast(rollout: Rollout, plan: Plan, found: tuple[StageForecast, ...], traffic: ExpectedTraffic) -> None:
    judged = "" if traffic.judged == traffic.rate else f", {traffic.judged:.3g} of them judged"
    say(f"{rollout.name} at {traffic.rate:.3g} requests/s{judged}, if nothing goes wrong and nothing else is missing:")
    if traffic.shares:
        rates = ", ".join(f"{name} {share:.2%}" for name, share in traffic.shares.items())
        say(f"control's own rates: {rates}")
    table = _table("stage", "share", "for", "takes", "begins", "ends", "canary requests", "canary users")
    for one in found:
        cells = (
            one_line(one.stage.stage),
            f"{one.stage.percent:g}%",
            span_in_words(one.stage.seconds),
            span_in_words(one.takes) if one.ends is not None else "never ends",
            _date(one.begins),
            _date(one.ends),
            count_in_words(one.requests),
            "" if one.users is None else count_in_words(one.users),
        )
        table.add_row(*map(Text, cells), style="yellow" if one.takes > one.stage.seconds else "")
    print_table(table)
    largest = max(found, key=lambda one: one.stage.percent).stage
    if plan.control_capacity is None and largest.percent > PROVEN_BY_TRAFFIC:
        fix = "write `control_capacity: …/s` under `plan` once you know what control's provider allows"
        say(f"  {one_line(largest.stage)}: waits until someone says that control can take all traffic at once; {fix}")
    for one in found:
        for sentence in (*_closed(one), *_sight(rollout, one, traffic.judged)):
            say(f"  {one_line(one.stage.stage)}: {sentence}")


def _closed(one: StageForecast) -> list[str]:
    """Where `not_during` keeps a stage from ending when it could."""
    if one.begins is None or one.ends is None or one.ends - one.begins - one.takes < 60.0:
        return []
    return [f"ends {span_in_words(one.ends - one.begins - one.takes)} later than it could, because of `not_during`"]


def _sight(rollout: Rollout, one: StageForecast, judged_rate: float) -> list[str]:
    said = []
    if one.judged < JUDGED_PART:
        few = f"fewer than {rollout.min_requests} requests in {span_in_words(rollout.window)}"
        fix = window_for(judged_rate, one.stage.percent, rollout.min_requests)
        said.append(f"judged for {one.judged:.0%} of the time, since a cohort often has {few}; {fix}")
    if one.judged <= 0:
        return said
    for found in one.detections:
        longer = f", longer than `for` ({span_in_words(one.stage.seconds)})"
        shows = f"{found.rule} {found.regression} shows after {span_in_words(found.seconds)}"
        said.append(shows + (longer if found.seconds > one.stage.seconds else ""))
    seen = ", ".join(f"{rule} {ratio:g}x" for rule, ratio in one.sees if ratio is not None)
    unseen = ", ".join(rule for rule, ratio in one.sees if ratio is None)
    if seen:
        said.append(f"sees, from this size on: {seen}")
    if unseen:
        said.append(f"cannot see even 10x of {unseen}")
    return said


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in names:
        right = name == "share" or name.startswith("canary")
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    return table


def _date(at: float | None) -> str:
    return "" if at is None else to_iso(round(at))[:16].replace("T", " ")
