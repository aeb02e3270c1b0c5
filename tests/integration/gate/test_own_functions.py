"""LiteLLM and functions of one's own: the same answers and failures, where no connection is ours."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from killswitch.errors import BadSettings
from killswitch.gate.call_failures import AskingRefused, CallFailure
from killswitch.gate.clients.opening import opened_client
from killswitch.gate.role_model import RoleModel
from killswitch.roles.config import RoleConfig, RoleEndpoint
from killswitch.token_usage import Usage
from tests.doubles.model_providers import OpenAIProvider
from tests.doubles.provider_faults import rate_limited, refused_key, server_error

ROW = ({"role": "user", "content": "row 7"},)
MODULE = """
import threading

class Busy(Exception):
    status_code = 429

def ask(*, model, messages, max_output_tokens, timeout, **parameters):
    said = messages[-1]["content"]
    if said == "hang":
        threading.Event().wait(60)
    if said == "busy":
        raise Busy("slow down")
    if said == "bug":
        raise KeyError("sk-secret")
    if said == "away":
        raise ConnectionError
    if said == "none":
        return None
    if said == "text":
        return "just text"
    text = f"{messages[0]['content']} {parameters}"
    return {"text": text, "model": model, "usage": {"input_tokens": 3, "output_tokens": 2}}

nothing = 5
"""


def model_of(
    provider: str, *, model: str = "m", url: str | None = None, key: Path | None = None, **more: Any
) -> RoleModel:
    endpoint = RoleEndpoint(provider, url, key, parameters={"temperature": 0})
    config = RoleConfig("r", endpoint, system="Sort.", **{"timeout": 20.0, **more})
    return RoleModel(model, config, prices=None, ledger=None, pause=lambda _: False, clock=Leaps(), attempts=2)


class Leaps:
    """A clock on which each wait is over at the next look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0.0

    def __call__(self) -> float:
        with self._lock:
            self._now += 1000.0
            return self._now


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_models.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    return "own_models:ask"


def test_a_function_answers_with_text_or_a_mapping(own: str) -> None:
    """A text alone has no usage, so its cost is not known."""
    answer = model_of(own).ask(ROW)
    assert (answer.text, answer.answered_by, answer.usage) == (
        "Sort. {'temperature': 0}",
        "m",
        Usage(input=3, output=2),
    )
    assert model_of(own).ask(({"role": "user", "content": "text"},)).usage is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("busy", CallFailure.RATE_LIMITED),
        ("away", CallFailure.TRANSIENT),
        ("bug", CallFailure.GARBAGE),
        ("none", CallFailure.GARBAGE),
        ("hang", CallFailure.TIMEOUT),
    ],
)
def test_a_function_that_fails_is_a_failed_call(own: str, said: str, kind: CallFailure) -> None:
    """Its own words are not shown: they may hold a secret. One that hangs is left behind."""
    answer = model_of(own, timeout=0.5 if said == "hang" else 20.0).ask(({"role": "user", "content": said},))
    assert answer.kind is kind
    assert "sk-secret" not in str(answer.failure)


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("not_a_module_at_all:ask", "cannot be imported .* PYTHONPATH"),
        ("own_models:gone", "has no function gone"),
        ("own_models:nothing", "is no function"),
    ],
)
def test_what_is_no_function_is_refused(own: str, provider: str, said: str) -> None:
    """Before anything is asked."""
    assert own
    with pytest.raises(BadSettings, match=said):
        opened_client(RoleEndpoint(provider), timeout=1.0)
    with pytest.raises(BadSettings, match="remove `key_file`"):
        opened_client(RoleEndpoint("own_models:ask", key_file=Path("k")), timeout=1.0)


def test_litellm_asks_once_and_its_errors_are_read(tmp_path: Path) -> None:
    """Its own retries are off; a refused parameter is left out, and a wrong key stops the run."""
    (tmp_path / "key").write_text("sk-a-very-secret-key-0123456789")
    with OpenAIProvider(answer=lambda _model, _prompt: "bug", key="sk-a-very-secret-key-0123456789") as provider:
        provider.refuses["m"] = {"temperature"}
        model = model_of("litellm", model="openai/m", url=provider.url, key=tmp_path / "key")
        answer = model.ask(ROW)
        assert (answer.text, answer.left_out, answer.usage) == ("bug", ("temperature",), Usage(input=3, output=1))
        assert len(provider.asked) == 2
        provider.at("row 7", rate_limited(1), server_error(500))
        assert model.ask(ROW).kind is CallFailure.TRANSIENT
        assert len(provider.asked) == 4
        provider.always("row 7", refused_key())
        with pytest.raises(AskingRefused) as refused:
            model.ask(ROW)
        assert refused.value.kind is CallFailure.NO_ACCESS
        provider.always("row 7", server_error(404))
        assert model.probe().text is not None
