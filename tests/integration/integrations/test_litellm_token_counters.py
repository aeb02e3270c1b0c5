"""The counters that the `litellm` preset bills are those of the installed LiteLLM, with the label of the cohort."""

from __future__ import annotations

import pytest
from litellm.types.integrations.prometheus import PrometheusMetricLabels

from killswitch.rules.loading import load_text

(ROLLOUT,) = load_text(
    b"rollout: r\ncontrol: old\ncanary: new\nmetrics: litellm\nspend: {prices: prices.json}\n", name="f.yaml"
).rollouts
TOKENS = ROLLOUT.spend.tokens
assert TOKENS is not None
COUNTERS = sorted({one.metric for each in (TOKENS.all_tokens, *TOKENS.by_kind.values()) for one in each})


@pytest.mark.parametrize("counter", COUNTERS)
def test_the_installed_litellm_has_the_counter_and_the_label(counter: str) -> None:
    labels = getattr(PrometheusMetricLabels, counter.removesuffix("_total"))
    assert "requested_model" in [str(getattr(label, "value", label)) for label in labels]
