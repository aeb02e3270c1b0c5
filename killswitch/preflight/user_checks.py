"""Checks of rules that count users (`per`): what their queries cost, and how many requests name no user."""

from __future__ import annotations

from collections.abc import Iterator

from killswitch.deadline import Deadline
from killswitch.model import Counts, Matcher, Range, RatioSignal, Rollout, Rule, Selector, Unreadable, Want
from killswitch.preflight.checks import PATIENCE, Check, Setup, Status
from killswitch.sources.asks import NO_USER
from killswitch.sources.user_counts import MOST_SERIES

_SOME = 0.01  # of all requests without a user's name: from here on a warning
_HOUR = 3600.0


def examine_users(setup: Setup, rollout: Rollout) -> Iterator[Check]:
    for rule in rollout.rules:
        if isinstance(rule.signal, RatioSignal) and rule.signal.per:
            yield from _cost(setup, rollout, rule, rule.signal)
            yield from _without_a_user(setup, rollout, rule, rule.signal)


def _cost(setup: Setup, rollout: Rollout, rule: Rule, signal: RatioSignal) -> Iterator[Check]:
    about, step = f"{rollout.name} {rule.name}", setup.terms.step
    want = Want(
        rollout.name, rule.name, "step", signal, rollout.cohorts_of(rule), step, Range.STEP, rule.absent_is_zero
    )
    deadline = Deadline(PATIENCE)
    before = deadline.remaining()
    setup.source.read([want], setup.terms.until, deadline)
    took = before - deadline.remaining()
    if setup.labels is None:
        return
    counters: dict[str, int] = {}
    for cohort, matchers in rollout.cohorts_of(rule).items():
        for some in (signal.trials, signal.events):
            found = [
                setup.labels.series_count(
                    Selector(one.metric, (*one.matchers, *matchers)), setup.terms.until, Deadline(PATIENCE)
                )
                for one in some
            ]
            number = sum(one for one in found if not isinstance(one, Unreadable))
            counters[cohort] = max(counters.get(cohort, 0), number)
    in_words = " and ".join(f"{number:,} of {cohort}" for cohort, number in counters.items())
    cost = f"`per: {signal.per}` reads {in_words} counters in every step of {step:g} s, in {took:.2f} s now"
    if max(counters.values(), default=0) <= MOST_SERIES:
        yield Check(about, Status.NOTE, cost)
        return
    fix = "use a label with fewer values (a team or a key), or remove `per`"
    yield Check(about, Status.WRONG, f"{cost}; over {MOST_SERIES:,} of a cohort the rule is UNKNOWN", fix)


def _without_a_user(setup: Setup, rollout: Rollout, rule: Rule, signal: RatioSignal) -> Iterator[Check]:
    nameless = tuple(Selector(one.metric, (*one.matchers, Matcher(signal.per, "=~", NO_USER))) for one in signal.trials)
    requests = RatioSignal(nameless, signal.trials)
    want = Want(rollout.name, rule.name, "nameless", requests, rollout.cohorts_of(rule), _HOUR, absent_is_zero=True)
    readings = setup.source.read([want], setup.terms.until, Deadline(PATIENCE))[want.key]
    for cohort, side in (("canary", readings.canary), ("control", readings.control)):
        if isinstance(side, Counts) and side.trials > 0 and side.events > _SOME * side.trials:
            yield Check(
                f"{rollout.name} {rule.name}",
                Status.WARNING,
                f"{side.events / side.trials:.0%} of {cohort}'s requests have no `{signal.per}`: each counts as a user "
                "of its own, so a storm among them counts in full",
                f"let the service write `{signal.per}` on all of its counters, or name another label",
            )
