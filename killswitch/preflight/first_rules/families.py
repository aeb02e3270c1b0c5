"""Families of metrics that are known by name: which of the presets' writers have written into this store? Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from killswitch.model import Selector
from killswitch.rules.presets import PRESETS, Preset, with_metric


class Apart(StrEnum):
    """How a rule file says which series are whose."""

    COHORT = "cohort"
    """A label holds ``control`` or ``canary``; the preset knows it."""
    MODEL = "model"
    """A label holds the model's name; the preset knows it."""
    STATED = "stated"
    """`cohorts:` names a label and a value for each cohort."""


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics of one writer, as a rule file would name them.

    ``metrics``: what the file has under `metrics:`, a preset's name or a mapping. ``requests``: the counter of all
    requests. ``labels``: those that may tell the cohorts apart, best first. ``models``: a counter that has the models'
    names, and its label, where ``requests`` has none. ``arms``: with STATED, the two values that look like control's
    and the canary's, if they do.
    """

    title: str
    metrics: str | dict[str, str]
    requests: Selector
    apart: Apart
    labels: tuple[str, ...]
    models: tuple[Selector, str] | None = None
    arms: tuple[str, str] | None = None

    @property
    def preset(self) -> Preset | None:
        name = self.metrics if isinstance(self.metrics, str) else self.metrics.get("preset")
        return PRESETS.get(name) if name is not None else None


# vLLM has no cohort of its own: what Prometheus or Kubernetes says of the server tells two servers apart
SERVER_LABELS = ("job", "service", "deployment", "app", "namespace", "pod", "instance")
_VLLM = "vllm:e2e_request_latency_seconds_count"
_RENAMED = {
    "opentelemetry-genai": re.compile(r"(gen_ai_client_(?:operation|inference)_duration(?:_seconds)?)_count"),
    "envoy-ai-gateway": re.compile(r"(gen_ai_server_request_duration(?:_seconds)?)_count"),
}
OF_PRESETS = re.compile(r"llm_|litellm_|vllm:|gen_ai_|killswitch_")
"""How the metrics of known writers begin, and our own."""


def known_families(names: AbstractSet[str]) -> Iterator[Family]:
    """Those of `names`, the names of all metrics of a store, that presets know."""
    for preset in PRESETS.values():
        if preset.name in _RENAMED:
            bases = {found[1] for name in names if (found := _RENAMED[preset.name].fullmatch(name))}
            yield from (
                _renamed(preset, base) for base in sorted(bases, key=lambda base: (base != preset.metric, base))
            )
            continue
        assert preset.metrics.requests is not None
        requests = preset.metrics.requests[0]
        if requests.metric not in names or (preset.name == "vllm" and _VLLM not in names):
            continue
        label = preset.tells_apart
        apart = Apart.STATED if label is None else Apart.COHORT if label == "cohort" else Apart.MODEL
        models = (Selector(_VLLM), "model_name") if preset.name == "vllm" else None
        yield Family(preset.about, preset.name, requests, apart, (label,) if label else SERVER_LABELS, models)


def _renamed(preset: Preset, base: str) -> Family:
    named = preset if base == preset.metric else with_metric(preset, base)
    assert named.metrics.requests is not None
    assert named.tells_apart is not None
    metrics: str | dict[str, str] = preset.name
    if base != preset.metric:
        metrics = {"preset": preset.name, "metric": base}
    return Family(preset.about, metrics, named.metrics.requests[0], Apart.MODEL, (named.tells_apart,))
