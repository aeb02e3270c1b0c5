"""The address that an Alertmanager posts to: who may, how large a message may be, and what is never read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from killswitch.errors import AccessDenied
from killswitch.web.alert_endpoint import alert_routes
from killswitch.web.request_limits import ALERTS, LARGER_BODIES
from tests.doubles.served import Served, listening

TOKEN = "a-token-of-alerts"


class Taken:
    """What was given to be done, and a token that may not be there."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answer: tuple[int, dict[str, Any]] = (200, {"rollouts": []})
        self.token: str | None = TOKEN
        self.unreadable = False

    def take(self, body: bytes) -> tuple[int, dict[str, Any]]:
        self.bodies.append(body)
        return self.answer

    def reveal(self) -> str | None:
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
