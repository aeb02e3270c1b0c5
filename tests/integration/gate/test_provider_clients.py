"""The providers' own SDKs against their HTTP: what is sent, what is billed, and how each fault ends."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killswitch.errors import BadSettings
from killswitch.gate.answers import Answer
from killswitch.gate.call_failures import AskingRefused, CallFailure
from killswitch.gate.clients.opening import opened_client
from killswitch.gate.role_model import RoleModel
from killswitch.roles.absence import Absence
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.token_usage import Usage
from tests.doubles.model_providers import AnthropicProvider, GeminiProvider, ModelProvider, OpenAIProvider
from tests.doubles.provider_faults import (
    ProviderFault,
    another_model,
    disconnect,
    drip,
    garbage,
    half_json,
    hang,
    html,
    no_usage,
    out_of_money,
    rate_limited,
    refused_key,
    server_error,
)
from tests.servers.certificates import Authority

KEY = "sk-a-very-secret-key-0123456789"
ROW = ({"role": "user", "content": "row 7 it crashes"},)
PROVIDERS = {"openai": OpenAIProvider, "anthropic": AnthropicProvider, "gemini": GeminiProvider}


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> Iterator[ModelProvider]:
    with PROVIDERS[request.param](answer=lambda _model, _prompt: '{"label": "bug"}', key=KEY) as double:
        yield double


def name_of(provider: ModelProvider) -> str:
    return next(name for name, double in PROVIDERS.items() if isinstance(provider, double))


class Asking:
    """A model of the double in virtual waits: ``waits`` are those that the provider or we asked for."""

    def __init__(self, provider: ModelProvider, folder: Path, *, timeout: float = 30.0, **parameters: Any) -> None:
        self.key_file = folder / "key"
        self.key_file.write_text(KEY + "\n")
        self.waits: list[float] = []
        self._skipped = 0.0
        endpoint = RoleEndpoint(name_of(provider), provider.url, self.key_file, parameters=parameters)
        self.config = RoleConfig("r", endpoint, system="Sort reviews.", timeout=timeout, max_output_tokens=50)
        self.model = RoleModel("m-1", self.config, prices=None, ledger=None, pause=self._pause, clock=self._clock)

    def _clock(self) -> float:
        return self._skipped

    def _pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self._skipped += seconds
        return False

    def ask(self) -> Answer:
        return self.model.ask(ROW)


def test_a_row_is_asked_as_its_provider_words_it(provider: ModelProvider, tmp_path: Path) -> None:
    """The system prompt, the parameters and the limit arrive, and the answer has text, name and usage."""
    answer = Asking(provider, tmp_path, temperature=0).ask()
    assert (answer.text, answer.answered_by) == ('{"label": "bug"}', "m-1")
    assert answer.usage == Usage(input=6, output=2)
    (asked,) = provider.asked
    assert (asked.model, asked.prompt, asked.system) == ("m-1", "row 7 it crashes", "Sort reviews.")
    assert provider.limit(asked.body) == 50
    assert asked.body.get("generationConfig", asked.body)["temperature"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        rate_limited(3), rate_limited(None, retry_after_ms="3000"), server_error(500), server_error(529), html(502),
        disconnect(), disconnect(20),
    ],
)  # fmt: skip
def test_what_passes_is_asked_again(provider: ModelProvider, tmp_path: Path, fault: ProviderFault) -> None:
    """Once each, after a wait: the SDK's own retries are off."""
    provider.at("row 7", fault)
    asking = Asking(provider, tmp_path)
    answer = asking.ask()
    assert (answer.text, answer.attempts, len(provider.asked)) == ('{"label": "bug"}', 2, 2)
    assert len(asking.waits) == 1
    if fault.status == 429:
        assert asking.waits == [3.0]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (html(), CallFailure.GARBAGE),
        (half_json(), CallFailure.GARBAGE),
        (garbage(), CallFailure.GARBAGE),
        (hang(), CallFailure.TIMEOUT),
        (drip(0.3), CallFailure.TIMEOUT),
    ],
)
def test_what_is_no_answer_fails_the_call(
    provider: ModelProvider, tmp_path: Path, fault: ProviderFault, kind: CallFailure
) -> None:
    """It is asked once. Bytes that drip keep no call alive over its total deadline."""
    provider.at("row 7", fault)
    answer = Asking(provider, tmp_path, timeout=1.5 if kind is CallFailure.TIMEOUT else 30.0).ask()
    assert (answer.text, answer.kind, answer.attempts, len(provider.asked)) == (None, kind, 1, 1)
    assert answer.seconds is None


def test_a_rate_limit_for_ever_ends(provider: ModelProvider, tmp_path: Path) -> None:
    """Six attempts, and the provider's own words."""
    provider.always("row 7", rate_limited(2))
    answer = Asking(provider, tmp_path).ask()
    assert (answer.kind, answer.attempts, len(provider.asked)) == (CallFailure.RATE_LIMITED, 6, 6)
    assert provider.billed.total() == 0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refused_key(), CallFailure.NO_ACCESS),
        (out_of_money(), CallFailure.NO_MONEY),
        (server_error(404), CallFailure.UNKNOWN_MODEL),
        (ProviderFault(302, b"", {"Location": "http://127.0.0.1:9/"}), CallFailure.NO_ACCESS),
    ],
)
def test_what_no_row_survives_stops_the_run(
    provider: ModelProvider, tmp_path: Path, fault: ProviderFault, kind: CallFailure
) -> None:
    """A redirect is not followed: it could lead the key to another server."""
    provider.always("", fault)
    with pytest.raises(AskingRefused) as refused:
        Asking(provider, tmp_path).ask()
    assert refused.value.kind is kind
    assert len(provider.asked) == 1


