"""Writes what is generated from the schemas of rule files and role files: a page of each, and what editors read.

``python -m killswitch.rules.reference`` in the repository's root writes them. With ``--check`` it compares
them instead and exits with 1 if they are not current; CI runs that.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from killswitch.generated_files import write_or_check
from killswitch.model import Selector
from killswitch.rules.counter_advice import counter_advice
from killswitch.rules.drill_keys import DrillSpec
from killswitch.rules.editor_schema import json_schema_text
from killswitch.rules.limits import limits_in_words
from killswitch.rules.loading import load_text
from killswitch.rules.plan_keys import PlanSpec, PlanStageSpec
from killswitch.rules.presets import PRESETS, Preset
from killswitch.rules.reference_tables import cell, key_tables
from killswitch.rules.role_reference import ROLE_DOCS, ROLE_SCHEMA, role_reference, role_schema_text
from killswitch.rules.schema import (
    DEFAULT_DECIDE,
    CohortsSpec,
    MetricsSpec,
    PageSpec,
    RuleFile,
    RuleSpec,
    ShadowSpec,
    SpendCapSpec,
    SpendSpec,
)
from killswitch.rules.selectors import selector_in_words
from killswitch.rules.slow_schema import SlowScheduleSpec, SlowSignalSpec, SlowSpec, SlowUsersSpec

_WIDTH = 120
DOCS = Path("docs/rules.md")
SCHEMA = Path("rules/killswitch.schema.json")

SMALLEST = """\
# yaml-language-server: $schema=./killswitch.schema.json
rollout: support-copilot
control: model-old
canary: model-new
"""

# Whole files, each read by a test, so that no example here is refused.
EXAMPLES: Mapping[str, str] = {
    "A rate of your own counters, only of one service": """\
rollout: search-answers
control: model-old
canary: model-new
match: {service: search}
rules:
  empty_answer_rate:
    events: 'answers_total{kind="empty"}'
    trials: answers_total
    max_increase: 2pp
    floor: 0.5%              # up to this rate it is fine, whatever control has
""",
    "Users instead of requests": """\
rollout: support-copilot
control: model-old
canary: model-new
metrics: litellm
rules:
  error_rate:
    max: 2%                  # of the users who were active in a step
    per: api_key_alias       # see counting.md: who counts as a user
""",
    "A quantile of your own histogram": """\
rollout: first-token
control: model-old
canary: model-new
rules:
  first_token_p90:
    histogram: llm_first_token_seconds
    quantile: 0.9
    max_ratio: 1.5
    max_increase: 200ms      # over both: 1.5 times as slow, and by at least 200 ms
""",
    "A free query per cohort": """\
rollout: answer-quality
control: model-old
canary: model-new
rules:
  bad_answers:
    query:
      control: avg(judge_bad_share{model="model-old"})
      canary: avg(judge_bad_share{model="model-new"})
    unit: percent            # the query yields 0.02 for 2 %
    max_increase: 3pp
""",
    "Metrics of your own for the standard signals": """\
rollout: translations
control: eu-1
canary: eu-2
metrics:
  requests: translate_requests_total
  errors: '{code=~"5.."}'    # narrows the counters of requests
  latency: translate_duration_seconds
cohorts:
  control: {deployment: eu-1}
  canary: {deployment: eu-2}
rules:
  error_rate: {max: 1%, even_if_control_is_bad: true}
  latency_p99: {max: 8s}
""",
    "LiteLLM, with refusals counted by your own service": """\
rollout: proxy
control: gpt-old
canary: gpt-new
metrics: litellm
rules:
  error_rate: {max: 2%}
  latency_p95: {max_ratio: 1.5}
  refusal_rate:
    events: llm_refusals_total
    trials: llm_requests_total
    cohorts: {control: {model: gpt-old}, canary: {model: gpt-new}}
    max_increase: 5pp
""",
    "vLLM, a job per model": """\
rollout: self-hosted
control: llama-old
canary: llama-new
metrics: vllm
cohorts: {control: {job: vllm-old}, canary: {job: vllm-new}}
rules:
  error_rate: {max: 2%}
  latency_p95: {max_ratio: 1.5}
