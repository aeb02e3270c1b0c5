"""Presets: the metrics that people already have, by the name of their writer: ``metrics: litellm``.

A preset says which counters are requests, errors, refusals and thumbs-down, which histogram is latency,
and which label tells the two cohorts apart. Each preset also says how its metrics can mislead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from killswitch.model import Matcher, QuantileSignal, RatioSignal, Selector, Signal, TokenCounters

ERROR_OUTCOMES = Matcher("outcome", "!~", "ok|success|refused|refusal|cancelled")
MILLISECONDS = 0.001
Measure = Literal["errors", "refusals", "thumbs_down", "latency"]

# which measure each standard signal is made of
RATES: Mapping[str, Measure] = {
    "error_rate": "errors",
    "refusal_rate": "refusals",
    "thumbs_down_rate": "thumbs_down",
}
LATENCY_PATTERN = r"latency_p([0-9]{2}|99[0-9])"
_LATENCY = re.compile(rf"{LATENCY_PATTERN}\Z", re.ASCII)
FEEDBACK_DELAY = 300.0  # seconds a thumbs-down may trail its request


@dataclass(frozen=True, slots=True)
class Metrics:
    """The selectors that each measure is read from; None, or no entry, if there is no such metric.

    ``events`` of a rate (errors, refusals, thumbs-down) are divided by ``requests``. ``latency`` selects
    ``…_bucket`` counters whose ``le`` times ``latency_unit`` is seconds.
    ``per_user``: the same for users' first requests alone.
    """

    requests: tuple[Selector, ...] | None = None
    events: Mapping[Measure, tuple[Selector, ...]] = field(default_factory=dict)
    latency: Selector | None = None
    latency_unit: float = 1.0
    per_user: Metrics | None = None

    def signal(self, name: str) -> Signal | None:
        """The standard signal of this name; None if a metric for it is missing."""
        if name in RATES:
            events = self.events.get(RATES[name])
            return RatioSignal(events, self.requests) if events and self.requests else None
        quantile = quantile_of(name)
        if quantile is None or self.latency is None:
            return None
        return QuantileSignal(self.latency, quantile, self.latency_unit)


@dataclass(frozen=True, slots=True)
class Preset:
    """The metrics of one writer.

    ``trap``: how the metrics can mislead. ``unseen``: failures for users that these metrics do not count.
    ``tells_apart``: the label that names the cohort: ``cohort`` holds ``control`` or ``canary``, any other label
    the model's name, and with None the rule file must say. ``truthful``: the only labels that are right on *failed*
    requests, None if all are. ``unsafe``: a pattern of labels that no matcher may use. ``missing_on_errors``:
    labels that failed requests do not have. ``metric``: the duration histogram's base name, if a file may replace it.
    ``tokens``: the counters of billed tokens, None if there are none, and ``tokens_unseen`` what they cannot tell.
    """

    name: str
    about: str
    trap: str
    unseen: str
    metrics: Metrics
    tells_apart: str | None
    truthful: frozenset[str] | None = None
    unsafe: str | None = None
    missing_on_errors: frozenset[str] = frozenset()
    metric: str | None = None
    tokens: TokenCounters | None = None
    tokens_unseen: str = ""


def standard(name: str) -> bool:
    """Whether ``name`` is a standard signal."""
    return name in RATES or quantile_of(name) is not None


def measure_of(name: str) -> Measure:
    """The measure behind a standard signal."""
    return RATES.get(name, "latency")


def quantile_of(name: str) -> float | None:
    """``latency_p95`` -> 0.95, ``latency_p999`` -> 0.999; None for names of other signals."""
    match = _LATENCY.match(name)
    return float(f"0.{match[1]}") if match and float(f"0.{match[1]}") > 0 else None


def with_metric(preset: Preset, metric: str) -> Preset:
    """The preset with its histogram's base name replaced (`metric:` in a rule file)."""
    tokens = preset.tokens
    if tokens is not None and tokens.requests:
        tokens = replace(tokens, requests=_counter(f"{metric}_count", Matcher("error_type", "=", "")))
    return replace(preset, metrics=_duration(metric), metric=metric, tokens=tokens)


