"""`killswitch init` as a person types it: answers, defaults that are said, and refusals where nothing is safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.histories import Behaviour, History, openmetrics
from killswitch.preflight.first_rules.proposing import Proposal, propose
from tests.unit.cli.shell import Shell

HISTORY = History(seconds=2 * 3600.0, rate=20.0, judged=True, labels={"job": "copilot"})
LITELLM = {
    f'litellm_proxy_{kind}_requests_metric_total{{requested_model="{model}",job="proxy"}}': per_scrape
    for kind, model, per_scrape in (
        ("total", "gpt-old", 300), ("failed", "gpt-old", 3), ("total", "gpt-new", 20), ("failed", "gpt-new", 1),
    )
}  # fmt: skip


@pytest.fixture
def empty(shell: Shell) -> Shell:
    """A folder without rule files, and a recording of two hours of our router library's counters."""
    (shell.rules / "copilot.yaml").unlink()
    (shell.folder / "sdk.om").write_text(openmetrics(HISTORY))
    return shell


def steady(folder: Path, name: str, per_scrape: dict[str, int]) -> str:
    """A recording of counters that grow by so much each 15 s, for two hours; its path."""
    lines = [
        f"{series} {count * growth} {1_776_600_000 + 15 * count}"
        for series, growth in per_scrape.items()
        for count in range(480)
    ]
    (folder / name).write_text("\n".join([*lines, "# EOF", ""]))
    return str(folder / name)


def test_with_yes_each_default_is_said(empty: Shell) -> None:
    done = empty("init", "--data", "sdk.om", "--yes")
    assert done.exit_code == 0, done.output
    for said in ("metrics: cohort-labels", "control, which serves today: model-old", "rollout: copilot", "4 rules"):
        assert said in done.output
    text = (empty.rules / "copilot.yaml").read_text()
    assert "mode: dry_run" in text
    assert "is seen within 10m" in text
    assert empty("check", str(empty.rules)).exit_code == 0
    assert empty("doctor", "--data", "sdk.om").exit_code == 0


def test_answers_are_typed(empty: Shell) -> None:
    """Rollout, channel and mention; what is wrong is asked again, with what to write."""
    answers = "\n\nBad Name!\nsupport\nno channel\n#llm-oncall\n<!here>\n"
    done = empty("init", "--data", "sdk.om", answer=answers)
    assert done.exit_code == 0, done.output
    assert "use 1 to 63 of a-z" in done.output
    text = (empty.rules / "support.yaml").read_text()
    assert 'slack: "#llm-oncall"' in text
    assert 'mention: "<!here>"' in text


def test_without_a_terminal_and_without_yes_nothing_is_written(empty: Shell) -> None:
    done = empty("init", "--data", "sdk.om", answer="")
    assert done.exit_code == 1
    assert "use --yes" in done.output
    assert not list(empty.rules.iterdir())


def test_a_file_that_is_there_is_never_overwritten(empty: Shell) -> None:
    there = empty.rules / "copilot.yaml"
    there.write_text("mine")
    done = empty("init", "--data", "sdk.om", "--yes")
    assert done.exit_code == 2
    assert "--force" in done.output
    assert there.read_text() == "mine"
    assert empty("init", "--data", "sdk.om", "--yes", "--force").exit_code == 0
    assert there.read_text() != "mine"
    assert [path.name for path in empty.rules.iterdir()] == ["copilot.yaml"]


def test_a_second_file_of_one_rollout_is_refused(shell: Shell) -> None:
    """`check` and the daemon would refuse the whole folder."""
    (shell.folder / "sdk.om").write_text(openmetrics(HISTORY))
    done = shell("init", "--data", "sdk.om", "--yes", "--output", str(shell.rules / "other.yaml"))
    assert done.exit_code == 2
    assert "has a rollout 'copilot' already" in done.output
    assert not (shell.rules / "other.yaml").exists()


