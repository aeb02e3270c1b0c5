"""Billed tokens as our SDK exposes them and a source reads them back, of both cohorts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from killswitch.model import Cohort, Matcher, Rollout, SpendSettings
from killswitch.router.instruments import PrometheusInstruments
from killswitch.router.outcomes import Outcome
from killswitch.rules.loading import load_text
from killswitch.token_usage import Usage
from tests.doubles.expositions import BilledTokens, billed_between
from tests.doubles.scripted_source import rollout

MODELS = {Cohort.CONTROL: "old", Cohort.CANARY: "new"}
SPEND = SpendSettings("prices.json", (), (Matcher("job", "=", "copilot"),))


def page(*canary: Usage | None) -> str:
    """What a service shows after these answers of the canary, and one of control."""
    registry = CollectorRegistry()
    instruments = PrometheusInstruments.of(registry)
    served = {cohort: instruments.series(cohort, model) for cohort, model in MODELS.items()}
    for usage in canary:
        served[Cohort.CANARY].ended(Outcome.OK, 1.0, judged=True)
        served[Cohort.CANARY].billed(usage)
    served[Cohort.CONTROL].ended(Outcome.OK, 1.0, judged=True)
    return generate_latest(registry).decode()


def steps_between(before: str, after: str, job: str = "copilot", of: Rollout | None = None) -> BilledTokens:
    return billed_between({"i": before}, {"i": after}, of or replace(rollout(), spend=SPEND), job=job)


def test_tokens_of_a_step_are_read_by_kind() -> None:
    usage = Usage(input=70, cached_input=30, output=25, reasoning=15)
    assert steps_between(page(usage), page(usage, usage, usage)) == {
        Cohort.CANARY: {"input": 140.0, "cached_input": 60.0, "output": 50.0, "reasoning": 30.0},
        Cohort.CONTROL: {},
    }


def test_a_request_without_usage_counts_as_the_others() -> None:
    usage = Usage(input=70)
    assert steps_between(page(), page(usage, None, None))[Cohort.CANARY] == {"input": 210.0}
    assert steps_between(page(), page(None))[Cohort.CANARY] is None


def test_another_services_tokens_are_not_ours() -> None:
    assert steps_between(page(), page(Usage(input=70)), job="other") == {Cohort.CANARY: None, Cohort.CONTROL: None}


def rollout_of(preset: str, more: str = "") -> Rollout:
    text = f"rollout: r\ncontrol: old\ncanary: new\nmetrics: {preset}\nspend: {{prices: prices.json}}\n{more}"
    (one,) = load_text(text.encode(), name="f.yaml").rollouts
    return one


def lines(samples: dict[str, float]) -> str:
    """An exposition of counters, each with what it holds."""
    return "".join(f"{series} {value}\n" for series, value in samples.items())


LITELLM = {
    "litellm_total_tokens_metric_total": 1_300.0,
    "litellm_input_tokens_metric_total": 1_000.0,
    "litellm_input_cached_tokens_metric_total": 600.0,
    "litellm_input_cache_creation_tokens_metric_total": 100.0,
    "litellm_output_tokens_metric_total": 300.0,
    "litellm_output_reasoning_tokens_metric_total": 200.0,
}


def litellm(times: int) -> str:
    """The proxy's page after so many answers of the canary, and one of control without details."""
    canary = {f'{name}{{requested_model="new"}}': times * one for name, one in LITELLM.items()}
    control = {
        f'{name}{{requested_model="old"}}': 1.0 for name in LITELLM if "cach" not in name and "reasoning" not in name
    }
    return lines({**canary, **control})


def test_litellms_input_and_output_hold_their_details() -> None:
    """They are counted once, each at its own price; a model whose provider says no details has none."""
    assert steps_between(litellm(1), litellm(3), of=rollout_of("litellm")) == {
        Cohort.CANARY: {
            "input": 600.0, "cached_input": 1_200.0, "cache_write": 200.0, "output": 200.0, "reasoning": 400.0,
        },
        Cohort.CONTROL: {},
    }  # fmt: skip


def test_without_litellms_details_everything_costs_as_input_or_output() -> None:
    """Older releases do not have these counters."""
    before, after = (litellm(times).replace("cach", "other").replace("reasoning", "other") for times in (1, 3))
    found = steps_between(before, after, of=rollout_of("litellm"))
    assert found[Cohort.CANARY] == {"input": 2_000.0, "output": 600.0}


def test_litellm_without_its_token_counters_is_unknown() -> None:
    page = lines({'litellm_proxy_total_requests_metric_total{requested_model="new"}': 5.0})
    assert steps_between(page, page, of=rollout_of("litellm")) == {Cohort.CANARY: None, Cohort.CONTROL: None}


@pytest.mark.parametrize(
    ("metered", "found"),
    [(4.0, {"input": 400.0, "output": 80.0}), (2.0, {"input": 800.0, "output": 160.0}), (0.0, None)],
    ids=["all", "half", "none"],
)
def test_otels_requests_without_usage_count_as_the_others(metered: float, found: dict[str, float] | None) -> None:
    def page(requests: float, used: float, tokens: float) -> str:
        one = 'gen_ai_request_model="new"'
        return lines(
            {
                f"gen_ai_client_operation_duration_seconds_count{{{one}}}": requests,
                f'gen_ai_client_token_usage_count{{{one},gen_ai_token_type="input"}}': used,
                f'gen_ai_client_token_usage_sum{{{one},gen_ai_token_type="input"}}': 5 * tokens,
                f'gen_ai_client_token_usage_sum{{{one},gen_ai_token_type="output"}}': tokens,
            }
        )

    between = steps_between(page(1, 1, 20), page(5, 1 + metered, 100), of=rollout_of("opentelemetry-genai"))
    assert between[Cohort.CANARY] == found


def test_the_presets_of_our_sdk_and_of_litellm_differ() -> None:
    """A rollout with our router library's metrics is read by its cohort, whatever else its file says."""
    assert rollout_of("cohort-labels").spend.tokens is None
    assert rollout_of("litellm").spend.tokens is not None
