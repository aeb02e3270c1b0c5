"""Every Python example runs as its first lines say, over the flag file beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from killswitch.router import bucket
from tests.doubles.llm_server import LLMServer

EXAMPLES = Path(__file__).parents[3] / "examples"


def model_of(user: str) -> str:
    flag = json.loads((EXAMPLES / "flag.json").read_text())
    return str(flag["canary"] if bucket(flag["salt"], user) < flag["canary_percent"] else flag["control"])


CANARY_USER = next(f"user-{n}" for n in range(1000) if model_of(f"user-{n}") == "model-new")
USERS = pytest.mark.parametrize("user", ["alice", CANARY_USER])


def run(name: str, user: str, **environment: str) -> str:
    every = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OPENAI_API_KEY": "x", **environment}
    command = [sys.executable, str(EXAMPLES / name), user]
    done = subprocess.run(command, capture_output=True, text=True, env=every, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@USERS
def test_the_openai_example_answers_from_the_users_model(user: str) -> None:
    with LLMServer() as server:
        text = run("openai_client.py", user, OPENAI_BASE_URL=server.url)
        assert f"answered by {model_of(user)}\nHello there" in text
        assert set(server.models) == {model_of(user)}


@USERS
def test_the_openfeature_example_names_the_users_model(user: str) -> None:
    assert run("openfeature_flags.py", user).startswith(f"{user} -> {model_of(user)} (")


@USERS
def test_the_litellm_example_answers_from_the_users_model(user: str) -> None:
    with LLMServer() as old, LLMServer() as new:
        text = run("litellm_router.py", user, OLD_URL=old.url, NEW_URL=new.url, LITELLM_LOCAL_MODEL_COST_MAP="True")
        assert f"answered by {model_of(user)}" in text


def test_the_fastapi_example_answers_counts_and_takes_feedback(monkeypatch: pytest.MonkeyPatch) -> None:
    with LLMServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("KILLSWITCH_FEEDBACK_KEY", "k" * 32)
        monkeypatch.syspath_prepend(str(EXAMPLES))
        import fastapi_service  # type: ignore[import-not-found]  # noqa: PLC0415  # an example, by its path

        with fastapi_service.router as router, TestClient(fastapi_service.app) as client:
            assert router.wait_until_read(20.0)
            answer = client.post("/v1/chat", json={"prompt": "ok"}, headers={"x-user-id": CANARY_USER}).json()
            assert answer["answer"] == "answered by model-new"
            assert client.post("/v1/thumbs-down", params={"token": answer["feedback"]}).json() == {"counted": True}
            text = client.get("/metrics").text
        assert 'llm_judged_thumbs_down_total{cohort="canary",model="model-new"} 1.0' in text
        assert 'llm_requests_total{cohort="canary",model="model-new",outcome="ok"} 1.0' in text
