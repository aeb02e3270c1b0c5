"""The text of a first rule file: readable, accepted by the reader, and no text of a store can break out of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from killswitch.model import Cohort, Matcher, Mode
from killswitch.preflight.first_rules.draft import Names, RuleDraft, RuleFileDraft
from killswitch.preflight.first_rules.families import Family, known_families
from killswitch.preflight.first_rules.own_counters import family_of
from killswitch.preflight.first_rules.writable import comment, rollout_name, writable
from killswitch.rules.loading import load_text
from killswitch.sources.prometheus import promql

NAMES = Names("copilot", "old", "new", slack="#llm-oncall", mention="<!here>")
(SDK,) = known_families({"llm_requests_total"})


def own() -> Family:
    return family_of("chat_requests_total", {"chat_errors_total", "chat_latency_seconds_bucket"}, "variant", ("a", "b"))


def test_a_draft_is_a_whole_rule_file_in_dry_run() -> None:
    rules = {"error_rate": RuleDraft({"max": "2%"}, "Control: 0.4% in the last 7 days.")}
    draft = RuleFileDraft(SDK, NAMES, ("Written by hand.",), rules, {"refusal_rate": "never seen"})
    (rollout,) = load_text(draft.text().encode()).rollouts
    assert rollout.mode is Mode.DRY_RUN
    assert [rule.name for rule in rollout.rules] == ["error_rate"]
    assert (rollout.page.slack, rollout.page.mention) == ("#llm-oncall", "<!here>")
    assert "# Not watched: refusal_rate: never seen." in draft.text()
    assert all(len(line) <= 110 for line in draft.text().splitlines())


def test_counters_of_ones_own_and_a_service_are_written_as_matchers() -> None:
    names = replace(
        NAMES,
        match=(Matcher("job", "=", "chat"),),
        control_is=Matcher("variant", "=", "a"),
        canary_is=Matcher("variant", "=", "b"),
    )
    (rollout,) = load_text(RuleFileDraft(own(), names).text().encode()).rollouts
    assert rollout.cohorts[Cohort.CANARY] == (Matcher("variant", "=", "b"),)
    assert {rule.name for rule in rollout.rules} == {"error_rate", "latency_p95"}


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_of_the_store_breaks_out_of_yaml_or_promql(value: str, said: str) -> None:
    """A label's value is the same text in the rollout, or is not writable; comments hold what they may."""
    if not (writable(value) and value != "b"):
        return
    names = replace(
        NAMES,
        control=value,
        match=(Matcher("job", "=", value),),
        control_is=Matcher("variant", "=", value),
        canary_is=Matcher("variant", "=", "b"),
    )
    rules = {"error_rate": RuleDraft({"max": "2%"}, said)}
    draft = RuleFileDraft(own(), names, (said, value), rules, {"latency_p95": said})
    (rollout,) = load_text(draft.text().encode("utf-8", "surrogatepass")).rollouts
    assert rollout.control == value
    assert rollout.cohorts[Cohort.CONTROL] == (Matcher("variant", "=", value),)
    assert rollout.mode is Mode.DRY_RUN
    assert [rule.name for rule in rollout.rules] == ["error_rate"]
    quoted = promql.matcher(Matcher("variant", "=", value))
    assert quoted.removeprefix('variant="').removesuffix('"').replace("\\\\", "").replace('\\"', "").count('"') == 0


def test_values_that_would_be_read_otherwise_are_not_writable() -> None:
    for value in ("", "a\nmode: enforce", "=~.*", "role:x.prod", " a", "x" * 201, "\u2028", "\ud800"):
        assert not writable(value), value
    for value in ('quo"te', "#hash", "yes", "{a: b}", "$(rm)", "模型"):
        assert writable(value), value


def test_a_comment_stays_a_comment() -> None:
    assert list(comment("a\nmode: enforce\u2028b")) == ["# a mode: enforce b"]


def test_a_name_is_made_fit_for_a_rollout() -> None:
    assert rollout_name("Support Copilot (EU)") == "support-copilot-eu"
    assert rollout_name("模型") == ""
    assert len(rollout_name("x" * 300)) == 63
