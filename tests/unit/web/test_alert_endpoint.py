"""The address that an Alertmanager posts to: who may, how large a message may be, and what is never read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from killswitch.errors import AccessDenied
from killswitch.web.alert_endpoint import alert_routes
from killswitch.web.request_limits import ALERTS, LARGER_BODIES
from killswitch.web.server import THREADS
from tests.doubles.served import Served, listening
from tests.servers.etcd import wait_until

TOKEN = "a-token-of-alerts"


class Taken:
    """What was given to be done, and a token that may not be there."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answer: tuple[int, dict[str, Any]] = (200, {"rollouts": []})
        self.token: str | None = TOKEN
        self.unreadable = False
        self.asked = 0

    def take(self, body: bytes) -> tuple[int, dict[str, Any]]:
        self.bodies.append(body)
        return self.answer

    def reveal(self) -> str | None:
        self.asked += 1
        if self.unreadable:
            raise AccessDenied("cannot read the secret in file:/nowhere")
        return self.token


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def url(taken: Taken) -> Iterator[str]:
    with listening(Served(), alert_routes(taken.take, taken.reveal)) as port:
        yield f"http://127.0.0.1:{port}{ALERTS}"


def post(url: str, body: bytes = b"{}", token: str | None = TOKEN) -> requests.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return requests.post(url, data=body, headers=headers, timeout=10)


def test_with_the_token_the_whole_body_is_taken(url: str, taken: Taken) -> None:
    body = b"x" * (LARGER_BODIES[ALERTS] - 10)
    assert post(url, body).status_code == 200
    assert taken.bodies == [body]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "tökén"])
def test_without_the_token_nothing_is_read(url: str, taken: Taken, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    answer = requests.post(url, data=b"{}", headers=headers, timeout=10)
    assert answer.status_code == 401
    assert TOKEN not in answer.text
    assert taken.bodies == []


def test_guesses_are_few_and_cost_the_sender_of_alerts_nothing(url: str, taken: Taken) -> None:
    answers = [post(url, token="wrong").status_code for _ in range(8)]
    assert answers[:5] == [401] * 5
    assert 429 in answers
    assert post(url).status_code == 200
    assert len(taken.bodies) == 1


def test_without_a_token_set_no_one_may(url: str, taken: Taken) -> None:
    taken.token = None
    answer = post(url)
    assert answer.status_code == 403
    assert "KILLSWITCH_ALERTS_TOKEN_FILE" in answer.text


def test_a_token_that_cannot_be_read_now_is_worth_a_repeat(url: str, taken: Taken) -> None:
    taken.unreadable = True
    assert post(url).status_code == 503
    assert taken.bodies == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_message_that_is_too_large_is_refused(url: str, taken: Taken, *, chunked: bool) -> None:
    body = b"x" * (LARGER_BODIES[ALERTS] + 1)
    pieces = iter([body[:1_000_000], body[1_000_000:]])
    try:
        answer = requests.post(
            url, data=pieces if chunked else body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10
        )
    except requests.ConnectionError:
        pass  # cut off as it sent
    else:
        assert answer.status_code == 413
    assert taken.bodies == []


def test_only_that_address_takes_large_bodies(url: str) -> None:
    other = url.replace(ALERTS, "/ofrep/v1/evaluate/flags")
    assert post(other, b"x" * 70_000).status_code == 413


def test_the_status_is_what_was_found(url: str, taken: Taken) -> None:
    taken.answer = (503, {"error": "send it again"})
    answer = post(url)
    assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (503, {"error": "send it again"}, "5")


def test_a_get_changes_nothing(url: str, taken: Taken) -> None:
    assert requests.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).status_code == 405
    assert taken.bodies == []


def test_messages_that_wait_for_the_store_hold_up_no_other_route(taken: Taken) -> None:
    """More messages than the web server has threads, while the store hangs: flags and verdicts are answered."""
    hangs = threading.Event()

    def take(body: bytes) -> tuple[int, dict[str, Any]]:
        taken.bodies.append(body)
        hangs.wait(60)
        return 200, {}

    def another(_: Request) -> Response:  # no coroutine, so it needs a thread
        return PlainTextResponse("here")

    routes = [*alert_routes(take, taken.reveal), Route("/other", another)]
    with listening(Served(), routes) as port, ThreadPoolExecutor(2 * THREADS) as senders:
        posted = [senders.submit(post, f"http://127.0.0.1:{port}{ALERTS}") for _ in range(2 * THREADS)]
        try:
            wait_until(lambda: taken.asked >= 2 * THREADS, "all messages are there")
            assert requests.get(f"http://127.0.0.1:{port}/other", timeout=4).text == "here"
            assert len(taken.bodies) == 1
        finally:
            hangs.set()
        assert {one.result().status_code for one in posted} <= {200, 503}


def test_a_message_that_waits_too_long_is_to_be_sent_again(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killswitch.web.alert_endpoint.WAIT", 0.0)
    hangs = threading.Event()

    def take(body: bytes) -> tuple[int, dict[str, Any]]:
        taken.bodies.append(body)
        hangs.wait(60)
        return 200, {}

    with listening(Served(), alert_routes(take, taken.reveal)) as port, ThreadPoolExecutor(1) as sender:
        url = f"http://127.0.0.1:{port}{ALERTS}"
        first = sender.submit(post, url)
        try:
            wait_until(lambda: bool(taken.bodies), "the first is being worked on")
            answer = post(url)
        finally:
            hangs.set()
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert first.result().status_code == 200
    assert len(taken.bodies) == 1
