"""What Slack posts to the request URL: over a real web server, behind its signature, once."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from killswitch.flags.change import Deed
from killswitch.interaction.request_url import RequestUrl
from killswitch.net.credentials import Secret
from killswitch.pages.receivers.slack_buttons import Button
from killswitch.trips.flag_history import changes_in, history_of
from killswitch.web.request_limits import MAX_BODY
from killswitch.web.slack_endpoint import slack_routes
from tests.doubles.clock import VirtualClock
from tests.doubles.served import Served, listening
from tests.doubles.slack_payloads import command, press
from tests.integration.interaction.replicas import Replica
from tests.unit.interaction.pressed import ROLLOUT, Scene

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Signer:
    """Signs requests as Slack does, and posts them to one replica."""

    def __init__(self, base: str, clock: VirtualClock) -> None:
        self.base = base
        self.clock = clock

    def headers(self, body: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
        timestamp = f"{self.clock.wall() if at is None else at:.0f}"
        signature = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": f"v0={signature}",
        }

    def post(self, where: str, body: bytes, headers: dict[str, str] | None = None) -> requests.Response:
        given = self.headers(body) if headers is None else headers
        return requests.post(f"{self.base}/slack/{where}", data=body, headers=given, timeout=20)


def form(payload: object) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "signing-secret"
    file.write_text(SECRET + "\n", encoding="utf-8")
    return file


@pytest.fixture
def signers(two: tuple[Replica, Replica], clock: VirtualClock, secret_file: Path) -> Iterator[tuple[Signer, Signer]]:
    with ExitStack() as stack:
        found = []
        for replica in two:
            signed = RequestUrl(Secret.from_file(secret_file), replica.desk, wall=clock.wall)
            port = stack.enter_context(listening(Served(), slack_routes(signed)))
            found.append(Signer(f"http://127.0.0.1:{port}", clock))
        yield found[0], found[1]


@pytest.fixture
def signer(signers: tuple[Signer, Signer]) -> Signer:
    return signers[0]


def changes(scene: Scene) -> list[Deed]:
    return [one.deed for one in changes_in(history_of(scene.store, ROLLOUT)) if one.origin == "Slack"]


def hold(replica: Replica) -> bytes:
    return form(press(Button.HOLD, replica.scene.value(), response_url=replica.slack.response_url()))


def test_a_signed_press_is_carried_out(one: Replica, signer: Signer, scene: Scene) -> None:
    answer = signer.post("interactions", hold(one))
    assert (answer.status_code, answer.text) == (200, "")
    one.settled()
    assert changes(scene) == [Deed.HOLD]


def test_a_signed_command_is_answered(one: Replica, signer: Signer) -> None:
    helped = signer.post("commands", urlencode(command("help")).encode())
    assert "/killswitch trip" in helped.json()["text"]
    status = command("status", response_url=one.slack.response_url())
    assert signer.post("commands", urlencode(status).encode()).status_code == 200
    one.settled()
    assert one.slack.said()[-1].startswith(f"{ROLLOUT}: [tripped")


def test_a_forged_request_is_refused_in_words(one: Replica, signer: Signer, scene: Scene) -> None:
    """Wrong secret, changed body, no signature: 401, and nothing was done."""
    body = hold(one)
    good = signer.headers(body)
    for sent, headers in (
        (body, signer.headers(body, secret="another")),
        (body + b"&x=1", good),
        (body, {}),
        (body, good | {"X-Slack-Signature": "v0=" + "0" * 64}),
        (body, good | {"X-Slack-Request-Timestamp": "1"}),
    ):
        answer = signer.post("interactions", sent, headers)
        assert answer.status_code == 401
        assert answer.text.startswith("this is no request of Slack: ")
    one.settled()
    assert changes(scene) == []


def test_an_old_request_is_refused(one: Replica, signer: Signer, scene: Scene, clock: VirtualClock) -> None:
    body = hold(one)
    headers = signer.headers(body)
    clock.advance(301.0)
    answer = signer.post("interactions", body, headers)
    assert answer.status_code == 401
    assert "more than 5 minutes" in answer.text
    assert changes(scene) == []


def test_a_replayed_request_is_refused(one: Replica, signer: Signer, scene: Scene) -> None:
    body = hold(one)
    headers = signer.headers(body)
    assert signer.post("interactions", body, headers).status_code == 200
    again = signer.post("interactions", body, headers)
    assert again.status_code == 409
    assert "received before" in again.text
    one.settled()
    assert changes(scene) == [Deed.HOLD]


def test_a_request_replayed_to_another_replica_is_refused_by_the_store(
    two: tuple[Replica, Replica], signers: tuple[Signer, Signer], scene: Scene
) -> None:
    body = hold(two[0])
    headers = signers[0].headers(body)
    for signer, replica in zip(signers, two, strict=True):
        assert signer.post("interactions", body, headers).status_code == 200
        replica.settled()
    assert changes(scene) == [Deed.HOLD]
    assert "this was done by Ann" in two[0].slack.said()[-1]


def test_a_retry_of_slack_is_carried_out_once(one: Replica, signer: Signer, scene: Scene, clock: VirtualClock) -> None:
    """Signed again, with another time and `x-slack-retry-num`."""
    body = hold(one)
    signer.post("interactions", body)
    clock.advance(5.0)
    signer.post("interactions", body, signer.headers(body) | {"X-Slack-Retry-Num": "1"})
    one.settled()
    assert changes(scene) == [Deed.HOLD]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload=",
        b"payload=%7B",
        b"payload=[]",
        b"nothing=1",
        b"payload=" + b"%5B" * 5000,
        b"&".join(b"a=1" for _ in range(100)),
        b"\xff\xfe",
        b"payload=null",
    ],
)
def test_signed_rubbish_is_refused_or_left(one: Replica, signer: Signer, scene: Scene, body: bytes) -> None:
    assert signer.post("interactions", body).status_code in {200, 400, 401}
    assert signer.post("commands", body, signer.headers(body)).status_code in {200, 400, 401, 409}
    one.settled()
    assert changes(scene) == []


def test_a_body_is_bounded(signer: Signer) -> None:
    body = b"x" * (MAX_BODY + 1)
    assert signer.post("interactions", body).status_code == 413


def test_a_header_that_is_there_twice_is_refused(one: Replica, signer: Signer) -> None:
    body = hold(one)
    connection = http.client.HTTPConnection(signer.base.removeprefix("http://"), timeout=20)
    connection.putrequest("POST", "/slack/interactions")
    for name, value in signer.headers(body).items():
        connection.putheader(name, value)
    connection.putheader("X-Slack-Signature", "v0=" + "0" * 64)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    assert connection.getresponse().status == 401
    connection.close()


def test_too_many_requests_are_turned_away(signer: Signer) -> None:
    with requests.Session() as session:  # one connection, so that a busy machine still asks faster than it may
        url = f"{signer.base}/slack/interactions"
        assert any(session.post(url, data=b"x", timeout=20).status_code == 429 for _ in range(5000))


def test_another_method_is_not_there(signer: Signer) -> None:
    assert requests.get(f"{signer.base}/slack/interactions", timeout=20).status_code == 405


def test_slacks_look_at_the_address_is_answered(signer: Signer) -> None:
    assert signer.post("commands", b"ssl_check=1&token=x").status_code == 200


def test_a_secret_that_is_gone_lets_no_one_in(one: Replica, clock: VirtualClock, tmp_path: Path) -> None:
    signed = RequestUrl(Secret.from_file(tmp_path / "gone"), one.desk, wall=clock.wall)
    with listening(Served(), slack_routes(signed)) as port:
        answer = Signer(f"http://127.0.0.1:{port}", clock).post("interactions", hold(one))
    assert answer.status_code == 503


def test_a_rotated_secret_counts_at_once(one: Replica, signer: Signer, secret_file: Path) -> None:
    secret_file.write_text("rotated", encoding="utf-8")
    body = hold(one)
    assert signer.post("interactions", body).status_code == 401
    assert signer.post("interactions", body, signer.headers(body, secret="rotated")).status_code == 200


def test_without_a_signing_secret_the_addresses_are_closed(clock: VirtualClock) -> None:
    with listening(Served(), slack_routes(None)) as port:
        for where in ("interactions", "commands"):
            answer = Signer(f"http://127.0.0.1:{port}", clock).post(where, b"payload=1")
            assert answer.status_code == 404
            assert "no slack_signing_secret is set" in answer.text


def test_too_many_waiting_presses_are_said(one: Replica, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one.workers, "submit", lambda _: False)
    assert signer.post("interactions", hold(one)).status_code == 503
