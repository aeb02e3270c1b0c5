"""Rule files and folders: every error at once, with file, line and fix; and nothing else is ever raised."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from killswitch.errors import BadRules
from killswitch.model import Cohort, Decide, Limits, Matcher, Mode, PageSettings, QuerySignal, Unit
from killswitch.rules.document import MAX_BYTES
from killswitch.rules.loading import Loaded, load_folder, load_text

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"
SHIPPED = Path(__file__).parents[3] / "rules"


def problems(text: str) -> list[str]:
    with pytest.raises(BadRules) as refused:
        load_text(text.encode(), name="f.yaml")
    return list(refused.value.problems)


def loaded(text: str) -> Loaded:
    return load_text(text.encode(), name="f.yaml")


# --- what a good file means ---------------------------------------------------------------------


def test_three_names_are_enough() -> None:
    (rollout,) = loaded(HEAD).rollouts
    assert [rule.name for rule in rollout.rules] == ["error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate"]
    assert [rule.limits for rule in rollout.rules] == [
        Limits(maximum=0.02),
        Limits(max_ratio=1.5),
        Limits(max_increase=0.05),
        Limits(max_ratio=2.0),
    ]
    assert (rollout.window, rollout.min_requests, rollout.mode) == (300.0, 100, Mode.ENFORCE)
    assert (rollout.false_trips_per_day, rollout.bursts, rollout.trip_when_blind_after) == (0.01, "auto", None)
    assert rollout.page == PageSettings()
    assert rollout.file == "f.yaml"


def test_the_shipped_file_says_what_the_defaults_say() -> None:
    """The shipped file has no warning, and says what the defaults say."""
    shipped = load_folder(SHIPPED)
    (rollout,) = shipped.rollouts
    (bare,) = loaded("rollout: support-copilot\ncontrol: model-old\ncanary: model-new\n").rollouts
    assert shipped.warnings == ()
    assert rollout.rules == bare.rules
    assert rollout.cohorts == bare.cohorts
    assert (rollout.window, rollout.min_requests, rollout.decide, rollout.mode) == (300.0, 100, bare.decide, bare.mode)


def test_every_key_arrives_in_the_rollout() -> None:
    (rollout,) = loaded(
        HEAD
        + """\
match: {service: copilot}
cohorts: {control: {arm: c}, canary: 'arm=~"k1|k2"'}
rules:
  error_rate: {max: 2%, even_if_control_is_bad: true, for: 3, absent_is_zero: true}
  latency_p99: {max: 3s, max_increase: 250ms, max_ratio: 1.2, delay: 1m}