def test_the_file_alone_goes_to_standard_output(empty: Shell) -> None:
    done = empty("init", "--data", "sdk.om", "--yes", "--stdout")
    assert done.exit_code == 0
    assert done.stdout.startswith("# Written by `killswitch init`")
    assert "metrics: cohort-labels (" not in done.stdout
    assert not list(empty.rules.iterdir())


def test_two_models_of_like_traffic_are_no_safe_choice(empty: Shell) -> None:
    alike = dict.fromkeys(LITELLM, 100)
    recording = steady(empty.folder, "alike.om", alike)
    done = empty("init", "--data", recording, "--yes")
    assert done.exit_code == 2
    assert "name it with --control" in done.output
    named = empty("init", "--data", recording, "--yes", "--control", "gpt-old", "--canary", "gpt-new", "--stdout")
    assert "no rule can be watched" in named.output  # half of everything fails


def test_a_proxy_that_serves_two_models_needs_no_answers(empty: Shell) -> None:
    done = empty("init", "--data", steady(empty.folder, "proxy.om", LITELLM), "--yes", "--stdout")
    assert done.exit_code == 0, done.output
    assert "control: gpt-old\ncanary: gpt-new\n" in done.stdout
    assert "error_rate: {max: 2%}" in done.stdout
    assert "# Not watched: latency_p95" in done.stdout


def test_a_canary_that_does_not_serve_yet_must_be_named(empty: Shell) -> None:
    only = {series: growth for series, growth in LITELLM.items() if "gpt-old" in series}
    recording = steady(empty.folder, "only.om", only)
    refused = empty("init", "--data", recording, "--yes")
    assert refused.exit_code == 2
    assert "--canary" in refused.output
    done = empty("init", "--data", recording, "--yes", "--canary", "gpt-next", "--stdout")
    assert done.exit_code == 0, done.output
    assert "canary: gpt-next" in done.stdout


def test_several_services_are_never_mixed_by_itself(empty: Shell) -> None:
    both = {
        series.replace('job="proxy"', f'job="{job}"'): growth
        for job in ("a", "b")
        for series, growth in LITELLM.items()
    }
    recording = steady(empty.folder, "both.om", both)
    refused = empty("init", "--data", recording, "--yes")
    assert refused.exit_code == 2
    assert "--match job=VALUE, or --match all" in refused.output
    done = empty("init", "--data", recording, "--yes", "--match", "job=b", "--stdout")
    assert 'match: {job: "b"}' in done.stdout
    assert "rollout: b\n" in done.stdout


def test_a_rule_that_the_doctor_calls_wrong_is_left_out(empty: Shell) -> None:
    """The counter of refusals was never seen."""
    lines = [line for line in openmetrics(HISTORY).splitlines() if "refusals" not in line]
    (empty.folder / "some.om").write_text("\n".join(lines) + "\n")
    done = empty("init", "--data", "some.om", "--yes", "--stdout")
    assert done.exit_code == 0, done.output
    assert "# Not watched: refusal_rate" in done.stdout
    assert "\n  refusal_rate:" not in done.stdout


def test_latencies_over_the_last_bucket_are_left_out(empty: Shell) -> None:
    slow = Behaviour(median=30.0)
    (empty.folder / "slow.om").write_text(openmetrics(History(seconds=7200.0, control=slow, canary=slow)))
    done = empty("init", "--data", "slow.om", "--yes", "--stdout", "--rollout", "slow")
    assert done.exit_code == 0, done.output
    assert "last bucket" in done.stdout.replace("\n  # ", " ")
    assert "\n  latency_p95:" not in done.stdout


def test_a_limit_over_the_last_bucket_is_left_out(empty: Shell) -> None:
    """Control is within the buckets and the limit is not: the doctor says so, and the file repeats it."""
    slow = Behaviour(median=4.2)
    (empty.folder / "slow.om").write_text(openmetrics(History(seconds=7200.0, control=slow, canary=slow)))
    done = empty("init", "--data", "slow.om", "--yes", "--stdout", "--rollout", "slow")
    assert done.exit_code == 0, done.output
    assert "# Not watched: latency_p95: the limit" in done.stdout
    assert "\n  latency_p95:" not in done.stdout