def test_another_model_and_absent_usage_are_seen(provider: ModelProvider, tmp_path: Path) -> None:
    """The name is the response's, and a usage that is not there is None."""
    provider.at("row 7", another_model("m-2"), no_usage())
    asking = Asking(provider, tmp_path)
    assert asking.ask().answered_by == "m-2"
    assert asking.ask().usage is None


def test_a_refused_parameter_is_left_out_of_later_calls(provider: ModelProvider, tmp_path: Path) -> None:
    """As each provider words its refusal; the second row is asked once."""
    provider.refuses["m-1"] = {"temperature", "seed"}
    asking = Asking(provider, tmp_path, temperature=0, seed=1, top_p=0.5)
    assert set(asking.ask().left_out) == {"temperature", "seed"}
    assert len(provider.asked) == 3
    answer = asking.ask()
    assert (answer.attempts, len(provider.asked)) == (1, 4)
    assert not {"temperature", "seed"} & provider.asked[-1].body.get("generationConfig", provider.asked[-1].body).keys()


def test_the_limit_has_the_name_that_a_model_takes(tmp_path: Path) -> None:
    """Newer models of OpenAI refuse `max_tokens`; the limit is the same, so nothing is left out."""
    with OpenAIProvider() as provider:
        provider.refuses["m-1"] = {"max_tokens"}
        asking = Asking(provider, tmp_path)
        assert asking.ask().left_out == ()
        assert asking.ask().attempts == 1
        assert [sorted(one.body.keys() & {"max_tokens", "max_completion_tokens"}) for one in provider.asked] == [
            ["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"],
        ]  # fmt: skip


def test_a_probe_tells_a_missing_model_from_a_provider_away(provider: ModelProvider, tmp_path: Path) -> None:
    """One call each, of one token, and no error."""
    asking = Asking(provider, tmp_path)
    assert asking.model.probe().text is not None
    assert provider.limit(provider.asked[-1].body) == 1
    provider.known = {"another"}
    gone = asking.model.probe()
    assert (gone.kind, gone.absence) == (CallFailure.UNKNOWN_MODEL, Absence.CLEAR)
    provider.known = None
    provider.always("", server_error(503))
    away = asking.model.probe()
    assert (away.kind, away.absence) == (CallFailure.TRANSIENT, None)
    assert len(provider.asked) == 3


def test_a_rotated_key_is_used_at_once(provider: ModelProvider, tmp_path: Path) -> None:
    """The file is read again with each call."""
    asking = Asking(provider, tmp_path)
    asking.ask()
    provider.key = "sk-another-key-9876543210"
    asking.key_file.write_text(provider.key)
    assert asking.ask().text is not None


def test_no_key_is_in_any_error_or_log(
    provider: ModelProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the provider repeats it, and in the causes of an error."""
    caplog.set_level(0)
    provider.always("", ProviderFault(401, f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode()))
    asking = Asking(provider, tmp_path)
    with pytest.raises(AskingRefused) as refused:
        asking.ask()
    provider.always("", server_error(500))
    answer = asking.ask()
    assert "[hidden]" in str(refused.value)
    for said in (
        str(refused.value),
        repr(refused.value.__cause__),
        str(answer.failure),
        caplog.text,
        repr(asking.config),
    ):
        assert KEY not in said


def test_threads_share_what_a_model_refuses(provider: ModelProvider, tmp_path: Path) -> None:
    """Eight at once: every row is answered, and all connections are used."""
    provider.refuses["m-1"] = {"temperature"}
    provider.seconds["m-1"] = 0.05
    asking = Asking(provider, tmp_path, timeout=30.0, temperature=0)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(asking.ask())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [one.left_out for one in answers] == [("temperature",)] * 8
    assert provider.most_at_once > 1


def test_a_provider_without_a_key_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the key of the file and the variable."""
    for name, variable in (
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
    ):
        for one in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
            monkeypatch.delenv(one, raising=False)
        with pytest.raises(BadSettings, match=rf"`key_file`, or set {variable}"):
            opened_client(RoleEndpoint(name), timeout=1.0)


def test_a_gateway_that_answers_200_with_an_error_is_read(tmp_path: Path) -> None:
    """OpenRouter and others put the error of the provider behind them into the body."""
    with OpenAIProvider() as provider:
        provider.at("row 7", ProviderFault(body=b'{"error": {"code": 429, "message": "rate limited upstream"}}'))
        asking = Asking(provider, tmp_path)
        assert (asking.ask().attempts, len(asking.waits)) == (2, 1)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_certificate_is_always_checked(name: str, tmp_path: Path) -> None:
    """The role's authorities alone are trusted; without them the run stops, and no key was sent."""
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue("provider")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    (tmp_path / "key").write_text(KEY)
    with PROVIDERS[name](key=KEY, context=context) as provider:
        for ca_file, good in ((authority.ca_file, True), (None, False)):
            endpoint = RoleEndpoint(name, provider.url, tmp_path / "key", ca_file)
            config = RoleConfig("r", endpoint, timeout=10.0)
            model = RoleModel("m", config, prices=None, ledger=None, pause=lambda _: True)
            if good:
                assert model.ask(ROW).text == "ok"
                continue
            with pytest.raises(AskingRefused, match="a CA we do not trust") as refused:
                model.ask(ROW)
            assert refused.value.kind is CallFailure.NO_ACCESS
        assert len(provider.asked) == 1
