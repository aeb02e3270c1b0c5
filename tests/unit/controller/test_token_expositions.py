"""The counters of billed tokens on pages as their servers' own libraries write them.

`tests/unit/rules/expositions/README.md` says how the pages were made. LiteLLM is asked as a process, in `make compat`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.model import Cohort, Rollout
from killswitch.rules.loading import load_text
from tests.doubles.expositions import Pages, billed_between

FOLDER = Path(__file__).parents[1] / "rules" / "expositions" / "tokens"
COHORTS = ("control", "canary")


def rollout_of(preset: str, more: str = "") -> Rollout:
    text = f"rollout: r\ncontrol: old\ncanary: new\nmetrics: {preset}\nspend: {{prices: prices.json}}\n{more}"
    (one,) = load_text(text.encode(), name="f.yaml").rollouts
    return one


VLLM = rollout_of("vllm", "cohorts: {control: {instance: control}, canary: {instance: canary}}\n")


def vllm(when: str, *without: str) -> Pages:
    """A page of each cohort, without the lines of these metrics."""
    pages = {cohort: (FOLDER / f"vllm.{cohort}.{when}.prom").read_text() for cohort in COHORTS}
    return {
        cohort: "".join(line for line in page.splitlines(keepends=True) if not line.startswith(without))
        for cohort, page in pages.items()
    }


def test_vllms_cached_input_has_its_own_price() -> None:
    """Control read 2,000 tokens, 600 of them cached. The canary's two engines read 940, 400 of them cached."""
    assert billed_between(vllm("before"), vllm("after"), VLLM) == {
        Cohort.CONTROL: {"input": 1_400.0, "cached_input": 600.0, "output": 350.0},
        Cohort.CANARY: {"input": 540.0, "cached_input": 400.0, "output": 410.0},
    }


def test_an_older_vllm_counts_all_input_alike() -> None:
    """It has neither of the newer counters."""
    newer = ("vllm:prompt_tokens_cached", "vllm:prompt_tokens_by_source")
    assert billed_between(vllm("before", *newer), vllm("after", *newer), VLLM) == {
        Cohort.CONTROL: {"input": 2_000.0, "output": 350.0},
        Cohort.CANARY: {"input": 940.0, "output": 410.0},
    }


@pytest.mark.parametrize("missing", ["vllm:prompt_tokens_total", "vllm:generation_tokens_total"])
def test_vllm_without_a_counter_of_tokens_is_unknown(missing: str) -> None:
    found = billed_between(vllm("before", missing), vllm("after", missing), VLLM)
    assert found == {Cohort.CONTROL: None, Cohort.CANARY: None}


def opentelemetry(when: str) -> Pages:
    return {"service": (FOLDER / f"opentelemetry-genai.{when}.prom").read_text()}


def test_opentelemetrys_tokens_are_read_by_type() -> None:
    """Control: three answers of 200 + 20 and an error. Canary: four of 90 + 30, two without usage, and a timeout."""
    found = billed_between(opentelemetry("before"), opentelemetry("after"), rollout_of("opentelemetry-genai"))
    assert found == {
        Cohort.CONTROL: {"input": 600.0, "output": 60.0},
        Cohort.CANARY: {"input": 6 * 90.0, "output": 6 * 30.0},
    }