def test_a_file_that_appears_in_between_stays(empty: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes it between the look and the writing."""
    there = empty.rules / "copilot.yaml"

    def slowly(*arguments: Any) -> Proposal:
        there.write_text("theirs")
        return propose(*arguments)

    monkeypatch.setattr("killswitch.cli.init.propose", slowly)
    done = empty("init", "--data", "sdk.om", "--yes")
    assert done.exit_code == 2
    assert there.read_text() == "theirs"
    assert [path.name for path in empty.rules.iterdir()] == ["copilot.yaml"]


def test_nothing_to_count_is_said_with_what_to_do(empty: Shell) -> None:
    done = empty("init", "--data", steady(empty.folder, "none.om", {'up{job="x"}': 0}), "--yes")
    assert done.exit_code == 2
    assert "no counters of requests to two models" in done.output
    assert "docs/router.md" in done.output


def test_metrics_that_cannot_be_used_are_named_with_the_reason(empty: Shell) -> None:
    """It does not say that nothing was found."""
    done = empty("init", "--data", steady(empty.folder, "odd.om", {'llm_requests_total{model="old"}': 100}), "--yes")
    assert done.exit_code == 2
    assert "it has no label `cohort`" in done.output
    assert "none of these metrics can be used" in done.output
    assert "no counters" not in done.output


def test_a_source_without_a_past_is_refused_in_words(empty: Shell) -> None:
    done = empty("init", "--source", "scrape+http://127.0.0.1:9/metrics", "--yes")
    assert done.exit_code == 2
    assert "keeps no past" in done.output


def test_a_table_of_requests_needs_no_proposal(empty: Shell) -> None:
    done = empty("init", "--source", "clickhouse+http://127.0.0.1:9/llm_requests", "--yes")
    assert done.exit_code == 2
    assert "metrics: cohort-labels" in done.output


def test_a_store_that_does_not_answer_is_not_empty(empty: Shell) -> None:
    done = empty("init", "--source", "http://127.0.0.1:9", "--yes")
    assert done.exit_code == 3
    assert "no counters" not in done.output
    assert "--source" in done.output


def test_little_traffic_widens_the_window(empty: Shell) -> None:
    few = {series: growth // 100 or 1 for series, growth in LITELLM.items() if "failed" not in series} | {
        series: 0 for series in LITELLM if "failed" in series
    }
    done = empty("init", "--data", steady(empty.folder, "few.om", few), "--yes", "--stdout")
    assert done.exit_code == 0, done.output
    assert "window: 1h" in done.stdout
    assert "Little traffic" in done.stdout


def test_hostile_names_of_models_change_nothing_in_the_file(empty: Shell) -> None:
    r"""A label's value with a line end is left out, and one with quotes is one text, in YAML and in queries."""
    hostile = {
        'litellm_proxy_total_requests_metric_total{requested_model="gpt-old\\nmode: enforce",job="p"}': 900,
        'litellm_proxy_total_requests_metric_total{requested_model="a\\"} or vector(1) #",job="p"}': 300,
        'litellm_proxy_total_requests_metric_total{requested_model="gpt-new",job="p"}': 20,
        'litellm_proxy_failed_requests_metric_total{requested_model="a\\"} or vector(1) #",job="p"}': 1,
        'litellm_proxy_failed_requests_metric_total{requested_model="gpt-new",job="p"}': 1,
    }
    done = empty("init", "--data", steady(empty.folder, "hostile.om", hostile), "--yes")
    assert done.exit_code == 0, done.output
    assert "cannot be written into a rule file" in done.output
    (checked,) = empty.json("check", str(empty.rules))["rollouts"]
    assert checked["control"] == 'a"} or vector(1) #'
    text = (empty.rules / "p.yaml").read_text()
    assert "enforce`" in text  # of the comment alone
    assert text.count("mode:") == 1
    assert json.dumps('a"} or vector(1) #') in text
