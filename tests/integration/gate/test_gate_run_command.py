"""`killswitch gate run` against a provider's HTTP: verdicts, exit codes, records, reports, money."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.registry import gate_runs
from killswitch.roles.gate_record import GateVerdict
from killswitch.spend.standing import standings
from killswitch.stores import keys
from killswitch.stores.opening import open_store
from tests.doubles.gate_desks import CANDIDATE, PROD, ROLE, GateDesk, says
from tests.doubles.model_providers import OpenAIProvider
from tests.doubles.provider_faults import another_model, out_of_money, rate_limited, refused_key, server_error
from tests.doubles.roles import put_roles, role


@pytest.fixture
def provider() -> Iterator[OpenAIProvider]:
    with OpenAIProvider(answer=says) as server:
        yield server


def wrong(model: str, prompt: str) -> str:
    """A candidate that is wrong on every other row."""
    return '{"label": "other"}' if model == CANDIDATE and int(prompt) % 2 else says(model, prompt)


def test_a_run_that_passes_is_recorded_as_evidence(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400)
    done = desk.run("--report", str(tmp_path / "reports"))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("PASS")
    store = open_store(desk.store)
    kept = gate_runs.newest(store, ROLE)
    assert kept is not None
    record = kept.record
    assert (record.verdict, record.prod, record.candidate) == (GateVerdict.PASS, PROD, CANDIDATE)
    assert record.asked_rows <= record.golden_rows == 400
    assert record.cost is not None
    assert record.cost > 0
    assert sorted(path.suffix for path in (tmp_path / "reports").iterdir()) == [".html", ".json", ".md"]
    assert provider.calls(CANDIDATE) <= record.asked_rows + 16


def test_a_run_that_fails_exits_with_1(tmp_path: Path, provider: OpenAIProvider) -> None:
    provider.answer = wrong
    desk = GateDesk(tmp_path, provider.url, rows=400)
    done = desk.run("--json")
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert (document["run"]["verdict"], document["recorded"], document["finished"]) == ("FAIL", True, True)
    assert document["run"]["golden"]["asked"] == 50
    assert provider.calls(CANDIDATE) <= 50 + 16


def test_too_few_rows_exit_with_2(tmp_path: Path, provider: OpenAIProvider) -> None:
    done = GateDesk(tmp_path, provider.url, rows=20).run()
    assert done.exit_code == 2, done.output
    assert done.stdout.startswith("TOO FEW ROWS")


def test_rows_that_cannot_pass_are_said_before_the_question(tmp_path: Path, provider: OpenAIProvider) -> None:
    """200 rows were asked and paid, and could only end as too few."""
    said = "cannot pass, even without a failure: at least 299 are needed"
    done = GateDesk(tmp_path / "few", provider.url, rows=200).run(yes=False)
    assert said in done.stderr
    assert provider.asked == []
    assert said not in GateDesk(tmp_path / "enough", provider.url, rows=299).run(yes=False).stderr


def test_a_dearer_candidate_needs_approval(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400)
    prices = json.loads((tmp_path / "roles" / "prices.json").read_text())
    prices["prices"][1]["input"] = prices["prices"][1]["output"] = "20.00"
    (tmp_path / "roles" / "prices.json").write_text(json.dumps(prices))
    done = desk.run()
    assert done.exit_code == 2, done.output
    assert done.stdout.startswith("NEEDS APPROVAL")
    asked = len(provider.asked)
    desk.price(PROD, CANDIDATE)
    again = desk.run()
    assert again.exit_code == 0, again.output
    assert len(provider.asked) == asked


def test_a_second_run_pays_nothing(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400)
    first = desk.json()
    asked = len(provider.asked)
    second = desk.json()
    assert len(provider.asked) == asked
    assert second["run"]["cost_micros"] == 0
    assert second["run"]["numbers"] == first["run"]["numbers"]
    assert second["run"]["run"] != first["run"]["run"]
    desk.json("--fresh")
    assert len(provider.asked) == 2 * asked or len(provider.asked) > 1.8 * asked


def test_forgetting_deletes_the_kept_answers(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=20)
    desk.run()
    asked = len(provider.asked)
    assert "are deleted" in desk.run("--forget").output
    assert not list((tmp_path / "cache").rglob("*.answers*"))
    desk.run()
    assert len(provider.asked) == 2 * asked


def test_an_unknown_price_refuses_before_the_first_call(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, known_prices=(PROD,))
    done = desk.run()
    assert done.exit_code == 2
    assert f"no price of {CANDIDATE}" in done.output
    desk.price(PROD, CANDIDATE, dollars="-1")
    assert desk.run().exit_code == 2
    assert provider.asked == []


def test_without_a_terminal_it_asks_for_yes(tmp_path: Path, provider: OpenAIProvider) -> None:
    done = GateDesk(tmp_path, provider.url).run(yes=False)
    assert done.exit_code == 2
    assert "at most $" in done.output
    assert "--yes" in done.output
    assert provider.asked == []


def test_max_dollars_is_never_passed(tmp_path: Path, provider: OpenAIProvider) -> None:
    """About half of the rows have room; the same command without the limit goes on with the other half."""
    desk = GateDesk(tmp_path, provider.url, rows=400)
    desk.price(PROD, CANDIDATE, dollars="200")
    done = desk.run("--max-dollars", "$0.20", "--json")
    assert done.exit_code == 2, done.output
    document = json.loads(done.stdout)
    assert not document["recorded"]
    assert not document["finished"]
    assert "--max-dollars $0.20 has no room" in document["run"]["why"]
    assert document["run"]["cost_micros"] <= 200_000
    assert sum(200 * tokens for tokens in provider.billed.values()) <= 200_000
    asked = len(provider.asked)
    assert asked > 20
    assert desk.run().exit_code == 0
    prompts = [(one.model, one.prompt) for one in provider.asked if one.model == CANDIDATE]
    assert len(prompts) == len(set(prompts))


def test_the_cap_a_day_holds_over_two_runs(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400, more="max_per_day: $0.30\n")
    desk.price(PROD, CANDIDATE, dollars="200")
    first = desk.run("--max-dollars", "0.20", "--json")
    second = desk.run("--json", "--fresh")
    assert (first.exit_code, second.exit_code) == (2, 2)
    assert f"the cap of gate:{ROLE} per day" in json.loads(second.stdout)["run"]["why"]
    assert sum(200 * tokens for tokens in provider.billed.values()) <= 300_000


def test_spend_is_counted_where_there_is_no_cap(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=20)
    cost = desk.json()["run"]["cost_micros"]
    store = open_store(desk.store)
    ((standing,), _) = standings(store.list(keys.LEDGER), time.time())
    assert standing.book.scope == f"gate:{ROLE}"
    assert standing.book.current.spent == cost


@pytest.mark.parametrize(
    ("fault", "said"),
    [(refused_key(), "key"), (out_of_money(), "quota"), (server_error(404), "does not exist")],
)
def test_what_no_row_would_survive_ends_at_once(
    tmp_path: Path, provider: OpenAIProvider, fault: object, said: str
) -> None:
    provider.always(CANDIDATE, fault)  # type: ignore[arg-type]
    desk = GateDesk(tmp_path, provider.url, rows=400)
    done = desk.run("--json")
    assert done.exit_code == 2, done.output
    document = json.loads(done.stdout)
    assert document["run"]["verdict"] == "UNKNOWN"
    assert said in document["run"]["why"]
    assert not document["recorded"]
    assert len(provider.asked) <= 24
    assert gate_runs.newest(open_store(desk.store), ROLE) is None


def test_a_rate_limit_for_ever_ends_by_its_patience(tmp_path: Path, provider: OpenAIProvider) -> None:
    provider.always(CANDIDATE, rate_limited(1))
    desk = GateDesk(tmp_path, provider.url, rows=100)
    done = desk.run("--json", "--patience", "3s")
    assert done.exit_code == 2, done.output
    document = json.loads(done.stdout)
    assert "has given no answer for" in document["run"]["why"]
    assert not document["recorded"]
    provider.always(CANDIDATE, server_error(200))
    provider._always.clear()
    prod_before = provider.calls(PROD)
    assert prod_before > 0
    desk.run("--json")
    prompts = [one.prompt for one in provider.asked if one.model == PROD]
    assert max(prompts.count(prompt) for prompt in set(prompts)) <= 2


def test_another_models_answers_do_not_pass(tmp_path: Path, provider: OpenAIProvider) -> None:
    provider.always(CANDIDATE, another_model("model-cheap"))
    desk = GateDesk(tmp_path, provider.url, rows=400)
    document = desk.json()
    assert document["run"]["verdict"] == "UNKNOWN"
    assert "model-cheap" in document["run"]["why"]
    assert document["recorded"]
    file = tmp_path / "roles" / f"{ROLE}.yaml"
    file.write_text(file.read_text() + f"models:\n  {CANDIDATE}:\n    answers_as: [model-cheap]\n")
    asked = len(provider.asked)
    assert desk.json()["run"]["verdict"] == "PASS"
    assert len(provider.asked) == asked


def test_a_storm_at_both_is_no_verdict_and_no_evidence(tmp_path: Path, provider: OpenAIProvider) -> None:
    for digit in "37":
        provider.always(f"{digit}", server_error(400))
    desk = GateDesk(tmp_path, provider.url, rows=400)
    document = desk.json()
    assert document["run"]["verdict"] == "UNKNOWN"
    assert "of prod failed, too" in document["run"]["why"]
    provider._always.clear()
    assert desk.json()["run"]["verdict"] == "PASS"


def test_a_first_look_needs_no_store_and_records_nothing(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400)
    done = desk.run("--prod", PROD, "--candidate", CANDIDATE, "--store", "etcd://127.0.0.1:9")
    assert done.exit_code == 0, done.output
    assert "first look" in done.stderr
    assert gate_runs.newest(open_store(desk.store), ROLE) is None
    assert desk.run("--prod", PROD).exit_code == 2


def test_no_record_records_nothing(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=20)
    assert not desk.json("--no-record")["recorded"]
    assert gate_runs.newest(open_store(desk.store), ROLE) is None


@pytest.mark.parametrize("look", [["--no-record"], ["--prod", PROD, "--candidate", CANDIDATE]])
def test_no_evidence_rests_on_unrecorded_looks(tmp_path: Path, provider: OpenAIProvider, look: list[str]) -> None:
    """One could look with fresh answers until they pass, and record only the run that is known to pass."""
    desk = GateDesk(tmp_path, provider.url, rows=400)
    assert desk.run(*look).exit_code == 0
    asked = len(provider.asked)
    desk.run(*look)
    assert len(provider.asked) == asked
    provider.answer = wrong
    assert desk.run().exit_code == 1


def test_a_report_that_cannot_be_written_hides_no_verdict(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400)
    (tmp_path / "reports").write_text("a file, no folder")
    done = desk.run("--report", str(tmp_path / "reports"), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["run"]["verdict"] == "PASS"
    assert "the report cannot be written" in done.stderr


def test_point_estimates_ask_all_rows_and_say_so(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=50)
    done = desk.run("--accept-point-estimates", "--json")
    assert done.exit_code == 0, done.output
    run = json.loads(done.stdout)["run"]
    assert (run["verdict"], run["point_estimates"], run["golden"]["asked"]) == ("PASS", True, 50)


def test_rows_bounds_what_is_asked(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url, rows=400)
    assert desk.json("--rows", "10")["run"]["golden"] == {
        **desk.json("--rows", "10")["run"]["golden"],
        "asked": 10,
        "rows": 400,
    }
    assert provider.calls(CANDIDATE) == 10


def test_a_store_that_is_away_costs_no_answer(tmp_path: Path, provider: OpenAIProvider) -> None:
    desk = GateDesk(tmp_path, provider.url)
    done = desk.run("--store", "etcd://127.0.0.1:9")
    assert done.exit_code == 3, done.output
    assert provider.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--golden", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--roles", "/nowhere"], "/nowhere"),
        (["--max-dollars", "-5"], "--max-dollars"),
        (["--patience", "soon"], "--patience"),
        (["--max-answer-age", "30d"], "--max-answer-age"),
        (["--rows", "0"], "--rows"),
        (["--concurrency", "100000"], "--concurrency"),
    ],
)
def test_bad_use_exits_with_2_before_any_call(
    tmp_path: Path, provider: OpenAIProvider, arguments: list[str], said: str
) -> None:
    done = GateDesk(tmp_path, provider.url).run(*arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert provider.asked == []


def test_the_key_is_never_shown(tmp_path: Path, provider: OpenAIProvider) -> None:
    provider.key = "another"
    done = GateDesk(tmp_path, provider.url).run()
    assert done.exit_code == 2
    assert "gate-test-key" not in done.output


def test_a_run_is_recorded_for_the_pair_that_was_asked(tmp_path: Path, provider: OpenAIProvider) -> None:
    """The record is of the pair that was asked; the promotion of another pair then refuses by itself."""
    desk = GateDesk(tmp_path, provider.url, rows=400)

    def changing(model: str, prompt: str) -> str:
        if len(provider.asked) == 100:
            store = open_store(desk.store)
            put_roles(store, role(ROLE, PROD, candidate="model-third-2026-05-01", number=2))
            store.close()
        return says(model, prompt)

    provider.answer = changing
    assert desk.run().exit_code == 0
    kept = gate_runs.newest(open_store(desk.store), ROLE)
    assert kept is not None
    assert kept.record.candidate == CANDIDATE


@pytest.mark.parametrize(("prod", "candidate"), [(PROD, None), (None, CANDIDATE), (PROD, PROD)])
def test_a_pair_that_cannot_be_compared_is_refused(
    tmp_path: Path, provider: OpenAIProvider, prod: str | None, candidate: str | None
) -> None:
    desk = GateDesk(tmp_path, provider.url)
    put_roles(open_store(desk.store), role(ROLE, prod, candidate=candidate))
    done = desk.run()
    assert done.exit_code == 2, done.output
    assert f"killswitch role {'create' if prod is None else 'set-candidate'} {ROLE}" in done.output
    assert provider.asked == []
