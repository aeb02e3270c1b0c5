"""Presets on pages of the servers they are for: what each counts of both cohorts, and what it cannot see.

`expositions/README.md` says how the pages were made.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.model import Buckets, Rollout
from killswitch.rules.loading import load_text
from tests.doubles.expositions import Pages, counted, read_between

FOLDER = Path(__file__).parent / "expositions"
# of vLLM, each cohort has a page of its own
BY_INSTANCE = "cohorts: {control: {instance: control}, canary: {instance: canary}}\n"


def rollout_of(preset: str, more: str = "") -> Rollout:
    text = f"rollout: r\ncontrol: old\ncanary: new\nmetrics: {preset}\n{more}"
    (one,) = load_text(text.encode(), name="f.yaml").rollouts
    return one


def pages(preset: str, when: str) -> Pages:
    if preset == "vllm":
        return {cohort: (FOLDER / f"vllm.{cohort}.{when}.prom").read_text() for cohort in ("control", "canary")}
    return {"server": (FOLDER / f"{preset}.{when}.prom").read_text()}


def errors_of(preset: str, more: str = "") -> dict[str, tuple[float, float]]:
    return counted(pages(preset, "before"), pages(preset, "after"), rollout_of(preset, more))


def test_vllm_counts_5xx_of_inference_alone() -> None:
    """Control: 40 answered, 3 x 400, one 500; five 500 of `/tokenize`.

    Canary: 10 answered, 2 x 400, 3 x 500, 2 crashes and one 503. Not seen: 4 errors in a stream, 3 streams cut and
    2 clients that gave up are all `2xx`.
    """
    assert errors_of("vllm", BY_INSTANCE) == {"control": (1, 44), "canary": (6, 10 + 2 + 6 + 9)}


def test_the_vllm_router_counts_a_pods_500_as_an_error() -> None:
    """Canary: 15 answered, 5 x 500, 4 connections refused and served by the other pod, 3 streams cut.

    `vllm:request_errors_total` has 7 of the 12. Not seen: 6 requests for which no pod was left.
    """
    assert errors_of("vllm-router") == {"control": (1, 50), "canary": (12, 15 + 5 + 4 + 4 + 3)}


def test_opentelemetry_counts_every_type_of_error() -> None:
    """Control: 39 answered and a timeout. Canary: 12 answered, 3 x 500, 2 timeouts, 4 rate limits, one other."""
    assert errors_of("opentelemetry-genai") == {"control": (1, 40), "canary": (10, 22)}


def test_envoy_counts_each_attempt_at_a_backend() -> None:
    """Control: 45 answered, five of them after the canary failed, and one failure. Canary: 13 answered, 7 failed.

    Not seen: two requests whose model the gateway did not know.
    """
    assert errors_of("envoy-ai-gateway") == {"control": (1, 46), "canary": (7, 20)}


@pytest.mark.parametrize(
    ("preset", "more", "control", "canary"),
    [
        ("vllm", BY_INSTANCE, 40, 10 + 2),
        ("vllm-router", "", 50, 31),
        ("opentelemetry-genai", "", 40, 22),
        ("envoy-ai-gateway", "", 46, 20),
    ],
)
def test_latency_is_read_of_both_cohorts(preset: str, more: str, control: int, canary: int) -> None:
    reading = read_between(pages(preset, "before"), pages(preset, "after"), rollout_of(preset, more), "latency_p95")
    for side, count in ((reading.control, control), (reading.canary, canary)):
        assert isinstance(side, Buckets)
        assert side.counts[-1] == count
        assert any(0.64 < bound <= 1.28 for bound in side.bounds), "buckets of seconds around 0.7 s"


@pytest.mark.parametrize("preset", ["opentelemetry-genai", "envoy-ai-gateway"])
def test_the_answering_models_label_would_miss_errors(preset: str) -> None:
    """Why `gen_ai_response_model` is refused: failures do not carry the cohort's."""
    after = pages(preset, "after")["server"]
    failed = [line for line in after.splitlines() if 'error_type="' in line and 'error_type=""' not in line]
    assert failed
    assert not any('gen_ai_response_model="new' in line or 'gen_ai_response_model="old' in line for line in failed)
