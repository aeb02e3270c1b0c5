"""``killswitch baseline``: keep control's last day, before it goes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from killswitch import judge
from killswitch.assembly import build_source
from killswitch.baseline import Baseline, to_document
from killswitch.cli.invocation import (
    JsonOption,
    RolloutArgument,
    RulesOption,
    SettingsOption,
    StoreOption,
    YesOption,
    confirm,
    opened,
    rollout_of,
    say,
    show,
)
from killswitch.deadline import Deadline
from killswitch.errors import Refused, UnknownRollout
from killswitch.model import Rollout, Unreadable
from killswitch.settings import load_settings
from killswitch.sources import Source, Want
from killswitch.wording import duration_in_words, value_in_words

DAY = 86_400.0
READ_WITHIN = 60.0


def command(
    rollout: RolloutArgument,
    source: Annotated[str | None, typer.Option(help="Metric source.", show_default="KILLSWITCH_SOURCE")] = None,
    store: StoreOption = None,
    rules: RulesOption = None,
    settings: SettingsOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Store control's values of the last day as the baseline, so that the rollout may go to 100 %."""
    with opened(store, settings, rules) as (loaded, _, switch):
        file = rollout_of(loaded, rollout, required=True)
        assert file is not None
        flag = switch.standing(rollout).flag
        if flag is None:
            raise UnknownRollout(rollout, switch.everything()[0])
        reader = build_source(load_settings(settings, source=source, store=store, rules=rules))
        try:
            baseline = _measure(reader, file, flag.generation)
        finally:
            reader.close()
        words = ", ".join(f"{rule.name} {value_in_words(baseline.values[rule.name], rule.unit)}" for rule in file.rules)
        length = duration_in_words(baseline.seconds)
        confirm(
            f"{rollout}: control of the last {length} becomes the baseline of generation {flag.generation}: {words}",
            yes=yes,
        )
        switch.keep_baseline(baseline)
        show(
            json.loads(to_document(baseline)),
            as_json=as_json,
            otherwise=lambda: say(f"{rollout}: stored; `killswitch stage {rollout} --percent 100` is possible now"),
        )


def _measure(source: Source, rollout: Rollout, generation: int) -> Baseline:
    """Control's values over the last day. Raises Refused where a rule could not be read or has too few requests."""
    deadline = Deadline(READ_WITHIN)
    now = source.now(deadline)
    wants = [
        Want(rollout.name, rule.name, part, signal, rollout.cohorts_of(rule), DAY, absent_is_zero=rule.absent_is_zero)
        for rule in rollout.rules
        for part, signal in (("window", rule.signal), ("twin", rule.twin))
        if signal is not None
    ]
    readings = source.read(wants, now, deadline)
    values: dict[str, float] = {}
    problems: list[str] = []
    for rule in rollout.rules:
        twin = readings.get((rollout.name, rule.name, "twin"))
        reading = readings[rollout.name, rule.name, "window"]
        judged = twin if twin is not None and not isinstance(twin.control, Unreadable) else reading
        found = judge.compare(rule, judged)
        few = found.samples_control is not None and found.samples_control < 10 * rollout.min_requests
        if found.control is None or few:
            detail = "too few requests" if found.problem is None else found.problem.detail
            problems.append(f"{rule.name}: {detail}")
        else:
            values[rule.name] = found.control
    if problems:
        raise Refused("control's last day cannot serve as a baseline: " + "; ".join(problems))
    return Baseline(rollout.name, generation, now, DAY, values)