def _counter(metric: str, *matchers: Matcher) -> tuple[Selector, ...]:
    return (Selector(metric, matchers),)


def _cohort_schema(prefix: str) -> Metrics:
    return Metrics(
        requests=_counter(f"{prefix}requests_total"),
        events={
            "errors": _counter(f"{prefix}requests_total", ERROR_OUTCOMES),
            "refusals": _counter(f"{prefix}refusals_total"),
            "thumbs_down": _counter(f"{prefix}thumbs_down_total"),
        },
        latency=Selector(f"{prefix}latency_ms_bucket"),
        latency_unit=MILLISECONDS,
    )


def _duration(metric: str) -> Metrics:
    """OpenTelemetry counts requests and errors in the duration histogram itself."""
    return Metrics(
        requests=_counter(f"{metric}_count"),
        events={"errors": _counter(f"{metric}_count", Matcher("error_type", "!=", ""))},
        latency=Selector(f"{metric}_bucket"),
    )


_REQUESTS_OF_SDK = (Selector("llm_requests_total", (Matcher("outcome", "!=", "error"),)),)
SDK_TOKENS = TokenCounters(
    by_kind={
        kind: _counter("llm_tokens_total", Matcher("kind", "=", kind))
        for kind in ("input", "cached_input", "cache_write", "output", "reasoning")
    },
    all_tokens=_counter("llm_tokens_total"),
    requests=_REQUESTS_OF_SDK,
    unmetered=_counter("llm_unmetered_requests_total"),
)
# Read from LiteLLM 1.110 (`integrations/prometheus.py`): `prompt_tokens` holds what was cached and written to a cache,
# and the counters of details are made at their first token. `requested_model` is the group that served the request.
_LITELLM_TOKENS = TokenCounters(
    by_kind={
        "input": _counter("litellm_input_tokens_metric_total"),
        "cached_input": _counter("litellm_input_cached_tokens_metric_total"),
        "cache_write": _counter("litellm_input_cache_creation_tokens_metric_total"),
        "output": _counter("litellm_output_tokens_metric_total"),
        "reasoning": _counter("litellm_output_reasoning_tokens_metric_total"),
    },
    all_tokens=_counter("litellm_total_tokens_metric_total"),
    within={"cached_input": "input", "cache_write": "input", "reasoning": "output"},
    always=frozenset({"input", "output"}),
)
# Read from vLLM's `vllm/v1/metrics/loggers.py`: `prompt_tokens` holds what its prefix caches had.
_VLLM_TOKENS = TokenCounters(
    by_kind={
        "input": _counter("vllm:prompt_tokens_total"),
        "cached_input": _counter("vllm:prompt_tokens_cached_total"),
        "output": _counter("vllm:generation_tokens_total"),
    },
    all_tokens=(*_counter("vllm:prompt_tokens_total"), *_counter("vllm:generation_tokens_total")),
    within={"cached_input": "input"},
    always=frozenset({"input", "output"}),
)
_USAGE_HISTOGRAM = "gen_ai_client_token_usage"
_INPUT_TOKENS = Matcher("gen_ai_token_type", "=", "input")
_OPENTELEMETRY_TOKENS = TokenCounters(
    by_kind={
        "input": _counter(f"{_USAGE_HISTOGRAM}_sum", _INPUT_TOKENS),
        "output": _counter(f"{_USAGE_HISTOGRAM}_sum", Matcher("gen_ai_token_type", "=~", "output|completion")),
    },
    all_tokens=_counter(f"{_USAGE_HISTOGRAM}_sum"),
    requests=_counter("gen_ai_client_operation_duration_seconds_count", Matcher("error_type", "=", "")),
    metered=_counter(f"{_USAGE_HISTOGRAM}_count", _INPUT_TOKENS),
)

