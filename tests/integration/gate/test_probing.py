"""Probes and lists through the providers' own SDKs, against doubles of their HTTP; and the daemon's child process."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from killswitch.daemon.probe_child import probe_in_child
from killswitch.errors import Unavailable
from killswitch.gate.model_lists import ListedModel, listed_models
from killswitch.gate.probing import Finding, ProbeRound, ProbeTask, findings, gathered
from killswitch.roles.absence import Absence
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.roles.health import Lifecycle, Probe
from killswitch.spend.standing import standings
from killswitch.stores import Store, keys
from killswitch.stores.opening import open_store
from killswitch.timestamps import from_iso
from tests.doubles.model_providers import AnthropicProvider, GeminiProvider, ModelProvider, OpenAIProvider
from tests.doubles.provider_faults import ProviderFault, html, rate_limited, refused_key, server_error

PROVIDERS = {"openai": OpenAIProvider, "anthropic": AnthropicProvider, "gemini": GeminiProvider}
LISTED = Lifecycle.LISTED


@pytest.fixture(params=list(PROVIDERS))
def named(request: pytest.FixtureRequest) -> Iterator[tuple[str, ModelProvider]]:
    with PROVIDERS[request.param](key="the-key") as provider:
        yield request.param, provider


def endpoint(name: str, provider: ModelProvider, folder: Path) -> RoleEndpoint:
    key = folder / "key"
    key.write_text("the-key")
    return RoleEndpoint(name, provider.url, key)


def store_of(folder: Path) -> Callable[[], Store]:
    return partial(open_store, f"sqlite://{folder}/flags.db")


def probed(name: str, provider: ModelProvider, folder: Path, *models: str, prices: Path | None = None) -> ProbeRound:
    config = RoleConfig("triage", endpoint(name, provider, folder), prices=prices, timeout=5.0)
    return gathered(findings([ProbeTask(config, model) for model in models], store_of(folder)))


def probe_of(found: ProbeRound, model: str) -> Probe:
    (probe,) = (probe for (_, named), probe in found.probes.items() if named == model)
    return probe


def test_a_probe_asks_for_one_token(named: tuple[str, ModelProvider], tmp_path: Path) -> None:
    name, provider = named
    found = probed(name, provider, tmp_path, "m-1")
    assert probe_of(found, "m-1").failure is None
    (asked,) = provider.asked
    assert (asked.model, provider.limit(asked.body)) == ("m-1", 1)


def test_a_model_that_is_gone_is_clear(named: tuple[str, ModelProvider], tmp_path: Path) -> None:
    name, provider = named
    provider.known = {"m-1"}
    found = probed(name, provider, tmp_path, "m-1", "m-2")
    assert probe_of(found, "m-1").absence is None
    assert probe_of(found, "m-2").absence is Absence.CLEAR


@pytest.mark.parametrize(
    "fault", [rate_limited(1), server_error(), server_error(503), refused_key(), html(502)], ids=str
)
def test_a_provider_in_trouble_says_nothing_of_a_model(
    named: tuple[str, ModelProvider], tmp_path: Path, fault: ProviderFault
) -> None:
    name, provider = named
    provider.always("", fault)
    probe = probe_of(probed(name, provider, tmp_path, "m-1"), "m-1")
    assert probe.failure is not None
    assert probe.absence is None


def test_a_page_of_html_with_404_is_unclear(named: tuple[str, ModelProvider], tmp_path: Path) -> None:
    name, provider = named
    provider.always("", html(404))
    assert probe_of(probed(name, provider, tmp_path, "m-1"), "m-1").absence is Absence.UNCLEAR


def test_each_list_is_read_to_its_end(named: tuple[str, ModelProvider], tmp_path: Path) -> None:
    name, provider = named
    at = "2027-03-01T00:00:00Z"
    provider.listed, retires = {
        "openai": ([{"id": "a", "shutdown_date": at[:10]}, {"id": "b"}, {"id": "c"}], LISTED),
        "anthropic": (
            [{"id": "a", "lifecycle": "deprecated", "retires_at": at}, {"id": "b"}, {"id": "c"}],
            Lifecycle.DEPRECATED,
        ),
        "gemini": ([{"name": "models/a"}, {"name": "models/b"}, {"name": "models/c"}], LISTED),
    }[name]
    date = None if name == "gemini" else from_iso(at)
    assert listed_models(endpoint(name, provider, tmp_path), timeout=5.0) == {
        "a": ListedModel(retires, date), "b": ListedModel(LISTED, None), "c": ListedModel(LISTED, None),
    }  # fmt: skip


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_list_that_is_empty_or_refused_says_nothing(
    named: tuple[str, ModelProvider], tmp_path: Path, status: int
) -> None:
    name, provider = named
    provider.list_status = status
    with pytest.raises(Unavailable, match="list of models"):
        listed_models(endpoint(name, provider, tmp_path), timeout=5.0)
    found = probed(name, provider, tmp_path, "m-1")
    assert found.lists == {}
    assert found.problems
    assert probe_of(found, "m-1").failure is None


def test_probes_are_charged_to_their_role(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    entry = {"model": "m-1", "valid_from": "2026-01-01", "input": 1000, "output": 1000}
    prices.write_text(json.dumps({"prices": [entry]}))
    with OpenAIProvider(key="the-key") as provider:
        found = probed("openai", provider, tmp_path, "m-1", "unpriced", prices=prices)
    assert {probe.failure for probe in found.probes.values()} == {None}
    store = store_of(tmp_path)()
    found_standings, problems = standings(store.list(keys.accounts("probe:triage")), time.time())
    assert problems == {}
    (standing,) = found_standings
    assert standing.document()["spent_micros"] > 0
    store.close()


# --- the child process ------------------------------------------------------------------------------------------------

CONFIG = RoleConfig("triage", RoleEndpoint("openai", "http://127.0.0.1:1/v1"))
TASKS = [ProbeTask(CONFIG, "m-1"), ProbeTask(CONFIG, "m-2")]
ANSWER: Finding = ("probe", TASKS[0].place, Probe(1.0))


def answers(_tasks: Sequence[ProbeTask], _store: Callable[[], Store]) -> Iterator[Finding]:
    yield ANSWER
    yield ("problem", "", f"asked by {os.getpid()}")


def hangs(_tasks: Sequence[ProbeTask], _store: Callable[[], Store]) -> Iterator[Finding]:
    yield ANSWER
    threading.Event().wait()


def dies(_tasks: Sequence[ProbeTask], _store: Callable[[], Store]) -> Iterator[Finding]:
    yield ANSWER
    os.kill(os.getpid(), signal.SIGKILL)


def test_another_process_asks(tmp_path: Path) -> None:
    found = probe_in_child(TASKS, open_store=store_of(tmp_path), work=answers)
    assert list(found.probes.values()) == [Probe(1.0)]
    assert found.problems != [f"asked by {os.getpid()}"]


@pytest.mark.parametrize(("work", "said"), [(hangs, "were ended after 15 s"), (dies, "ended with -9")])
def test_what_was_found_before_a_child_ends_is_kept(
    tmp_path: Path, work: Callable[[Sequence[ProbeTask], Callable[[], Store]], Iterator[Finding]], said: str
) -> None:
    found = probe_in_child(TASKS, open_store=store_of(tmp_path), work=work, ended_after=15.0)
    assert list(found.probes) == [TASKS[0].place]
    assert said in found.problems[0]


def test_real_probes_run_in_the_child(tmp_path: Path) -> None:
    with OpenAIProvider(key="the-key") as provider:
        provider.known, provider.listed = {"m-1"}, [{"id": "m-1"}]
        config = RoleConfig("triage", endpoint("openai", provider, tmp_path))
        tasks = [ProbeTask(config, "m-1"), ProbeTask(config, "m-2")]
        found = probe_in_child(tasks, open_store=store_of(tmp_path))
    assert probe_of(found, "m-1").failure is None
    assert probe_of(found, "m-2").absence is Absence.CLEAR
    assert [models for _, models in found.lists.values()] == [{"m-1": ListedModel(LISTED, None)}]
