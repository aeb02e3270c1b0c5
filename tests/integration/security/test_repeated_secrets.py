"""A server that repeats what it was asked brings no credential into an error or a log line."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, Unavailable
from killswitch.model import QuerySignal, Scalar, Unreadable, Want
from killswitch.net.bounded_http import BoundedSession, refusal
from killswitch.net.credentials import HttpCredentials, Secret
from killswitch.router import Router
from killswitch.sources.prometheus.source import Prometheus
from killswitch.sources.scrape.source import Scrape
from killswitch.stores.access import Access
from killswitch.stores.opening import open_store
from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.servers.etcd import wait_until

SECRET = 'TOPSECRET-0"123'
KEY = "/killswitch/v1/flags/copilot"
WANTS_LOGIN = b'{"error":"etcdserver: user name is empty","code":16,"message":"etcdserver: user name is empty"}'


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    (tmp_path / "secret").write_text(SECRET)
    return Secret.from_file(tmp_path / "secret")


def repeating(request: Received) -> Answer:
    """What lets it in comes first, or the excerpt of the answer would end before it."""
    held = [request.headers[name] for name in ("authorization", "x-gate") if name in request.headers]
    return Answer(500, f"{held} {request.body.decode(errors='replace')}".encode())


def repeats_the_login(request: Received) -> Answer:
    return repeating(request) if "authenticate" in request.path else Answer(401, WANTS_LOGIN)


def repeats_the_token(request: Received) -> Answer:
    if "authenticate" in request.path:
        return Answer(200, b'{"token": "TOPSECRET-token"}')
    return (
        repeating(request)
        if "authorization" in {name.lower() for name in request.headers}
        else Answer(401, WANTS_LOGIN)
    )


@pytest.mark.parametrize("scheme", ["bearer", "basic", "extra"])
def test_a_source_that_repeats_its_headers(scheme: str, secret: Secret) -> None:
    credentials = {
        "bearer": HttpCredentials(bearer=secret),
        "basic": HttpCredentials(basic=("ann", secret)),
        "extra": HttpCredentials(extra={"X-Gate": secret}),
    }[scheme]
    with HttpDouble(repeating) as server:
        failure = refusal(BoundedSession(credentials=credentials).get(server.url))
    said = str(failure)
    assert "[hidden]" in said
    assert not any(text in said for text in ("TOPSECRET", credentials.secrets()[0]))


def repeating_as_if_all_were_well(request: Received) -> Answer:
    return Answer(200, f"{request.headers['authorization']} {{".encode())


def test_a_prometheus_whose_200_is_no_answer_but_repeats_the_token(secret: Secret) -> None:
    with HttpDouble(repeating_as_if_all_were_well) as server:
        source = Prometheus(server.url, credentials=HttpCredentials(bearer=secret))
        with pytest.raises(Unavailable, match=r"\[hidden\]") as raised:
            source.now(Deadline(10))
        source.close()
    assert "TOPSECRET" not in str(raised.value)


def test_a_scraped_page_that_is_none_but_repeats_the_token(secret: Secret, caplog: pytest.LogCaptureFixture) -> None:
    with HttpDouble(repeating_as_if_all_were_well) as server:
        source = Scrape([f"{server.url}/metrics"], scrape_interval=1.0, credentials=HttpCredentials(bearer=secret))
        wait_until(lambda: "cannot scrape" in caplog.text, "a line about the page")
        source.close()
    assert "[hidden]" in caplog.text
    assert "TOPSECRET" not in caplog.text


@pytest.mark.parametrize("answer", [repeats_the_login, repeats_the_token])
def test_an_etcd_that_repeats_a_login_or_a_token_to_the_controller(answer: object, secret: Secret) -> None:
    assert callable(answer)
    with HttpDouble(answer) as server:
        store = open_store(server.url.replace("http://", "etcd://"), user="ann", password=secret)
        with pytest.raises(KillswitchError) as caught:
            store.get(KEY)
        store.close()
    assert "[hidden]" in str(caught.value)
    assert "TOPSECRET" not in str(caught.value)


@pytest.mark.parametrize("answer", [repeats_the_login, repeats_the_token])
def test_an_etcd_that_repeats_a_login_or_a_token_to_a_router(
    answer: object, secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(answer)
    caplog.set_level(logging.DEBUG)
    with HttpDouble(answer) as server:
        access = Access(user="ann", password=secret)
        url = server.url.replace("http://", "etcd://")
        router = Router("copilot", url, control="old", access=access, registry=CollectorRegistry())
        try:
            wait_until(lambda: "cannot be read" in caplog.text, "the router says that it cannot read")
            health = str(router.health())
        finally:
            router.close()
    assert "[hidden]" in caplog.text
    assert "TOPSECRET" not in caplog.text + health


def test_an_unreadable_password_does_not_stop_a_valid_token(secret: Secret, tmp_path: Path) -> None:
    """If the password can no longer be read, a client that has a token still works."""

    def answer(request: Received) -> Answer:
        if "authenticate" in request.path:
            return Answer(200, b'{"token": "TOPSECRET-token"}')
        found = b'{"header": {"revision": "7"}}'
        return Answer(200, found) if "authorization" in request.headers else Answer(401, WANTS_LOGIN)

    with HttpDouble(answer) as server:
        store = open_store(server.url.replace("http://", "etcd://"), user="ann", password=secret)
        assert store.get(KEY) is None
        (tmp_path / "secret").unlink()
        assert store.get(KEY) is None
        store.close()


@pytest.mark.parametrize("place", ["text", "error", "warnings", "infos", "resultType", "isPartial", "value", "header"])
def test_a_metric_store_that_repeats_a_token_in_an_answer_of_200(
    place: str, secret: Secret, caplog: pytest.LogCaptureFixture
) -> None:
    """The sentence is in the log, on the status page, and on the page of a blind rollout."""
    caplog.set_level(logging.INFO)
    want = Want("copilot", "r", "step", QuerySignal("a", "b"), {}, 30.0)

    def answer(request: Received) -> Answer:
        held = request.headers["authorization"]
        data = {"resultType": "vector", "result": [{"metric": {}, "value": [60.0, "1"]}]}
        document: dict[str, object] = {"status": "success", "data": data}
        match place:
            case "text":
                return Answer(200, held.encode())
            case "header":
                return Answer(200, json.dumps(document).encode(), headers={"X-Partial": held})
            case "error":
                document |= {"status": "error", "error": held}
            case "resultType":
                document["data"] = {**data, "resultType": held}
            case "value":
                document["data"] = {**data, "result": [{"metric": {}, "value": [60.0, held]}]}
            case "isPartial":
                document["isPartial"] = held
            case _:
                document[place] = [held]
        return Answer(200, json.dumps(document).encode())

    with HttpDouble(answer) as server:
        source = Prometheus(server.url, credentials=HttpCredentials(bearer=secret))
        with contextlib.suppress(KillswitchError):
            source.now(Deadline(5.0))
        reading = source.read([want], 60.0, Deadline(5.0))["copilot", "r", "step"]
        source.close()
    assert isinstance(reading.canary, Scalar if place == "infos" else Unreadable)
    assert "TOPSECRET" not in f"{reading} {caplog.text}"