window: 10m
min_requests: 50
decide: threshold
for: 2
when_blind: {trip_after: 10m}
mode: dry_run
page: {slack: "#x", pagerduty: search, mention: "<@U1>", severity: warning, runbook: https://a.example, dashboard: "https://b.example/?q=1"}
"""
    ).rollouts
    errors, latency = rollout.rules
    assert rollout.cohorts == {
        Cohort.CONTROL: (Matcher("arm", "=", "c"),),
        Cohort.CANARY: (Matcher("arm", "=~", "k1|k2"),),
    }
    assert errors.limits == Limits(maximum=0.02, even_if_control_is_bad=True)
    assert (errors.for_ticks, errors.absent_is_zero) == (3, True)
    assert latency.limits == Limits(maximum=3.0, max_increase=0.25, max_ratio=1.2)
    assert (latency.for_ticks, latency.delay, latency.unit) == (2, 60.0, Unit.SECONDS)
    assert (rollout.window, rollout.min_requests, rollout.decide) == (600.0, 50, Decide.THRESHOLD)
    assert (rollout.trip_when_blind_after, rollout.mode) == (600.0, Mode.DRY_RUN)
    assert rollout.page == PageSettings(
        "#x", "<@U1>", "warning", "https://a.example", "https://b.example/?q=1", pagerduty="search"
    )


def test_evidence_takes_its_budget_and_bursts() -> None:
    (rollout,) = loaded(HEAD + "decide: evidence\nfalse_trips: 7% per week\nbursts: long\n").rollouts
    assert (rollout.decide, rollout.false_trips_per_day, rollout.bursts) == (Decide.EVIDENCE, 0.01, "long")


# --- what is refused ----------------------------------------------------------------------------

TABLE = [
    ("", ["f.yaml:1: the file is empty; fix: see docs/rules.md for the smallest rule file"]),
    ("- a\n", ["f.yaml:1: the file is not a mapping; fix: begin with `rollout: …`; see docs/rules.md"]),
    (
        "rollout: r\n",
        ["f.yaml:1: canary is missing; fix: add `canary: …`", "f.yaml:1: control is missing; fix: add `control: …`"],
    ),
    (HEAD + "error_rate: {max: 2%}\n", ["f.yaml:4: unknown key error_rate; fix: indent it under `rules:`"]),
    (HEAD + 'slack: "#oncall"\n', ["f.yaml:4: unknown key slack; fix: indent it under `page:`"]),
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
        ["f.yaml:5: rules.latency_p95.max: '2%' is a percent, but a duration belongs here; fix: write it as in 90s"],
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
        ["f.yaml:4: false_trips: '1%' is not a budget; fix: write it as in `1% per day` (or `per week`)"],
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
        ["f.yaml:5: rules.x.quantile: 95 is not a quantile; fix: write it as in 0.95, between 0 and 1"],
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
        HEAD + "rules:\n  Bad: {max: 2%}\n",
        ["f.yaml:5: 'Bad' is not a valid rule name; fix: use a-z, digits and _, beginning with a letter"],
    ),
    (
        HEAD + "rules:\n  error_rate: 2%\n",
        [
            (
                "f.yaml:5: rules.error_rate: must be a mapping; fix: write its keys indented under it: max, "
                "max_increase, "
                "max_ratio, floor, even_if_control_is_bad, for, delay, absent_is_zero, events, trials, histogram, "
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


# --- warnings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            (
                "f.yaml:1: the page is critical but mentions no one: no phone may ring; "
                "fix: add `mention: '<!subteam^…>'` (a group), '<@U…>' or '<!here>' under page, or `pagerduty: NAME`"
            ),
        ),
        (
            "page: {severity: info}\nwindow: 30s\n",
            "f.yaml:5: window is shorter than a minute; fix: use 5m; a shorter window holds few scrapes",
        ),
        (
            "page: {severity: info}\nwhen_blind: {trip_after: 60s}\n",
            (
                "f.yaml:5: trip_after is shorter than three intervals (1m30s by default): two missed scrapes trip a "
                "good canary; fix: use 10m, or `when_blind: hold`"
            ),
        ),
        (
            "page: {severity: info}\nmetrics: litellm\ndecide: threshold\n",
            (
                "f.yaml:5: not watched, because their metrics are missing: refusal_rate, thumbs_down_rate; "
                "fix: name their counters under `metrics:`, or write only error_rate, latency_p95 under `rules:`"
            ),
        ),
        (
            "page: {severity: info}\ndecide: threshold\nbursts: long\n",
            "f.yaml:6: bursts has no effect with `decide: threshold`; fix: remove it, or use `decide: evidence`",
        ),
        (
            (
                "page: {severity: info}\ndecide: evidence\nrules:\n  error_rate: {max: 2%}\n"
                "  x: {events: x_total, max: 2%}\n  y: {events: y_total, max: 2%}\n"
            ),
            (
                "f.yaml:5: plain counters are judged for x, y: one user's retry storm can trip a healthy canary, "
                "whatever false_trips says; "
                "fix: write the llm_judged_… metrics (our router library does), or use `bursts: long`"
            ),
        ),
        (
            "page: {severity: info}\nrules:\n  error_rate: {max: 0%}\n",
            "f.yaml:6: rules.error_rate.max: 0% trips on a single event; fix: raise it if single events are normal",
        ),
        (
            "page: {severity: info}\nmatch: {a: b}\nrules:\n  q: {query: {control: a, canary: b}, max: 3}\n",
            (
                "f.yaml:7: rules.q is a free query: it is judged by the bare comparison, whatever `decide` says, and "
                "min_requests cannot be checked; `match` is not added to it; "
                "fix: give counters (events, trials) or a histogram, if there are any"
            ),
        ),
    ],
)
def test_what_is_doubtful_is_a_warning_with_line_and_fix(text: str, expected: str) -> None:
    assert loaded(HEAD + text).warnings == (expected,)


def test_a_free_query_may_wait_for_ticks_in_evidence_mode() -> None:
    text = HEAD + "decide: evidence\nrules:\n  q: {query: {control: a, canary: b}, max: 3, for: 2}\n"
    (rule,) = loaded(text).rollouts[0].rules
    assert (rule.signal, rule.unit, rule.for_ticks) == (QuerySignal(canary="b", control="a"), Unit.NUMBER, 2)


# --- folders ------------------------------------------------------------------------------------


def write(folder: Path, name: str, rollout: str, more: str = "page: {severity: info}\n") -> Path:
    path = folder / name
    path.write_text(f"rollout: {rollout}\ncontrol: a\ncanary: b\n{more}")
    return path


def refused(path: Path) -> list[str]:
    with pytest.raises(BadRules) as error:
        load_folder(path)
    return [problem.replace(str(path), "F") for problem in error.value.problems]


def test_errors_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "one", "window: 5\n")
    write(tmp_path, "b.yml", "two", "windw: 5m\n")
    write(tmp_path, "c.yaml", "three")
    assert refused(tmp_path) == [
        "F/a.yaml:4: window: '5' has no unit; a duration must be written with one; fix: write 5s if that is meant",
        "F/b.yml:4: unknown key windw; fix: did you mean window?",
    ]


def test_two_files_with_one_rollout_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "same")
    write(tmp_path, "b.yaml", "same")
    assert refused(tmp_path) == [
        f"F/b.yaml:1: rollout 'same' is also in {tmp_path}/a.yaml:1; fix: keep one, or rename it".replace(
            str(tmp_path), "F"
        )
    ]


def test_an_empty_rule_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert refused(tmp_path) == [
        "F: no rule files (*.yaml, *.yml): nothing would be watched; fix: add one, see docs/rules.md"
    ]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == [
        "F: no such folder or file; fix: name a folder of rule files (--rules or KILLSWITCH_RULES)"
    ]


def test_a_configmap_is_read_once_through_its_symbolic_links(tmp_path: Path) -> None:
    version = tmp_path / "..2026_04_19"
    version.mkdir()
    write(version, "a.yaml", "one")
    (tmp_path / "..data").symlink_to("..2026_04_19")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "copy.yaml").symlink_to("..data/a.yaml")
    (tmp_path / ".hidden.yaml").write_text("not: read")
    assert [rollout.name for rollout in load_folder(tmp_path).rollouts] == ["one"]


def test_a_swap_of_the_configmap_while_reading_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, rollout in (("..v1", "old"), ("..v2", "new")):
        (tmp_path / version).mkdir()
        write(tmp_path / version, "a.yaml", rollout)
        write(tmp_path / version, "b.yaml", f"{rollout}-b")
    (tmp_path / "..data").symlink_to("..v1")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    opened: list[str] = []
    really_open = os.open

    def swap_after_the_first(path: Path, flags: int) -> int:
        descriptor = really_open(path, flags)
        opened.append(str(path))
        if len(opened) == 1:
            (tmp_path / "..new").symlink_to("..v2")
            (tmp_path / "..new").rename(tmp_path / "..data")
        return descriptor

    monkeypatch.setattr(os, "open", swap_after_the_first)
    assert [rollout.name for rollout in load_folder(tmp_path).rollouts] == ["new", "new-b"]


def test_what_is_not_a_readable_file_is_refused_at_once(tmp_path: Path) -> None:
    """What is not a readable file is refused, and never waited for."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "huge.yaml").write_bytes(b"a: " + b"x" * (10 * MAX_BYTES))
    assert refused(tmp_path) == [
        "F/gone.yaml:1: cannot be read (No such file or directory); fix: make the file readable, or remove it",
        "F/huge.yaml:1: the file is larger than 256 kB; fix: write one file for each rollout; none needs this much",
        "F/loop.yaml:1: cannot be read (Too many levels of symbolic links); fix: make the file readable, or remove it",
        "F/pipe.yaml:1: not a file; fix: name a YAML file or a folder of them",
    ]


def test_a_folder_inside_is_not_read_and_said_so(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "one")
    (tmp_path / "team").mkdir()
    (warning,) = load_folder(tmp_path).warnings
    assert warning.endswith("team:1: folders inside the rule folder are not read; fix: move its rule files up")


def test_one_file_can_be_loaded_by_its_name(tmp_path: Path) -> None:
    assert load_folder(write(tmp_path, "a.yaml", "one")).rollouts[0].name == "one"


def test_canaries_that_read_the_same_series_are_warned_of(tmp_path: Path) -> None:
    """Different canaries that read the same series are a warning."""
    write(tmp_path, "a.yaml", "one")
    write(tmp_path, "b.yaml", "two")  # the same canary, judged twice: no warning
    (tmp_path / "c.yaml").write_text("rollout: three\ncontrol: x\ncanary: y\npage: {severity: info}\n")
    (tmp_path / "d.yaml").write_text("rollout: four\ncontrol: x\ncanary: y\npage: {severity: info}\nmatch: {s: t}\n")
    (warning,) = load_folder(tmp_path).warnings
    assert f"{tmp_path}/c.yaml:1: three and one ({tmp_path}/a.yaml:1) are different canaries" in warning


def test_the_digest_is_of_the_contents_not_of_the_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("a.yaml", "b.yaml")), (second, ("z.yaml", "c.yaml"))):
        folder.mkdir()
        write(folder, names[0], "one")
        write(folder, names[1], "two")
    assert load_folder(first).digest == load_folder(second).digest
    write(second, "c.yaml", "two", "window: 6m\n")
    assert load_folder(first).digest != load_folder(second).digest


