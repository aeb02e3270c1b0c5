"""Presets and own signals: which series each rule reads, and the traps of other people's metrics."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.model import Cohort, Matcher, QuantileSignal, RatioSignal, Rollout, Rule, Selector
from killswitch.rules.loading import load_text
from killswitch.rules.presets import PRESETS, quantile_of
from killswitch.rules.selectors import checked

HEAD = "rollout: r\ncontrol: old\ncanary: new\n"


def rollout(text: str) -> Rollout:
    (one,) = load_text((HEAD + text).encode(), name="f.yaml").rollouts
    return one


def rules(text: str) -> dict[str, Rule]:
    return {rule.name: rule for rule in rollout(text).rules}


def problems(text: str) -> list[str]:
    with pytest.raises(BadRules) as refused:
        load_text((HEAD + text).encode(), name="f.yaml")
    return list(refused.value.problems)


def test_cohort_labels_judges_first_requests() -> None:
    """The preset cohort-labels judges users' first requests, and shows the plain counters."""
    found = rules("")
    not_errors = Matcher("outcome", "!~", "ok|success|refused|refusal|cancelled")
    for prefix, signals in (
        ("llm_", {name: rule.signal for name, rule in found.items()}),
        ("llm_judged_", {name: rule.per_user for name, rule in found.items()}),
    ):
        trials = (Selector(f"{prefix}requests_total"),)
        assert signals == {
            "error_rate": RatioSignal((Selector(f"{prefix}requests_total", (not_errors,)),), trials),
            "latency_p95": QuantileSignal(Selector(f"{prefix}latency_ms_bucket"), 0.95, 0.001),
            "refusal_rate": RatioSignal((Selector(f"{prefix}refusals_total"),), trials),
            "thumbs_down_rate": RatioSignal((Selector(f"{prefix}thumbs_down_total"),), trials),
        }
    assert found["thumbs_down_rate"].delay == 300.0
    assert found["error_rate"].delay == 0.0


def test_cohort_labels_uses_the_cohort_label_alone() -> None:
    """The preset cohort-labels tells the cohorts apart by the label `cohort` alone."""
    assert rollout("").cohorts == {
        Cohort.CONTROL: (Matcher("cohort", "=", "control"),),
        Cohort.CANARY: (Matcher("cohort", "=", "canary"),),
    }


def test_own_errors_apply_to_first_requests_as_well() -> None:
    """What counts as an error can be changed, for users' first requests as well."""
    found = rules("metrics: {preset: cohort-labels, errors: '{outcome=~\"error|timeout\"}'}\n")["error_rate"]
    matchers = (Matcher("outcome", "=~", "error|timeout"),)
    assert found.signal == RatioSignal((Selector("llm_requests_total", matchers),), (Selector("llm_requests_total"),))
    assert found.per_user == RatioSignal(
        (Selector("llm_judged_requests_total", matchers),), (Selector("llm_judged_requests_total"),)
    )


def test_a_counter_of_ones_own_has_no_per_user_signal() -> None:
    found = rules("metrics: {preset: cohort-labels, errors: my_errors_total}\n")
    assert found["error_rate"].signal == RatioSignal((Selector("my_errors_total"),), (Selector("llm_requests_total"),))
    assert found["error_rate"].per_user is None
    assert found["refusal_rate"].per_user is not None


def test_match_stands_in_every_selector() -> None:
    service = Matcher("service", "=", "copilot")
    for rule in rollout("match: {service: copilot}\n").rules:
        for signal in (rule.signal, rule.per_user):
            assert isinstance(signal, RatioSignal | QuantileSignal)
            used = (signal.buckets,) if isinstance(signal, QuantileSignal) else (*signal.events, *signal.trials)
            assert all(selector.matchers[0] == service for selector in used)


