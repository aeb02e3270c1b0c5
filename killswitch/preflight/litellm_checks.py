"""A check for the `litellm` preset: failures that belong to no cohort."""

from __future__ import annotations

import re
from collections.abc import Iterator

from killswitch.deadline import Deadline
from killswitch.model import Cohort, CohortMatchers, Counts, Matcher, RatioSignal, Rollout, Rule, Selector, Want
from killswitch.preflight.checks import PATIENCE, Check, Setup, Status
from killswitch.wording import count_in_words

_LITELLM_FAILURES = "litellm_proxy_failed_requests_metric_total"
_NAMELESS = "|None|unknown"  # a pattern: the empty name, too


def examine_litellm(setup: Setup, rollout: Rollout) -> Iterator[Check]:
    for rule in rollout.rules:
        if isinstance(rule.signal, RatioSignal):
            failures = [each for each in rule.signal.events if each.metric == _LITELLM_FAILURES]
            if failures:
                yield from _litellm_elsewhere(setup, rollout, rule, failures[0])
                return


def _litellm_elsewhere(setup: Setup, rollout: Rollout, rule: Rule, failed: Selector) -> Iterator[Check]:
    """Failures of requests for an alias, or without a model's name, belong to no cohort."""
    label = "requested_model"
    cohorts = rollout.cohorts_of(rule)
    named = [re.escape(one.value) for matchers in cohorts.values() for one in matchers if one.label == label]
    if not named:
        return
    failures = (failed,)
    places: CohortMatchers = {
        Cohort.CONTROL: (Matcher(label, "=~", _NAMELESS),),
        Cohort.CANARY: (Matcher(label, "!~", "|".join([*named, _NAMELESS])),),
    }
    want = Want(rollout.name, rule.name, "sum", RatioSignal(failures, failures), places, 3600.0, absent_is_zero=True)
    reading = setup.source.read([want], setup.terms.until, Deadline(PATIENCE))[want.key]
    found = [side.trials if isinstance(side, Counts) else 0.0 for side in (reading.control, reading.canary)]
    if sum(found) < 1:
        return
    nameless, others = (count_in_words(each) for each in found)
    yield Check(
        f"{rollout.name} {rule.name}",
        Status.WARNING,
        f"in an hour, {nameless} failures have no model's name (empty, None, unknown) and {others} the name of neither "
        "cohort: no rule sees them, and requests for an alias of the canary are among them",
        f"look at sum by ({label}) (increase({_LITELLM_FAILURES}[1h])); let control and canary name the groups that "
        "clients ask for, or count in your own service (metrics: cohort-labels)",
    )