_COHORT_LABELS = Preset(
    name="cohort-labels",
    about="Counters with a `cohort` label that is `control` or `canary`; our router library writes them.",
    trap=(
        "If the `llm_judged_…` counters exist (a user's first request in each five minutes), they are judged and "
        "the plain counters are only shown, so that one user's retries cannot trip a healthy canary. "
        "The `model` label does not tell the cohorts apart, because in stage `aa` both cohorts have the same model."
    ),
    unseen="Whatever your service does not report: wrap the whole request, and streams until their end.",
    metrics=replace(_cohort_schema("llm_"), per_user=_cohort_schema("llm_judged_")),
    tells_apart="cohort",
    tokens=SDK_TOKENS,
    tokens_unseen=(
        "Audio and images are counted as text. A request that did not say what it used counts as much as the others."
    ),
)
# Each situation was measured on the real proxy, with one and two deployments in the canary's group, and is again by
# `make compat`: tests/integration/integrations/test_litellm_proxy_counts.py. `requested_model` was true in all.
_LITELLM = Preset(
    name="litellm",
    about="The LiteLLM proxy. `control` and `canary` are model groups (`model_name` in `model_list`).",
    trap=(
        "Cohorts are told apart by the group that the client asked for. Other labels are wrong on failures: if the "
        "proxy picked no deployment (all are cooling down), there is no `litellm_model_name`; a request that fell back "
        "succeeds under control's name; custom metadata labels are `None`. So such labels are refused for "
        "`error_rate`. A request that fell back counts as an error of the group that was asked for, and as two errors "
        "if its stream then breaks. `4xx` and limits on a client's key count as errors in both cohorts. Latency counts "
        "successes only, under the group that served them. `/metrics` needs a key unless "
        "`require_auth_for_metrics_endpoint: false`. To count users instead of requests, write `per: api_key_alias` or "
        "`per: team`; `end_user` is not on the counter of fallbacks."
    ),
    unseen=(
        "Attempts that succeeded on a retry in the same group; requests that hang without a `timeout` of the proxy; "
        "requests for an alias instead of the group."
    ),
    metrics=Metrics(
        requests=_counter("litellm_proxy_total_requests_metric_total"),
        events={
            "errors": (
                Selector("litellm_proxy_failed_requests_metric_total"),
                Selector("litellm_deployment_successful_fallbacks_total"),
            )
        },
        latency=Selector("litellm_llm_api_latency_metric_bucket"),
    ),
    tells_apart="requested_model",
    truthful=frozenset(
        {"requested_model"}
        | {"job", "instance", "namespace", "pod", "container", "service", "cluster", "region", "env", "environment"}
    ),
    unsafe="metadata_.*|tag_.*",
    tokens=_LITELLM_TOKENS,
    tokens_unseen=(
        "If the provider does not say what was cached or written to a cache, all input costs as `input`. If it does "
        "not say what was reasoning, all output costs as `output`. Older releases lack these counters, and do the "
        "same. What LiteLLM's own cache answers counts as if it were paid. Audio and images count as text. Failed "
        "attempts count nothing, also where they are billed. A request that fell back costs what control's model "
        "costs. After a restart of the proxy, a model that no one asks is UNKNOWN, not 0."
    ),
)
_INFERENCE = Matcher("handler", "=~", "/v1/(chat/completions|completions|responses|messages|embeddings)")
# What each of the following presets counts is read from pages of its server: tests/unit/rules/expositions.
_VLLM = Preset(
    name="vllm",
    about="vLLM's OpenAI-compatible server, with a job (or pod) for each model.",
    trap=(
        "`http_requests_total` has no model label, so `cohorts` must say which job or pod is which. Errors are "
        "`5xx` answers of the inference endpoints. (`vllm:request_success_total` counts only finished requests, and "
        "probes of `/health` would dilute every rate.) Latency includes aborted requests."
    ),
    unseen=(
        "A stream that fails after its first words, and a client that stopped waiting: both count as `2xx`. A pod that "
        "is gone or refuses connections counts nothing."
    ),
    metrics=Metrics(
        requests=_counter("http_requests_total", _INFERENCE),
        events={"errors": _counter("http_requests_total", _INFERENCE, Matcher("status", "=~", "5.."))},
        latency=Selector("vllm:e2e_request_latency_seconds_bucket"),
    ),
    tells_apart=None,
    tokens=_VLLM_TOKENS,
    tokens_unseen=(
        "Reasoning costs as `output`. What the prefix cache had costs as `cached_input`; older releases do not count "
        "it, and it costs as `input`. Aborted requests count what was generated until then. The prices are yours: vLLM "
        "itself sends no bill."
    ),
)
# `vllm:request_errors_total` counts what raised in the router; a pod's 500 passes through it as an answer.
# `vllm:num_incoming_requests_total` also counts requests for which no pod was left, and they fail in no counter.
_VLLM_ROUTER = Preset(
    name="vllm-router",
    about="The router of vLLM's production stack, in front of both models.",
    trap=(
        "Requests and errors are attempts at a pod, counted in the router's latency histogram. An error is a `4xx` or "
        "`5xx` answer, a failed connection, or a cut stream, so a request that failed over counts as an error of the "
        "model that failed. `vllm:request_errors_total` is not used, because it misses a pod's `5xx`. Latency includes "
        "failed attempts."
    ),
    unseen=(
        "Requests for which there was no pod; models of external providers. An error inside a stream and a client that "
        "stopped waiting count as a success."
    ),
    metrics=Metrics(
        requests=_counter("vllm:request_latency_seconds_count"),
        events={"errors": _counter("vllm:request_latency_seconds_count", Matcher("status", "=", "error"))},
        latency=Selector("vllm:request_latency_seconds_bucket"),
    ),
    tells_apart="model",
    missing_on_errors=frozenset({"status"}),
)
_OPENTELEMETRY = Preset(
    name="opentelemetry-genai",
    about="OpenTelemetry's semantic conventions for generative AI, as Prometheus names them.",
    trap=(
        "The histogram was renamed in 2026 (`gen_ai.client.inference.duration`) and exporters differ in the "
        "`_seconds` suffix: set `metric:` if yours differs. Failed requests have no `gen_ai_response_model`, so "
        "cohorts are told apart by `gen_ai_request_model`. Agents, tools and embeddings record in the same histogram: "
        "add `match: {gen_ai_operation_name: chat}` where they share the model's name. Latency includes failures."
    ),
    unseen="Failures before the client is called, and attempts that succeeded on a retry inside the client.",
    metrics=_duration("gen_ai_client_operation_duration_seconds"),
    tells_apart="gen_ai_request_model",
    missing_on_errors=frozenset({"gen_ai_response_model"}),
    metric="gen_ai_client_operation_duration_seconds",
    tokens=_OPENTELEMETRY_TOKENS,
    tokens_unseen=(
        "The conventions know input and output alone: cached input costs as `input`, reasoning as `output`. A request "
        "without usage (often a stream) counts as much as the others. With `metric:`, requests are those of that name."
    ),
)
_ENVOY = Preset(
    name="envoy-ai-gateway",
    about="Envoy AI Gateway: OpenTelemetry's conventions, measured at the gateway.",
    trap=(
        "`gen_ai_original_model` is what the client asked for and may be the same in both cohorts; "
        "`gen_ai_response_model` is missing or `unknown` on failures; `gen_ai_request_model` is what was sent to the "
        "backend. Each attempt at a backend counts, so a request that fell back is an error of the model that failed. "
        "Latency includes failed attempts."
    ),
    unseen=(
        "A request is counted when its answer ends. Not counted are refused connections, timeouts, cut streams and "
        "clients that stop waiting. An error inside a stream counts as a success."
    ),
    metrics=_duration("gen_ai_server_request_duration_seconds"),
    tells_apart="gen_ai_request_model",
    missing_on_errors=frozenset({"gen_ai_response_model"}),
    metric="gen_ai_server_request_duration_seconds",
)

DEFAULT_PRESET = _COHORT_LABELS.name
PRESETS: Mapping[str, Preset] = {
    preset.name: preset for preset in (_COHORT_LABELS, _LITELLM, _VLLM, _VLLM_ROUTER, _OPENTELEMETRY, _ENVOY)
}