def test_litellm_counts_a_fallback_as_an_error() -> None:
    """As measured on the proxy: by deployment, cooldowns have no name and a fallback succeeds as control's."""
    found = rollout("metrics: litellm\n")
    errors, latency = found.rules
    assert errors.signal == RatioSignal(
        (
            Selector("litellm_proxy_failed_requests_metric_total"),
            Selector("litellm_deployment_successful_fallbacks_total"),
        ),
        (Selector("litellm_proxy_total_requests_metric_total"),),
    )
    assert latency.signal == QuantileSignal(Selector("litellm_llm_api_latency_metric_bucket"), 0.95, 1.0)
    for rule in (errors, latency):
        assert found.cohorts_of(rule)[Cohort.CANARY] == (Matcher("requested_model", "=", "new"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "metrics: litellm\ncohorts: {control: {cohort: control}, canary: {cohort: canary}}\n",
            (
                "f.yaml:5: cohorts: on failed requests of litellm, cohort is missing or wrong, so errors would be "
                "missed; fix: use requested_model or labels of the scrape itself (job, instance, …)"
            ),
        ),
        (
            "metrics: litellm\nmatch: {metadata_team: x}\n",
            (
                "f.yaml:5: match: on failed requests of litellm, metadata_team is missing or wrong, so errors would "
                "be missed; fix: use requested_model or labels of the scrape itself (job, instance, …)"
            ),
        ),
        (
            (
                "metrics: opentelemetry-genai\n"
                "cohorts: {control: {gen_ai_response_model: a}, canary: {gen_ai_response_model: b}}\n"
            ),
            (
                "f.yaml:5: cohorts: on failed requests of opentelemetry-genai, gen_ai_response_model is missing or "
                "wrong, so errors would be missed; "
                "fix: use gen_ai_request_model or labels of the scrape itself (job, instance, …)"
            ),
        ),
    ],
)
def test_a_label_that_failed_requests_lack_is_refused_for_errors(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_such_a_label_is_fine_without_an_error_rule() -> None:
    text = "metrics: litellm\ncohorts: {control: {cohort: a}, canary: {cohort: b}}\nrules: {latency_p95: {max: 3s}}\n"
    assert rollout(text).rules


def test_vllm_counts_server_errors_of_inference_requests_only() -> None:
    found = rollout("metrics: vllm\ncohorts: {control: {job: a}, canary: {job: b}}\n")
    signal = found.rules[0].signal
    assert isinstance(signal, RatioSignal)
    (events,), (trials,) = signal.events, signal.trials
    assert events.metric == trials.metric == "http_requests_total"
    assert events.matchers == (*trials.matchers, Matcher("status", "=~", "5.."))
    assert trials.matchers[0].label == "handler"


def test_the_duration_histogram_of_opentelemetry_is_a_variable() -> None:
    found = rules("metrics: {preset: opentelemetry-genai, metric: gen_ai_client_inference_duration_seconds}\n")
    base = "gen_ai_client_inference_duration_seconds"
    assert found["error_rate"].signal == RatioSignal(
        (Selector(f"{base}_count", (Matcher("error_type", "!=", ""),)),), (Selector(f"{base}_count"),)
    )
    assert found["latency_p95"].signal == QuantileSignal(Selector(f"{base}_bucket"), 0.95, 1.0)


def test_metric_belongs_to_presets_that_have_one() -> None:
    assert problems("metrics: {preset: litellm, metric: x_seconds}\n") == [
        "f.yaml:4: metrics.metric can only be used with opentelemetry-genai, envoy-ai-gateway; fix: remove it"
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_made_of_selectors_a_file_could_state(name: str) -> None:
    metrics = PRESETS[name].metrics
    used = [*(metrics.requests or ()), *(selector for events in metrics.events.values() for selector in events)]
    for selector in used:
        for matcher in selector.matchers:
            assert checked(matcher) == matcher
    assert metrics.latency is not None
    assert metrics.latency.metric.endswith("_bucket")


@pytest.mark.parametrize(
    ("name", "quantile"),
    [
        ("latency_p95", 0.95),
        ("latency_p50", 0.5),
        ("latency_p99", 0.99),
        ("latency_p999", 0.999),
        ("latency_p05", 0.05),
    ],
)
def test_the_quantile_is_in_the_name(name: str, quantile: float) -> None:
    assert quantile_of(name) == quantile


@pytest.mark.parametrize("name", ["latency_p5", "latency_p100", "latency_p00", "latency_p", "latency_p9999"])
def test_other_names_have_no_quantile(name: str) -> None:
    assert quantile_of(name) is None


def test_own_counters_are_divided_by_the_presets_requests() -> None:
    """Counters of one's own are divided by the preset's requests unless `trials` says otherwise."""
    found = rules(
        "rules:\n"
        "  a: {events: 'x_total{k=\"v\"}', max: 2%}\n"
        "  b: {events: [x_total, y_total], trials: z_total, max: 2%}\n"
        "  c: {events: '{outcome=\"timeout\"}', max_ratio: 2}\n"
    )
    assert found["a"].signal == RatioSignal(
        (Selector("x_total", (Matcher("k", "=", "v"),)),), (Selector("llm_requests_total"),)
    )
    assert found["b"].signal == RatioSignal((Selector("x_total"), Selector("y_total")), (Selector("z_total"),))
    assert found["c"].signal == RatioSignal(
        (Selector("llm_requests_total", (Matcher("outcome", "=", "timeout"),)),), (Selector("llm_requests_total"),)
    )


@pytest.mark.parametrize(
    ("histogram", "signal"),
    [
        ("histogram: a_seconds, quantile: 0.9", QuantileSignal(Selector("a_seconds_bucket"), 0.9, 1.0)),
        ("histogram: a_ms_bucket, quantile: 90%", QuantileSignal(Selector("a_ms_bucket"), 0.9, 0.001)),
        ("histogram: a, quantile: 0.9, unit: milliseconds", QuantileSignal(Selector("a_bucket"), 0.9, 0.001)),
    ],
)
def test_own_histograms_know_their_unit_by_name_or_are_told(histogram: str, signal: QuantileSignal) -> None:
    assert rules(f"rules:\n  q: {{{histogram}, max: 2s}}\n")["q"].signal == signal


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("trials: a_total, max: 2%", "rules.q has trials but no events; fix: add events: the counters of what is bad"),
        ("events: a_bucket, max: 2%", "rules.q.events: 'a_bucket' counts each request several times; fix: use a_count"),
        ("histogram: a_seconds, max: 2s", "rules.q has histogram but no quantile; fix: add quantile: 0.95"),
        ("quantile: 0.9, max: 2s", "rules.q has quantile but no histogram; fix: add histogram: its name"),
        (
            "histogram: a_count, quantile: 0.9, unit: seconds, max: 2s",
            "rules.q.histogram: no histogram is named; fix: write its name, with or without _bucket at the end",
        ),
        ("events: a_total, unit: percent, max: 2%", "rules.q is a rate: it has no unit; fix: remove unit"),
        (
            "query: {control: a, canary: b}, unit: milliseconds, max: 2",
            "rules.q.unit: a query yields number, percent or seconds; fix: use one of these",
        ),
        (
            "histogram: a_seconds, quantile: 0.9, absent_is_zero: true, max: 2s",
            "rules.q has no events counter that could be absent; fix: remove it",
        ),
    ],
)
def test_an_own_signal_that_is_incomplete_is_refused(rule: str, problem: str) -> None:
    assert problems(f"rules:\n  q: {{{rule}}}\n") == [f"f.yaml:5: {problem}"]


def test_metrics_of_ones_own_need_cohorts_and_requests() -> None:
    assert problems(
        "metrics: {errors: e_total}\ncohorts: {control: {a: b}, canary: {a: c}}\nrules: {error_rate: {max: 1%}}\n"
    ) == [
        (
            "f.yaml:6: `metrics` has no metric for requests, which error_rate needs; "
            "fix: name it (`metrics: {requests: my_metric}`), or remove the rule"
        )
    ]
    assert (
        "metrics of your own cannot tell the cohorts apart"
        in problems("metrics: {requests: r_total, errors: e_total}\n")[0]
    )
