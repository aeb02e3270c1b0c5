"""What is refused in a rule file: every error at once, with line and fix."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.rules.loading import load_text

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"


def problems(text: str) -> list[str]:
    with pytest.raises(BadRules) as refused:
        load_text(text.encode(), name="f.yaml")
    return list(refused.value.problems)


TABLE = [
    ("", ["f.yaml:1: the file is empty; fix: see docs/rules.md for the smallest rule file"]),
    ("- a\n", ["f.yaml:1: the file is not a mapping; fix: begin with `rollout: …`; see docs/rules.md"]),
    (
        "rollout: r\n",
        ["f.yaml:1: canary is missing; fix: add `canary: …`", "f.yaml:1: control is missing; fix: add `control: …`"],
    ),
    (HEAD + "error_rate: {max: 2%}\n", ["f.yaml:4: unknown key error_rate; fix: indent it under `rules:`"]),
    (HEAD + 'slack: "#oncall"\n', ["f.yaml:4: unknown key slack; fix: indent it under `page:`"]),
    (
        HEAD + "metric: cohort-labels\n",
        ["f.yaml:4: unknown key metric; fix: did you mean metrics? Or indent it under `metrics:`"],
    ),
    (
        HEAD + "shadow: {cohort: {}}\n",
        ["f.yaml:4: shadow.cohort matches every series; fix: name a label that only shadow requests have"],
    ),
    (
        HEAD + "shadow: {cohort: {cohort: control}}\n",
        ["f.yaml:4: shadow.cohort selects control's series; fix: name a label that only shadow requests have"],
    ),
    (
        HEAD + "match: {job: a}\nshadow: {cohort: {job: b}}\n",
        ["f.yaml:5: shadow.cohort.job contradicts match.job; fix: no series matches both; remove one"],
    ),
    (HEAD + "shadow: {keep_txt: never}\n", ["f.yaml:4: unknown key shadow.keep_txt; fix: did you mean keep_text?"]),
    (
        HEAD + "shadow: {keep_text_for: 400d}\n",
        ["f.yaml:4: shadow.keep_text_for: '400d' is out of range; fix: use 1s to 366d"],
    ),
    (
        HEAD + "spend:\n  caps:\n  - {scope: rolout, per: dy, soft: 40, hard: -$50, on_hard: hold}\n",
        [
            (
                "f.yaml:6: spend.caps.0.hard: '-$50' is not an amount of money; fix: an amount cannot be negative; "
                "write it without the sign"
            ),
            "f.yaml:6: spend.caps.0.per: 'dy' is not known; fix: did you mean day? It is one of hour, day, month",
            (
                "f.yaml:6: spend.caps.0.scope: 'rolout' is not a scope; fix: did you mean rollout? It is rollout "
                "(the canary), shadow, judge, or project:NAME"
            ),
            "f.yaml:6: spend.caps.0.soft: 40 has no currency; fix: write $40",
        ],
    ),
    (
        HEAD + "spend:\n  caps:\n  - {scope: control, per: day, hard: $5}\n  - {scope: shadow, per: day, hard: $1e9}\n"
        "  - {scope: shadow, per: hour, soft: $5, hard: $5}\n  - {scope: shadow, per: hour}\n",
        [
            (
                "f.yaml:6: spend.caps.0.scope: control can never be capped; fix: remove this cap; a cap of `rollout` "
                "is the canary's"
            ),
            (
                "f.yaml:7: spend.caps.1.hard: '$1e9' is not an amount of money; fix: write US dollars, such as $40 or "
                "$0.50"
            ),
            "f.yaml:8: soft is not under hard, so it would be no warning; fix: lower soft, or raise hard",
            "f.yaml:9: a cap without a limit; fix: add `hard: $…`, `soft: $…`, or both",
            "f.yaml:9: a second cap of shadow per hour; fix: keep one of them",
        ],
    ),
    (
        HEAD + "spend:\n  caps:\n  - {scope: judge, per: day, hard: $5, on_hard: trip}\n"
        "  - {scope: rollout, per: day, soft: $5, on_hard: trip}\n  - 5\n  - {scope: judge, per: hour, hart: $5}\n",
        [
            "f.yaml:6: on_hard is only for the canary (`scope: rollout`); at its hard cap judge is off; fix: remove it",
            "f.yaml:7: on_hard has no meaning without hard; fix: add `hard: $…`, or remove it",
            (
                "f.yaml:7: the canary's spend cannot be counted without prices; fix: add `prices: prices.json` under "
                "`spend`"
            ),
            (
                "f.yaml:8: spend.caps.2: must be a mapping; fix: write its keys indented under it: scope, per, soft, "
                "hard, on_hard"
            ),
            "f.yaml:9: a cap without a limit; fix: add `hard: $…`, `soft: $…`, or both",
            "f.yaml:9: unknown key spend.caps.3.hart; fix: did you mean hard?",
        ],
    ),
    (
        HEAD + "spend: {caps: {scope: judge}}\n",
        ["f.yaml:4: spend.caps: must be a list; fix: write one entry a line, each beginning with `- `"],
    ),
    (HEAD + "windw: 5m\n", ["f.yaml:4: unknown key windw; fix: did you mean window?"]),
    (
        HEAD + "rules:\n  error_rate:\n    max: 2\n",
        [
            (
                "f.yaml:6: rules.error_rate.max: '2' has no unit; a percent must be written with one; "
                "fix: write 2% if that is meant"
            )
        ],
    ),
    (
        HEAD + "rules:\n  latency_p95: {max: 2%}\n",
        ["f.yaml:5: rules.latency_p95.max: '2%' is a percent, but a duration belongs here; fix: write it like 90s"],
    ),
    (
        HEAD + "rules:\n  latency_p95: {max_ratio: 0.5}\n",
        [
            (
                "f.yaml:5: rules.latency_p95.max_ratio: 0.5 would trip a canary that is exactly as good as control; "
                "fix: use more than 1: max_ratio: 2 trips a canary over 2 times control's value"
            )
        ],
    ),
    (
        HEAD + "rules:\n  refusal_rate: {max_increase: 5%}\n",
        [
            (
                "f.yaml:5: rules.refusal_rate.max_increase: '5%' is a percent, but a number of percentage "
                "points belongs "
                "here; fix: write 5pp"
            )
        ],
    ),
    (
        HEAD + "rules:\n  error_rate: {floor: 1%}\n",
        [
            (
                "f.yaml:5: rules.error_rate has no bound (floor alone is not one); "
                "fix: add max: 2%, max_increase: 5pp or max_ratio: 2"
            )
        ],
    ),
    (
        HEAD + "rules:\n  error_rate: {max: 2%, floor: 1%}\n",
        [
            (
                "f.yaml:5: rules.error_rate: of max and floor only the higher one would count; "
                "fix: remove floor; it is for max_increase and max_ratio"
            )
        ],
    ),
    (
        HEAD + "rules:\n  error_rate: {max_ratio: 2, even_if_control_is_bad: true}\n",
        [
            (
                "f.yaml:5: rules.error_rate: even_if_control_is_bad needs `max` and no bound that compares with "
                "control; "
                "fix: remove it, or remove max_increase and max_ratio"
            )
        ],
    ),
    (
        HEAD + "decide: evidence\nfor: 2\n",
        [
            (
                "f.yaml:5: for has no meaning with `decide: evidence`; "
                "fix: remove it (evidence accumulates by itself), or use `decide: threshold`"
            )
        ],
    ),
    (
        HEAD + "decide: evidence\nrules:\n  error_rate: {max: 2%, for: 2}\n",
        [
            (
                "f.yaml:6: rules.error_rate.for has no meaning with `decide: evidence`; "
                "fix: remove it (evidence accumulates by itself), or use `decide: threshold`"
            )
        ],
    ),
    (
        HEAD + "rules: {}\n",
        ["f.yaml:4: rules is empty: nothing would be watched; fix: name a rule, or remove `rules`"],
    ),
    (
        HEAD + "rules:\n",
        ["f.yaml:4: rules has no value; fix: give it a value or remove it (without quotes # begins a comment)"],
    ),
    (
        HEAD + "page:\n  slack: #llm-oncall\n",
        ["f.yaml:5: page.slack has no value; fix: give it a value or remove it (without quotes # begins a comment)"],
    ),
    (
        HEAD + "page: {mention: '@here'}\n",
        [
            (
                "f.yaml:4: page.mention: '@here' mentions no one; fix: write Slack's own form: '<!here>', "
                "'<@U012AB3CD>' (a user) or '<!subteam^S012AB3CD>' (a group)"
            )
        ],
    ),
    (
        HEAD + "rules:\n  eror_rate: {max: 2%}\n",
        [
            (
                "f.yaml:5: no signal is called 'eror_rate'; fix: did you mean error_rate? A signal of your own needs "
                "events and trials, or histogram and quantile, or query"
            )
        ],
    ),
    (
        HEAD + "metrics: litelm\n",
        [
            (
                "f.yaml:4: metrics.preset: 'litelm' is not known; fix: did you mean litellm? It is one of "
                "cohort-labels, "
                "litellm, vllm, vllm-router, opentelemetry-genai, envoy-ai-gateway"
            )
        ],
    ),
    (
        HEAD + "metrics: litellm\nrules:\n  refusal_rate: {max_increase: 5pp}\n",
        [
            (
                "f.yaml:6: metrics: litellm has no metric for refusals, which refusal_rate needs; "
                "fix: name it (`metrics: {preset: litellm, refusals: my_metric}`), or remove the rule"
            )
        ],
    ),
    (
        HEAD + "metrics: vllm\n",
        [
            (
                "f.yaml:4: metrics: vllm cannot tell the cohorts apart by itself; "
                'fix: add `cohorts: {control: {job: "…"}, canary: {job: "…"}}` with labels that do'
            )
        ],
    ),
    (
        "rollout: r\ncontrol: a\ncanary: a\n",
        ["f.yaml:3: control and canary are both 'a'; fix: name two models, as requests name them"],
    ),
    (
        "rollout: Support\ncontrol: 4.10\ncanary: b\n",
        [
            (
                "f.yaml:1: rollout: 'Support' is not a valid rollout name; fix: use 1 to 63 of a-z 0-9 . _ - and "
                "begin and end "
                "with a letter or digit"
            ),
            "f.yaml:2: control: 4.1 is not a text; fix: put it in quotes",
        ],
    ),
    (
        HEAD + "match: {service: 'x\\ny', no-label: z}\n".replace("'", '"'),
        [
            (
                "f.yaml:4: match: label service: its value 'x\\ny' is not allowed; "
                "fix: use at most 512 printable characters on one line"
            )
        ],
    ),
    (
        HEAD + "cohorts: {control: {m: a}, canary: {m: a}}\n",
        ["f.yaml:4: both cohorts select the same series; fix: give them different values of a label"],
    ),
    (
        HEAD + "match: {cohort: canary}\n",
        [
            (
                "f.yaml:4: match narrows cohort, the label that tells the cohorts apart; "
                "fix: remove it from match, or write `cohorts:`"
            )
        ],
    ),
    (
        HEAD + "match: {arm: x}\ncohorts: {control: {arm: c}, canary: {arm: x, n: y}}\n",
        ["f.yaml:5: cohorts.control.arm contradicts match.arm; fix: no series matches both; remove one"],
    ),
    (
        HEAD + "when_blind: trip\n",
        [
            (
                "f.yaml:4: when_blind: neither hold nor {trip_after: …}; "
                "fix: write `hold`, or `{trip_after: 10m}` to trip after 10 minutes without usable metrics"
            )
        ],
    ),
    (
        HEAD + "false_trips: 1%\n",
        ["f.yaml:4: false_trips: '1%' is not a budget; fix: write it like `1% per day` (or `per week`)"],
    ),
    (
        HEAD + "min_requests: " + "9" * 400 + "\n",
        [f"f.yaml:4: min_requests: '{'9' * 56}… is not a whole number; fix: write a number from 1 to 1,000,000,000"],
    ),
    (
        HEAD + "rules:\n  x: {events: 'a_total', histogram: b_seconds, max: 2%}\n",
        ["f.yaml:5: rules.x has events and histogram; fix: keep one of them"],
    ),
    (
        HEAD + "rules:\n  x: {histogram: b, quantile: 0.9, max: 2s}\n",
        ["f.yaml:5: rules.x.unit is missing; fix: add `unit: seconds` or `unit: milliseconds`"],
    ),
    (
        HEAD + "rules:\n  x: {histogram: b_seconds, quantile: 95, max: 2s}\n",
        ["f.yaml:5: rules.x.quantile: 95 is not a quantile; fix: write a number between 0 and 1, such as 0.95"],
    ),
    (
        HEAD + "rules:\n  x: {query: {control: q, canary: q}, max: 3}\n",
        ["f.yaml:5: rules.x: both cohorts have the same query; fix: select each cohort's series"],
    ),
    (
        HEAD + "rules:\n  x: {query: {control: 'sum(a', canary: b}, max: 3}\n",
        [
            (
                "f.yaml:5: rules.x.query.control: 'sum(a' is not complete PromQL; "
                "fix: close its brackets and quotes, and leave comments out"
            )
        ],
    ),
    (
        HEAD + "rules:\n  latency_p95: {per: end_user, max_ratio: 1.5}\n",
        ["f.yaml:5: rules.latency_p95 is no rate: users who met an event cannot be counted; fix: remove per"],
    ),
    (
        HEAD + "decide: threshold\nrules:\n  error_rate: {per: end_user, max: 2%}\n",
        [
            (
                "f.yaml:6: rules.error_rate.per has no meaning with `decide: threshold`; "
                "fix: remove it, or use `decide: evidence`"
            )
        ],
    ),
    (
        HEAD + "rules:\n  error_rate: {per: 'end user', max: 2%}\n",
        [
            (
                "f.yaml:5: rules.error_rate.per: 'end user' is not a label's name as Prometheus shows it; "
                "fix: write a text that matches [a-zA-Z_][a-zA-Z0-9_]*"
            )
        ],
    ),
    (
        HEAD + "rules:\n  Bad: {max: 2%}\n",
        ["f.yaml:5: 'Bad' is not a valid rule name; fix: use a-z, digits and _, beginning with a letter"],
    ),
    (
        HEAD + "rules:\n  error_rate: 2%\n",
        [
            (
                "f.yaml:5: rules.error_rate: must be a mapping; fix: write its keys indented under it: max, "
                "max_increase, "
                "max_ratio, floor, even_if_control_is_bad, for, delay, absent_is_zero, events, trials, per, histogram, "
                "quantile, query, unit, cohorts"
            )
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), TABLE, ids=range(len(TABLE)))
def test_a_bad_file_is_refused_with_line_and_fix(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_all_errors_come_at_once_in_the_order_of_lines() -> None:
    found = problems(
        """\
rollout: Bad Name
control: a
canary: 4.10
rules:
  error_rate: {max: 0.02, mx: 3}
  latency_p95: {max: 2%, max_ratio: 0.5}
  eror_rate: {max: 2%}
  foo: {events: 'a{b', max: 2%}
window: 300
decide: evidance
for: 0
for: 1
page: {slack: #x
 }
"""
    )
    assert [line.split(":")[1] for line in found] == [
        "1",
        "3",
        "5",
        "5",
        "6",
        "6",
        "7",
        "8",
        "9",
        "10",
        "11",
        "12",
        "13",
    ]


def test_a_refused_key_is_not_reported_as_missing() -> None:
    assert len(problems(HEAD + "rules:\n  error_rate: {mx: 2%}\n")) == 1
    assert len(problems(HEAD + "rules:\n  x: {events: '{', trials: t_total, max: 2%}\n")) == 1
    assert len(problems("rollout: R\ncontrol: a\ncanary: b\n")) == 1