""",
}


def reference() -> str:
    """The text of ``docs/rules.md``."""
    sections = (_introduction(), _keys(), _rules(), _units(), _presets(), _examples(), counter_advice(), _refusals())
    return "".join(f"{line}\n" for section in sections for line in section)


def _introduction() -> Iterator[str]:
    yield "# Rule files"
    yield ""
    yield "<!-- Generated: `python -m killswitch.rules.reference`. Change the schema's descriptions, not this file. -->"
    yield ""
    yield "Each rollout has one YAML file, in a folder (a ConfigMap). `killswitch check rules/` prints every error of"
    yield "every file, with file, line and fix, and exits with 2. Everything but three names has a default:"
    yield ""
    yield from _fenced(SMALLEST)
    yield "`rules/support-copilot.yaml` is the same with every default written out. The first line gives editors"
    yield "completion and checks from `rules/killswitch.schema.json`."
    yield ""


def _keys() -> Iterator[str]:
    sections: tuple[tuple[str, type[BaseModel], str], ...] = (
        ("Keys of a file", RuleFile, ""),
        ("Keys of a rule", RuleSpec, "`rules.<name>`: "),
        ("Keys of `metrics`", MetricsSpec, ""),
        ("Keys of `cohorts`", CohortsSpec, ""),
        ("Keys of `page`", PageSpec, ""),
        ("Keys of `shadow`", ShadowSpec, ""),
        ("Keys of `spend`", SpendSpec, ""),
        ("Keys of a cap", SpendCapSpec, "`spend.caps`, a list: "),
        ("Keys of `plan`", PlanSpec, ""),
        ("Keys of a stage", PlanStageSpec, "`plan.stages`, a list: "),
        ("Keys of `drill`", DrillSpec, ""),
        ("Keys of `slow`", SlowSpec, ""),
        ("Keys of `slow.users`", SlowUsersSpec, ""),
        ("Keys of a slow signal", SlowSignalSpec, "`slow.signals.<name>`: "),
        ("Keys of `slow.every`", SlowScheduleSpec, ""),
    )
    yield from key_tables(sections)


def _rules() -> Iterator[str]:
    (rollout,) = load_text(SMALLEST.encode()).rollouts
    yield "## The four default rules"
    yield ""
    yield "| rule | trips when the canary is |"
    yield "|---|---|"
    for rule in rollout.rules:
        yield f"| `{rule.name}` | {limits_in_words(rule)} |"
    yield ""
    yield 'The canary is over a rule if it is over *every* bound of the rule. `max` alone also means "and worse than'
    yield 'control", because routing back to an equally bad control helps no one; `even_if_control_is_bad: true` drops'
    yield "that. `latency_p50`, `latency_p99` and so on name other quantiles."
    yield ""
    yield f"`decide` is `{DEFAULT_DECIDE.value}` if a file does not say. `for` can only be used with `threshold`:"
    yield "`evidence` needs no waiting time."
    yield ""


def _units() -> Iterator[str]:
    yield "## Units"
    yield ""
    yield "| what | written as | not as |"
    yield "|---|---|---|"
    yield "| a percent (`max` and `floor` of rates) | `2%` | `0.02`, `2` |"
    yield "| percentage points (`max_increase` of rates) | `5pp` | `5%`, which could mean 5 % of control's rate |"
    yield "| a ratio (`max_ratio`) | `1.5` | `150%`; `0.5`, which would trip a canary as good as control |"
    yield "| a duration | `250ms`, `90s`, `5m`, `1h30m`, `1d` | `300` |"
    yield "| requests in a time (`plan.rate`) | `50/s`, `90/m`, `1000/h` | `50` |"
    yield "| a budget (`false_trips`) | `1% per day`, `5% per week` | `1%` |"
    yield ""


def _presets() -> Iterator[str]:
    yield "## Presets"
    yield ""
    for preset in PRESETS.values():
        yield f"### `{preset.name}`"
        yield ""
        yield preset.about
        yield ""
        yield "| measure | read from |"
        yield "|---|---|"
        metrics = preset.metrics
        yield f"| requests | {_selectors(metrics.requests)} |"
        for measure in ("errors", "refusals", "thumbs_down"):
            yield f"| {measure} | {_selectors(metrics.events.get(measure))} |"
        unit = "seconds" if metrics.latency_unit == 1.0 else "milliseconds"
        yield f"| latency | {_selectors((metrics.latency,) if metrics.latency else None)} ({unit}) |"
        for kind, counters in (preset.tokens.by_kind if preset.tokens else {}).items():
            yield f"| tokens for `spend`: {kind} | {_selectors(counters)} |"
        yield f"| cohorts | {_cohorts(preset)} |"
        yield ""
        said = [f"**Note:** {preset.trap}", f"**Not seen:** {preset.unseen}"]
        if preset.tokens is not None:
            said.append(f"**Spend does not see:** {preset.tokens_unseen}")
        for text in said:
            yield from textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
            yield ""
    yield "A rule that needs a metric which its preset does not have is refused, and the error names the key to add. A"
    yield "default rule is left out instead, and `check` reports that."
    yield ""


def _cohorts(preset: Preset) -> str:
    if preset.tells_apart is None:
        return "must be named by `cohorts:`"
    if preset.tells_apart == "cohort":
        return '`cohort="control"` and `cohort="canary"`'
    return f"by `{preset.tells_apart}`, which holds the model's name"


def _examples() -> Iterator[str]:
    yield "## Signals of your own"
    yield ""
    for title, text in EXAMPLES.items():
        yield f"### {title}"
        yield ""
        yield from _fenced(text)


def _refusals() -> Iterator[str]:
    yield "## What is refused"
    yield ""
    yield "Unknown keys, keys that are there twice, two files with one rollout, a folder without rule files, files over"
    yield "256 kB, anything but UTF-8, YAML anchors, aliases and tags, nesting deeper than any key, and regular"
    yield "expressions that Prometheus would refuse."
    yield ""
    yield "Label names, metric names and matchers are read by a strict grammar and quoted again in queries, so that"
    yield "they cannot change a query. A free `query:` is sent unchanged, as a query of its own. Plain scalars follow"
    yield "YAML 1.2: `no` is a text, `1:30` is not a number."


def _fenced(text: str) -> Iterator[str]:
    yield "```yaml"
    yield text.rstrip("\n")
    yield "```"
    yield ""


def _selectors(selectors: tuple[Selector, ...] | None) -> str:
    return cell(" + ".join(f"`{selector_in_words(s)}`" for s in selectors)) if selectors else "none"


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; the exit code."""
    current = {
        DOCS: reference(),
        SCHEMA: json_schema_text(),
        ROLE_DOCS: role_reference(),
        ROLE_SCHEMA: role_schema_text(),
    }
    return write_or_check(current, command="python -m killswitch.rules.reference", check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