# --- hostile ------------------------------------------------------------------------------------

WORDS = [
    "rollout",
    "rules",
    "error_rate",
    "max",
    "2%",
    "metrics",
    "litellm",
    "cohorts",
    "match",
    "query",
    "for",
    "~",
    "page",
]
values = st.recursive(
    st.sampled_from(WORDS) | st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.sampled_from([*WORDS, "window", "decide", "when_blind", "control", "canary"]), values, max_size=8
    )
)
@settings(max_examples=400, deadline=None)
@example({"rollout": [], "match": {"\x1f": 0}})  # and so did a label name
@example({"rules": {"rollout": None, "\ud7c7": {}}})  # an unprintable rule name once reached the error text
def test_any_yaml_is_loaded_or_refused_in_printable_lines(value: dict[str, object]) -> None:
    """Any YAML is loaded or refused, and every problem is one printable line."""
    _loads_or_is_refused(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_loaded_or_refused(content: bytes) -> None:
    _loads_or_is_refused(content)


def _loads_or_is_refused(content: bytes) -> None:
    try:
        load_text(content, name="f.yaml")
    except BadRules as error:
        found = error.problems
    else:
        found = ("f.yaml:1: x; fix: y",)
    assert found
    for problem in found:
        assert problem.isprintable()
        assert re.match(r"f\.yaml:[1-9][0-9]*: .+; fix: .+", problem)
