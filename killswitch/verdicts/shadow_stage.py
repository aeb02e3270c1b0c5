"""Stage ``shadow``: which rules can be judged there, and on whose series. Pure.

No user has the canary in stage ``shadow``; shadow requests take its place. So the rules ask for the series of shadow
requests where they ask for the canary's elsewhere. What only users can say is not judged: their feedback, and which of
their requests came first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from killswitch.model import (
    SHADOW_COHORT,
    Cohort,
    CohortMatchers,
    Matcher,
    QuerySignal,
    Reason,
    Rollout,
    Rule,
    Unreadable,
)

_CANARY_LABEL = Matcher("cohort", "=", Cohort.CANARY.value)


class Unjudged(NamedTuple):
    """A rule that stage ``shadow`` cannot judge, and why."""

    rule: Rule
    why: Unreadable


class ShadowRules(NamedTuple):
    """``rollout`` with only the rules that stage ``shadow`` judges, against the shadow's series; and the others."""

    rollout: Rollout
    unjudged: tuple[Unjudged, ...]


def in_shadow(rollout: Rollout) -> ShadowRules:
    """The rollout as stage ``shadow`` judges it."""
    judged: list[Rule] = []
    unjudged: list[Unjudged] = []
    usual = shadow_cohorts(rollout.cohorts, rollout.shadow.cohort)
    for rule in rollout.rules:
        own = None if rule.cohorts is None else shadow_cohorts(rule.cohorts, ())
        why = _why_not(rule, usual if rule.cohorts is None else own)
        if why is None:
            judged.append(replace(rule, per_user=None, cohorts=own))
        else:
            unjudged.append(Unjudged(rule, Unreadable(Reason.NOT_IN_SHADOW, why)))
    return ShadowRules(replace(rollout, rules=tuple(judged), cohorts=usual or rollout.cohorts), tuple(unjudged))


def shadow_cohorts(cohorts: CohortMatchers, stated: tuple[Matcher, ...]) -> CohortMatchers | None:
    """The matchers of control and of shadow requests; None where it is not known how these are labelled.

    ``stated``: the shadow's matchers as the rule file says them. Without them ``cohort="canary"`` becomes
    ``cohort="shadow"``, and the canary's other matchers stay.
    """
    canary = cohorts[Cohort.CANARY]
    if stated:
        return {**cohorts, Cohort.CANARY: stated}
    if _CANARY_LABEL not in canary:
        return None
    shadow = tuple(replace(one, value=SHADOW_COHORT) if one == _CANARY_LABEL else one for one in canary)
    return {**cohorts, Cohort.CANARY: shadow}


def _why_not(rule: Rule, cohorts: Mapping[Cohort, object] | None) -> str | None:
    if isinstance(rule.signal, QuerySignal):
        return "a free query asks for the canary's series, and no user has the canary in stage shadow"
    if rule.delay > 0:
        return "no user sees a shadow answer, so there is no feedback on any"
    if cohorts is None:
        where = "this rule's `cohorts:` do" if rule.cohorts is not None else "the rule file does"
        return f"{where} not say how shadow requests are labelled: {_fix(rule)}"
    return None


def _fix(rule: Rule) -> str:
    if rule.cohorts is not None:
        return 'tell its cohorts apart by `cohort="control"` and `cohort="canary"`'
    return "add `shadow: {cohort: {…}}` with a label that only they have"


def nothing_counted(rule: Rule, *, shadowing: bool, rollout: str) -> str:
    """The sentence of a rule for which control has data, and no shadow request is counted."""
    if shadowing:
        why = (
            "no shadow requests are counted. Does a service send them (`Shadow(router, …)`), and are its metrics "
            "scraped? No user is affected"
        )
    else:
        why = f"nothing is shadowed. Begin with `killswitch stage {rollout} --shadow 5`"
    return f"{rule.name} unknown ({Reason.NO_DATA}): {why}"
