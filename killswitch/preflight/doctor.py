"""The doctor: would the kill switch see a bad canary, with this source, store, receivers and rules?

Every check ends in one line that says what was found and, if something is wrong, what to do. The doctor
reads a day of history at most and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.flags.flag import Flag
from killswitch.model import QuantileSignal, QuerySignal, Reading, Readings, Rollout, Rule, Unreadable
from killswitch.preflight.backtest.window_readings import step_readings
from killswitch.preflight.bucket_checks import examine_buckets
from killswitch.preflight.checks import PATIENCE, Check, Setup, Status
from killswitch.preflight.cohort_checks import Served, examine_cohorts, examine_events, served_by
from killswitch.preflight.fleet_checks import examine_replicas, examine_routers, examine_store_clock
from killswitch.preflight.fleet_seen import FleetSeen
from killswitch.preflight.history_checks import examine_history
from killswitch.preflight.label_checks import LabelReader, examine_labels
from killswitch.preflight.litellm_checks import examine_litellm
from killswitch.preflight.progress import Progress
from killswitch.preflight.sensitivity_checks import DEFAULT_PERCENT, examine_sensitivity
from killswitch.preflight.shadow_checks import examine_shadow_routers, examine_shared_key, examine_uncapped
from killswitch.preflight.source_checks import examine_clock, examine_counters, examine_scrape_interval, no_source
from killswitch.preflight.store_checks import (
    examine_controllers,
    examine_rule_files,
    examine_store,
    examine_writing,
)
from killswitch.preflight.user_checks import examine_users
from killswitch.verdicts.evidence_entry import STEP, STEP_PER_USER
from killswitch.verdicts.shadow_stage import in_shadow


def examine(setup: Setup, progress: Progress = lambda _: None) -> Iterator[Check]:
    """All checks, one after the other."""
    flags: dict[str, Flag] | None = None
    if setup.flags is not None:
        flags, checks = examine_store(setup.flags)
        yield from checks
        yield from examine_writing(flags, setup.rollouts, setup.try_writing)
        yield from examine_controllers(flags or {}, setup.controllers)
        yield from examine_shadow_routers(flags or {}, setup.rollouts, setup.routers)
        if setup.all_rules:
            yield from examine_rule_files(flags or {}, {rollout.name for rollout in setup.rollouts})
    seen = _fleet(setup, flags)
    yield from _examine_fleet(setup, flags, seen)
    try:
        now = setup.source.now(Deadline(PATIENCE))
    except KillswitchError as error:
        yield no_source(error)
        return
    yield from examine_clock(setup.wall, now)
    if seen is not None:
        yield from examine_store_clock(seen, None if setup.wall is None else now - setup.wall)
    labels = None if setup.labels is None else LabelReader(setup.labels, setup.terms.until)
    for position, rollout in enumerate(setup.rollouts):
        try:
            yield from _examine_rollout(setup, rollout, served_by(flags, rollout.name), labels)
        except KillswitchError as error:
            yield Check(rollout.name, Status.WRONG, str(error), "make sure that the metric source answers in time")
        progress((position + 1) / len(setup.rollouts))


def _fleet(setup: Setup, flags: Mapping[str, Flag] | None) -> FleetSeen | None:
    if setup.fleet is None or flags is None:
        return None
    try:
        return setup.fleet()
    except KillswitchError:
        return None  # the checks of the store say so


def _examine_fleet(setup: Setup, flags: Mapping[str, Flag] | None, seen: FleetSeen | None) -> Iterator[Check]:
    if flags is not None and setup.permissions is not None:
        try:
            yield from setup.permissions()
        except KillswitchError as error:
            found = f"what these credentials may do could not be tried: {error}"
            yield Check("flag store", Status.WARNING, found, "run the doctor again once the store answers")
    if seen is not None and flags is not None:
        yield from examine_routers(flags, seen, setup.version)
        if setup.wall is not None:
            yield from examine_replicas(seen, setup.wall, setup.version)


def _examine_rollout(setup: Setup, rollout: Rollout, served: Served, labels: LabelReader | None) -> Iterator[Check]:
    if served.shadow is not None:
        yield from examine_shared_key(setup, rollout)
        yield from examine_uncapped(setup, rollout)
        rollout, unjudged = in_shadow(rollout)
        for rule, why in unjudged:
            status = Status.NOTE if rollout.rules else Status.WARNING
            fix = "" if rollout.rules else "until then, compare the recorded pairs: no rule stops this shadow"
            yield Check(f"{rollout.name} {rule.name}", status, f"not judged in stage shadow: {why.detail}", fix)
        if not rollout.rules:
            return
    yield from examine_scrape_interval(setup, rollout)
    yield from examine_counters(setup, rollout)
    yield from examine_users(setup, rollout)
    if labels is not None:
        yield from examine_labels(labels, rollout)
    steps = step_readings(setup.source, rollout, setup.terms)
    plain: list[str] = []
    for rule in rollout.rules:
        about = f"{rollout.name} {rule.name}"
        if isinstance(rule.signal, QuerySignal):
            found = "a free query: it is judged by the bare comparison, and nothing bounds its false trips"
            yield Check(about, Status.NOTE, found)
            continue
        readings, per_user = _judged_readings(rollout, rule, steps)
        yield from examine_cohorts(about, rule, readings, served)
        if rule.per_user is not None and not per_user and _has_counts(readings):
            plain.append(rule.name)
        if isinstance(rule.signal, QuantileSignal):
            yield from examine_buckets(about, rule, readings)
        else:
            yield from examine_events(about, rule, readings)
            percent = served.percent or DEFAULT_PERCENT
            yield from examine_history(about, rollout, rule, readings, setup.terms, percent, per_user=per_user)
    yield from examine_sensitivity(rollout, steps, served.percent or DEFAULT_PERCENT, setup.terms.step)
    if plain:
        yield Check(
            rollout.name,
            Status.WARNING,
            f"{', '.join(plain)}: judged on plain counters, so one user's retries count in full, and there may be more "
            "false trips than false_trips says",
            "let the router library write the llm_judged_… metrics, or set `bursts: long`",
        )
    yield from examine_litellm(setup, rollout)


def _judged_readings(rollout: Rollout, rule: Rule, steps: Sequence[Readings]) -> tuple[list[Reading], bool]:
    """The readings that the daemon would judge, and whether they count users' first requests alone."""
    key = (rollout.name, rule.name, STEP_PER_USER)
    per_user = [readings[key] for readings in steps if key in readings]
    if _has_counts(per_user[-10:]):
        return per_user, True
    return [readings[rollout.name, rule.name, STEP] for readings in steps], False


def _has_counts(readings: Sequence[Reading]) -> bool:
    return any(not isinstance(side, Unreadable) for each in readings for side in (each.canary, each.control))
