"""Which rules stage shadow judges, and which series it asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.flag import SHADOW
from killswitch.model import Cohort, Matcher, QuerySignal, Reason, Rule, ShadowSettings
from killswitch.verdicts.decide import DecisionKind, blinding, decide
from killswitch.verdicts.shadow_stage import in_shadow, shadow_cohorts
from tests.doubles.scripted_source import COHORTS, ERRORS, LATENCY, REFUSALS, THUMBS, rollout
from tests.unit.verdicts.judged_readings import flag
from tests.unit.verdicts.test_decide import UNKNOWNS

CONTROL, SHADOWED = (Matcher("cohort", "=", "control"),), (Matcher("cohort", "=", "shadow"),)
REGION = Matcher("region", "=", "eu")
BY_MODEL = {Cohort.CONTROL: (Matcher("model", "=", "a"),), Cohort.CANARY: (Matcher("model", "=", "b"),)}
OTHER_LABEL = (Matcher("traffic", "=", "shadow"),)


def test_the_canarys_label_becomes_the_shadows() -> None:
    """Control is who it was, and other matchers of the canary stay."""
    cohorts = {Cohort.CONTROL: CONTROL, Cohort.CANARY: (REGION, *COHORTS[Cohort.CANARY])}
    assert shadow_cohorts(cohorts, ()) == {Cohort.CONTROL: CONTROL, Cohort.CANARY: (REGION, *SHADOWED)}


@pytest.mark.parametrize("operator", ["!=", "=~", "!~"])
def test_only_an_equal_label_names_the_canary(operator: str) -> None:
    other = {**COHORTS, Cohort.CANARY: (Matcher("cohort", operator, "canary"),)}  # type: ignore[arg-type]  # one of them
    assert shadow_cohorts(other, ()) is None


def test_what_the_file_says_wins() -> None:
    assert shadow_cohorts(COHORTS, OTHER_LABEL) == {**COHORTS, Cohort.CANARY: OTHER_LABEL}
    assert shadow_cohorts(BY_MODEL, OTHER_LABEL) == {**BY_MODEL, Cohort.CANARY: OTHER_LABEL}


def test_rules_are_judged_on_plain_signals_of_the_shadow() -> None:
    """No user has the canary, so there are no users' first requests, and no feedback."""
    per_user = replace(REFUSALS, per_user=ERRORS.signal)
    found = in_shadow(rollout(rules=(ERRORS, LATENCY, per_user, THUMBS)))
    assert found.rollout.rules == (ERRORS, LATENCY, REFUSALS)
    assert found.rollout.cohorts == {**COHORTS, Cohort.CANARY: SHADOWED}
    assert [(rule, why.reason) for rule, why in found.unjudged] == [(THUMBS, Reason.NOT_IN_SHADOW)]


def test_a_rule_with_cohorts_of_its_own_is_judged_by_its_own_labels() -> None:
    """The rollout's label of shadow requests says nothing about other metrics."""
    own = replace(ERRORS, cohorts={**COHORTS, Cohort.CANARY: (REGION, *COHORTS[Cohort.CANARY])})
    other = replace(REFUSALS, cohorts=BY_MODEL)
    found = in_shadow(rollout(rules=(own, other), shadow=ShadowSettings(cohort=OTHER_LABEL)))
    assert found.rollout.cohorts_of(found.rollout.rules[0])[Cohort.CANARY] == (REGION, *SHADOWED)
    ((rule, why),) = found.unjudged
    assert rule == other
    assert why.detail.startswith("this rule's `cohorts:` do not say how shadow requests are labelled: tell its cohorts")


def test_a_free_query_waits() -> None:
    query = Rule("bad", QuerySignal("a", "b"), ERRORS.limits, ERRORS.unit)
    ((rule, why),) = in_shadow(rollout(rules=(query,))).unjudged
    assert rule == query
    assert why.detail.startswith("a free query asks for the canary's series")


def test_without_a_label_every_rule_says_what_to_add() -> None:
    found = in_shadow(replace(rollout(rules=(ERRORS, REFUSALS)), cohorts=BY_MODEL))
    assert found.rollout.rules == ()
    said = (
        "the rule file does not say how shadow requests are labelled: add `shadow: {cohort: {…}}` with a label that "
        "only they have"
    )
    assert {why.detail for _, why in found.unjudged} == {said}


@pytest.mark.parametrize("reason", Reason)
def test_stage_shadow_is_never_blind(reason: Reason) -> None:
    """No user has the canary: whatever cannot be seen, no one is woken for it and nothing is tripped."""
    unseen = UNKNOWNS[reason]
    assert not blinding(unseen, flag(0.0, SHADOW))
    assert decide([unseen], flag(0.0, SHADOW), rollout()).action is DecisionKind.HOLD
