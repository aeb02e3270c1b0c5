"""`killswitch gate sample` against an OpenAI double: what it asks, what it writes, and that nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from killswitch.cli.app import app
from killswitch.gate.golden_files import load_golden
from killswitch.shadow.flat_record import row_of
from killswitch.shadow.sinks.jsonl import JsonLines
from killswitch.stores.opening import open_store
from tests.doubles.model_providers import OpenAIProvider
from tests.doubles.provider_faults import garbage, rate_limited
from tests.doubles.roles import REVIEW, put_roles, role
from tests.doubles.shadow_records import pair

PROD = "gpt-5-2026-01-10"
ROLE_FILE = """\
role: review_triage
provider: openai
url: {url}
key_file: key
system: Sort reviews.
schema: {{type: object, required: [label], properties: {{label: {{type: string}}}}}}
prices: ../prices.yaml
"""
PRICES = f"prices: [{{model: {PROD}, valid_from: 2025-01-01, input: 2, output: 8}}]\n"


def sorted_by_word(_model: str, prompt: str) -> str:
    return json.dumps({"label": prompt.split(maxsplit=1)[0]})


class Sampler:
    """The command in a folder with a role file, prices, a store and a double of the provider."""

    def __init__(self, folder: Path, provider: OpenAIProvider) -> None:
        self.folder = folder
        self.provider = provider
        roles = folder / "roles"
        roles.mkdir()
        (roles / "review_triage.yaml").write_text(ROLE_FILE.format(url=provider.url))
        (roles / "key").write_text("sk-test")
        (roles / "key").chmod(0o600)
        (folder / "prices.yaml").write_text(PRICES)
        self.store = f"sqlite://{folder}/flags.sqlite"
        put_roles(open_store(self.store), role(prod=PROD))

    def log(self, *lines: Any) -> Path:
        path = self.folder / "log.jsonl"
        path.write_text("".join(one if isinstance(one, str) else f"{json.dumps(one)}\n" for one in lines))
        return path

    def __call__(self, *arguments: str, yes: bool = True) -> Result:
        environment = {"KILLSWITCH_STORE": self.store, "COLUMNS": "250"}
        return CliRunner().invoke(app, self.arguments(*arguments, yes=yes), env=environment)

    def arguments(self, *given: str, yes: bool = True) -> list[str]:
        fixed = ["--roles", str(self.folder / "roles"), "--cache", str(self.folder / "cache")]
        return ["gate", "sample", REVIEW, *fixed, *given, *(["--yes"] if yes else [])]

    def sample(self, log: Path, out: Path, *more: str) -> Result:
        return self("--log", str(log), "--out", str(out), *more)


@pytest.fixture
def sampler(tmp_path: Path) -> Iterator[Sampler]:
    with OpenAIProvider(answer=sorted_by_word, key="sk-test") as provider:
        yield Sampler(tmp_path, provider)


REVIEWS = [{"input": f"{label} report {number}", "class": label} for label in ("bug", "praise") for number in range(60)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_becomes_a_golden_set_with_what_prod_says(sampler: Sampler, tmp_path: Path) -> None:
    out = tmp_path / "golden" / "triage.jsonl"
    done = sampler.sample(sampler.log(*REVIEWS, "{broken\n"), out, "--rows", "20")
    assert done.exit_code == 0, done.output
    golden = load_golden(out)
    assert len(golden.rows) == 20
    assert {one.expect_from for one in golden.rows} == {"prod"}
    assert Counter(one.stratum for one in golden.rows) == {"bug": 10, "praise": 10}
    assert all(json.loads(one.expect_label) == one.stratum for one in golden.rows)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert {one["expect_model"] for one in rows_of(out)} == {PROD}
    assert sampler.provider.calls(PROD) == 20
    assert {one.system for one in sampler.provider.asked} == {"Sort reviews."}
    for said in ("not truth", "texts of users", "1 of 121 cannot be used: not JSON (first: line 121)", "at most $"):
        assert said in done.output


def test_the_log_of_the_guide_can_be_drawn_from(sampler: Sampler, tmp_path: Path) -> None:
    """The lines in docs/gate.md, as they are there."""
    guide = (Path(__file__).parents[3] / "docs" / "gate.md").read_text()
    lines = guide.split("```jsonl\n")[1].split("```")[0]
    done = sampler.sample(sampler.log(lines), tmp_path / "golden.jsonl")
    assert done.exit_code == 0, done.output
    found = {row["input"]: row["class"] for row in rows_of(tmp_path / "golden.jsonl")}
    assert sorted(found.values()) == ["billing", "bug", "praise"]
    assert found["Where is my refund?"] == "billing"


def test_the_same_command_pays_for_no_answer_twice(sampler: Sampler, tmp_path: Path) -> None:
    log = sampler.log(*REVIEWS)
    assert sampler.sample(log, tmp_path / "one.jsonl", "--rows", "20").exit_code == 0
    done = sampler.sample(log, tmp_path / "two.jsonl", "--rows", "20")
    assert done.exit_code == 0, done.output
    assert sampler.provider.calls(PROD) == 20
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert "20 answers were there already" in done.output
    assert "will be asked" not in done.output


def test_another_seed_draws_other_rows(sampler: Sampler, tmp_path: Path) -> None:
    log = sampler.log(*REVIEWS)
    for seed in ("1", "2"):
        assert sampler.sample(log, tmp_path / f"{seed}.jsonl", "--rows", "20", "--seed", seed).exit_code == 0
    one, two = ({row["id"] for row in rows_of(tmp_path / f"{seed}.jsonl")} for seed in ("1", "2"))
    assert one != two


def test_no_leaves_everything_as_it_was(sampler: Sampler, tmp_path: Path) -> None:
    log = sampler.log(*REVIEWS)
    done = sampler("--log", str(log), "--out", str(tmp_path / "x.jsonl"), yes=False)
    assert done.exit_code == 1
    assert not (tmp_path / "x.jsonl").exists()
    assert not sampler.provider.asked


def test_a_file_that_is_there_is_kept_without_replace(sampler: Sampler, tmp_path: Path) -> None:
    """It is refused before anything is read or asked."""
    out = tmp_path / "golden.jsonl"
    out.write_text("a person's work\n")
    log = sampler.log(*REVIEWS)
    done = sampler.sample(log, out)
    assert (done.exit_code, "use --replace" in done.output) == (2, True)
    assert out.read_text() == "a person's work\n"
    assert not sampler.provider.asked
    assert sampler.sample(log, out, "--replace", "--rows", "10").exit_code == 0
    assert len(load_golden(out).rows) == 10


def test_rows_without_a_label_are_left_out_and_said(sampler: Sampler, tmp_path: Path) -> None:
    """A failed call is not kept, so that the next sample asks again."""
    sampler.provider.always("bug report 7", garbage())
    sampler.provider.answer = lambda model, prompt: "no" if "praise" in prompt else sorted_by_word(model, prompt)
    lines = [{"input": f"bug report {number}"} for number in range(9)] + [{"input": "praise"}]
    done = sampler.sample(sampler.log(*lines), tmp_path / "golden.jsonl")
    assert done.exit_code == 0, done.output
    assert len(rows_of(tmp_path / "golden.jsonl")) == 8
    assert done.output.count("left out, without a label of") == 2


def test_a_refused_key_ends_it_and_writes_nothing(sampler: Sampler, tmp_path: Path) -> None:
    sampler.provider.key = "sk-another"
    done = sampler.sample(sampler.log(*REVIEWS), tmp_path / "golden.jsonl")
    assert done.exit_code == 2, done.output
    assert "nothing was written" in done.output
    assert not (tmp_path / "golden.jsonl").exists()
    assert len(sampler.provider.asked) <= 8


def test_a_rate_limit_is_waited_out(sampler: Sampler, tmp_path: Path) -> None:
    sampler.provider.at("bug report 3", rate_limited(0.1))
    lines = [{"input": f"bug report {number}"} for number in range(6)]
    assert sampler.sample(sampler.log(*lines), tmp_path / "golden.jsonl").exit_code == 0
    assert len(rows_of(tmp_path / "golden.jsonl")) == 6


def test_personal_data_is_taken_out_before_anyone_is_asked(sampler: Sampler, tmp_path: Path) -> None:
    lines = [{"input": f"bug, write to ada{number}@example.org"} for number in range(3)]
    done = sampler.sample(sampler.log(*lines), tmp_path / "golden.jsonl")
    assert done.exit_code == 0, done.output
    assert [row["input"] for row in rows_of(tmp_path / "golden.jsonl")] == ["bug, write to [email]"]
    assert [one.prompt for one in sampler.provider.asked] == ["bug, write to [email]"]
    kept = sampler.sample(sampler.log(*lines), tmp_path / "kept.jsonl", "--redact", "none")
    assert kept.exit_code == 0
    assert len(rows_of(tmp_path / "kept.jsonl")) == 3


def test_kept_texts_of_shadow_records_become_a_golden_set(sampler: Sampler, tmp_path: Path) -> None:
    """Only first turns with a whole text, and it is said that these rows are harder than traffic."""
    texts = [("bug one", 1), ("bug two", 1), ("bug two", 1), ("later", 2), (None, 1), ("x [… of 9000 characters]", 1)]
    rows = [
        row_of(pair(1_776_000_000.0, pair=f"p{number}", rollout=REVIEW, prompt_text=text, turn=turn, prompt_class="c"))
        for number, (text, turn) in enumerate(texts)
    ]
    folder = tmp_path / "records" / REVIEW / "2026-04-12"
    folder.mkdir(parents=True)
    JsonLines().write(rows, folder / "1776000000000-a.jsonl")
    done = sampler("--records", str(tmp_path / "records"), "--out", str(tmp_path / "golden.jsonl"))
    assert done.exit_code == 0, done.output
    assert sorted(row["input"] for row in rows_of(tmp_path / "golden.jsonl")) == ["bug one", "bug two"]
    assert "harder than your traffic" in done.output
    assert done.output.count("cannot be used") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "x"], "name one source"),
        (["--out", "x", "--log", "a", "--records", "b"], "name one source"),
        (["--log", "none.jsonl", "--out", "x"], "No such file"),
        (["--log", "a", "--out", "x", "--rows", "0"], "draw 1 to 5,000 rows"),
        (["--log", "a"], "--out is missing"),
        (["--log", "a", "--out", "x", "--redact", "nothing"], "package.module:function"),
    ],
)
def test_a_wrong_command_is_told_the_fix(sampler: Sampler, arguments: list[str], said: str) -> None:
    log = sampler.log(*REVIEWS)
    done = sampler(*(str(log) if one == "a" else one for one in arguments))
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_an_empty_log_and_one_of_another_form_are_refused(sampler: Sampler, tmp_path: Path) -> None:
    done = sampler.sample(sampler.log("user,text\n", "1,hello\n"), tmp_path / "golden.jsonl")
    assert (done.exit_code, "no row can be drawn" in done.output) == (2, True)
    assert "2 of 2 cannot be used: not JSON" in done.output


def test_a_model_without_a_price_is_not_asked(sampler: Sampler, tmp_path: Path) -> None:
    (sampler.folder / "prices.yaml").write_text(PRICES.replace(PROD, "another"))
    done = sampler.sample(sampler.log(*REVIEWS), tmp_path / "golden.jsonl")
    assert (done.exit_code, "no price of" in done.output) == (2, True)
    assert not sampler.provider.asked


def test_the_roles_cap_a_day_holds(sampler: Sampler, tmp_path: Path) -> None:
    """The ledger refuses, nothing is written, and what was answered is kept."""
    file = sampler.folder / "roles" / "review_triage.yaml"
    file.write_text(file.read_text() + "max_per_day: $0.01\n")
    done = sampler.sample(sampler.log(*REVIEWS), tmp_path / "golden.jsonl", "--rows", "100")
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "golden.jsonl").exists()
    assert 0 < sampler.provider.calls(PROD) < 100


def test_a_killed_sample_pays_again_only_for_what_was_under_way(sampler: Sampler, tmp_path: Path) -> None:
    """kill -9 in the middle: no file is there, and the next one asks only for what was not on the disk."""
    sampler.provider.seconds = {PROD: 0.1}
    log, out = sampler.log(*REVIEWS), tmp_path / "golden.jsonl"
    arguments = [*sampler.arguments("--log", str(log), "--out", str(out), "--rows", "40"), "--concurrency", "4"]
    command = [sys.executable, "-m", "killswitch", *arguments]
    running = subprocess.Popen(command, env={**os.environ, "KILLSWITCH_STORE": sampler.store})
    try:
        while len(sampler.provider.asked) < 12:
            assert running.poll() is None
            time.sleep(0.01)
    finally:
        running.kill()
        running.wait()
    assert not out.exists()
    done = sampler.sample(log, out, "--rows", "40")
    assert done.exit_code == 0, done.output
    assert len(load_golden(out).rows) == 40
    assert 40 <= sampler.provider.calls(PROD) <= 44
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".golden")] == []


def test_ctrl_c_ends_it_with_what_is_answered_kept(sampler: Sampler, tmp_path: Path) -> None:
    """Calls under way are waited for and kept; the exit code says that the same may be tried again."""
    sampler.provider.seconds = {PROD: 0.1}
    log, out = sampler.log(*REVIEWS), tmp_path / "golden.jsonl"
    command = [sys.executable, "-m", "killswitch", *sampler.arguments("--log", str(log), "--out", str(out))]
    environment = {**os.environ, "KILLSWITCH_STORE": sampler.store}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while len(sampler.provider.asked) < 12:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, "it was stopped; nothing was written" in said) == (3, True), said
    calls = sampler.provider.calls(PROD)
    assert sampler.sample(log, out).exit_code == 0
    assert sampler.provider.calls(PROD) == len(REVIEWS) > calls
