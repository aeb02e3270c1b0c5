"""The daemon's port in hostile hands: who may change what, how much of it one peer may take, what it says back."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from killswitch.daemon.settings import Settings
from killswitch.model import Finding, Reason, Unit, Verdict
from killswitch.net.credentials import Secret
from killswitch.status import web_page
from killswitch.status.document import status_document, status_json
from killswitch.status.reports import CycleReport, RolloutReport
from killswitch.web import app as web
from killswitch.web import rendered, request_limits
from killswitch.web import server as http_server
from killswitch.web.server import MAX_HEADER_BYTES, Rate
from tests.doubles.clock import VirtualClock
from tests.doubles.html_outline import Outline
from tests.doubles.pages import armed
from tests.doubles.served import Served, listening
from tests.integration.security.peer import has_ended
from tests.servers.etcd import wait_until

TOKEN = "change-0123456789"
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)> & \x1b[2J </style> javascript:"""


@pytest.fixture
def served(tmp_path: Path) -> Served:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return Served(token=Secret.from_file(tmp_path / "token"))


@pytest.fixture
def port(served: Served) -> Iterator[int]:
    with listening(served) as port:
        yield port


def ask(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- who may change what ------------------------------------------------------------------------


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert Settings.model_fields["listen"].default == "127.0.0.1:8080"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        bearer("\xff" * 9),
    ],
)
def test_nothing_is_changed_without_the_token(port: int, served: Served, headers: dict[str, str]) -> None:
    status, _, body = ask(port, "POST", "/-/reload", headers)
    assert (status, served.reloads) == (401, 0)
    assert TOKEN.encode() not in body


def test_the_token_allows_a_reload_and_may_be_rotated(port: int, served: Served, tmp_path: Path) -> None:
    """The token allows a reload of the rules. A rotated token is taken up at once."""
    assert ask(port, "POST", "/-/reload", bearer(TOKEN))[0] == 200
    (tmp_path / "token").write_text("another-0123456789")
    assert ask(port, "POST", "/-/reload", bearer(TOKEN))[0] == 401
    assert ask(port, "POST", "/-/reload", bearer("another-0123456789"))[0] == 200
    assert served.reloads == 2


def test_without_a_token_set_nobody_may_change_anything(port: int, served: Served) -> None:
    served.token = None
    for headers in ({}, bearer(""), bearer("None")):
        assert ask(port, "POST", "/-/reload", headers)[0] == 403
    assert served.reloads == 0


def test_a_token_file_that_cannot_be_read_lets_no_one_in(
    port: int, served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the token file cannot be read, no one is let in and the log says why."""
    served.token = Secret.from_file(tmp_path / "gone")
    with caplog.at_level(logging.ERROR):
        status, _, body = ask(port, "POST", "/-/reload", bearer(TOKEN))
    assert status == 503
    assert b"cannot be read" in body
    assert "gone" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_token_cannot_be_guessed_quickly(port: int, served: Served) -> None:
    statuses = [ask(port, "POST", "/-/reload", bearer(f"guess-{number}"))[0] for number in range(30)]
    assert statuses.count(429) > 10
    assert served.reloads == 0


def test_only_one_path_changes_anything_and_only_by_post(port: int, served: Served) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert ask(port, method, "/-/reload", bearer(TOKEN))[0] == 405
    for path in ("/", "/metrics", "/api/v1/status", "/-/healthy", "/-/ready", "/api/v1/explain/x"):
        assert ask(port, "POST", path, bearer(TOKEN))[0] == 405
    assert served.reloads == 0


# --- how much one peer may take -----------------------------------------------------------------


def test_a_large_body_is_refused_unread(port: int) -> None:
    for length in ("65537", "1" * 18):
        status, _, body = ask(port, "POST", "/-/reload", {**bearer(TOKEN), "Content-Length": length})
        assert (status, b"65536" in body) == (413, True)


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES + 1, 100_000, 3_000_000])
def test_large_headers_are_refused(port: int, size: int) -> None:
    for path, headers in (("/-/healthy", {"X-Pad": "x" * size}), ("/" + "x" * size, {})):
        with contextlib.suppress(ConnectionError):  # it may hang up before all is sent
            assert ask(port, "GET", path, headers)[0] in (400, 431)
    assert ask(port, "GET", "/-/healthy")[0] == 200


HALF_A_BODY = b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"


@pytest.mark.parametrize("begun", [b"", b"GET /-/healthy HTT", HALF_A_BODY])
def test_a_request_that_drips_is_cut_at_one_deadline(
    port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    """A request that drips is cut at its deadline. A further byte does not start the deadline again."""
    monkeypatch.setattr(http_server, "REQUEST_WITHIN", 1.0)
    monkeypatch.setattr(http_server, "ANSWER_WITHIN", 60.0)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(begun)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while not has_ended(connection):
                connection.sendall(b"" if not begun else b"x" if b"reload" not in begun else b"")
                assert time.monotonic() - began < 30
    assert ask(port, "GET", "/-/healthy")[0] == 200


def test_an_answer_that_nobody_reads_is_cut(served: Served, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "ANSWER_WITHIN", 0.5)
    served.latest = report("x" * 20_000_000)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")

        # writing fails once the server has hung up
        def refused() -> bool:
            try:
                connection.sendall(b"G")
            except OSError:
                return True
            return False

        wait_until(refused, "the server hangs up", 30)


def test_one_peer_cannot_take_every_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS_OF_ONE_PEER", 5)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(_holding(port, "127.0.0.2"))
        assert not _answered(port, "127.0.0.2")
        assert _answered(port, "127.0.0.3")


def test_a_full_server_drops_a_connection_of_the_busiest_peer(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If all places are taken, the peer with the most connections loses one."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 8)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(_holding(port, source)) for source in ["127.0.0.2"] * 5 + ["127.0.0.3"] * 3]
        assert _answered(port, "127.0.0.4")
        assert [has_ended(one) for one in held] == [True] + [False] * 7


@contextlib.contextmanager
def _holding(port: int, source: str) -> Iterator[socket.socket]:
    """A connection that has a place of the web server, and keeps it."""
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as connection:
        connection.sendall(b"GET /api/v1/explain/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while b"ask again" not in answer:  # the end of the answer: then it may ask again for a while
            more = connection.recv(65536)
            assert more, "closed before it answered"
            answer += more
        yield connection


def _answered(port: int, source: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as connection:
            connection.sendall(b"GET /api/v1/explain/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return connection.recv(10) != b""
    except OSError:
        return False


def test_frequent_requests_get_429_and_probes_always_succeed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks too often gets 429 with Retry-After. Probes are always answered."""
    monkeypatch.setattr(request_limits, "REQUESTS_PER_SECOND", 2.0)
    with listening(Served()) as slow:
        answers = [ask(slow, "GET", "/api/v1/status") for _ in range(30)]
        refused = [headers for status, headers, _ in answers if status == 429]
        assert len(refused) > 5
        assert refused[0]["retry-after"] == "1"
        assert {ask(slow, "GET", path)[0] for path in ("/-/healthy", "/-/ready") for _ in range(30)} == {200}
        source = http.client.HTTPConnection("127.0.0.1", slow, timeout=20, source_address=("127.0.0.3", 0))
        source.request("GET", "/api/v1/status")
        assert source.getresponse().status == 200  # another peer has a rate of its own
        source.close()


def test_the_status_is_rendered_once_for_each_report(
    port: int, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is rendered once for all clients, and again for the next report."""
    monkeypatch.setattr(rendered, "RENDERED_FOR", 60.0)
    written: list[object] = []

    def counted(how: Callable[..., Any]) -> Callable[..., Any]:
        def write(controller: str, latest: CycleReport | None, *more: Any) -> Any:
            written.append(latest)
            return how(controller, latest, *more)

        return write

    monkeypatch.setattr(web, "status_json", counted(status_json))
    monkeypatch.setattr(web, "status_document", counted(status_document))
    served.latest = report("first")
    assert len({ask(port, "GET", "/api/v1/status")[2] for _ in range(20)}) == 1
    assert len(written) == 1
    served.latest = report("second")
    assert b"second" in ask(port, "GET", "/api/v1/status")[2]
    assert b"second" in ask(port, "GET", "/")[2]
    assert len(written) == 3


def test_a_rate_refills_and_remembers_a_bounded_number_of_peers() -> None:
    clock = VirtualClock()
    rate = Rate(2.0, 4.0, monotonic=clock.monotonic)
    assert [rate.allows("a") for _ in range(6)] == [True] * 4 + [False] * 2
    clock.advance(1.0)
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]
    for number in range(10_000):
        rate.allows(f"peer-{number}")
    assert len(rate._left) <= 4096


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
    b"\x00" * 300,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"G\r\n\r\n\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_answered_or_cut_and_fills_no_log(
    port: int, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(garbage)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    while connection.recv(65536):
                        pass
    assert ask(port, "GET", "/-/healthy")[0] == 200
    assert caplog.text == ""


# --- under which name it is asked ---------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/status", "/api/v1/explain/x", "/-/reload", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:8080", "127.0.0.1.attacker.example", "x", "[x]"]
)
def test_a_page_elsewhere_that_resolves_to_us_reads_nothing(port: int, path: str, host: str) -> None:
    """DNS rebinding: the browser connects to 127.0.0.1 and still says the attacker's name in Host."""
    status, headers, body = ask(port, "GET", path, {"Host": host})
    assert status == 421
    assert b"KILLSWITCH_HOST_NAMES" in body
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.:8080", "a.localhost", "127.0.0.1:1", "10.1.2.3:8080", "[::1]:8080", "[fe80::1%25eth0]"],
)
def test_loopback_names_and_addresses_are_this_machine(port: int, host: str) -> None:
    assert ask(port, "GET", "/api/v1/status", {"Host": host})[0] == 200


def test_host_names_of_the_settings_and_listen_are_answered() -> None:
    """Requests for the host names in the settings and in the listen address are answered."""
    settings = Settings(host_names="killswitch, killswitch.platform.svc", listen="box.example:8080")
    assert settings.names == ("killswitch", "killswitch.platform.svc", "box.example")
    with listening(Served(), host_names=settings.names) as port:
        for host in ("Killswitch:8080", "killswitch.platform.svc.", "box.example"):
            assert ask(port, "GET", "/api/v1/status", {"Host": host})[0] == 200
        assert ask(port, "GET", "/api/v1/status", {"Host": "killswitch.platform"})[0] == 421


@pytest.mark.parametrize("wrong", ["http://killswitch", "a b", "a/b", "*"])
def test_a_host_name_that_none_can_be_is_refused_at_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="host_names"):
        Settings(host_names=wrong)


# --- what it says back --------------------------------------------------------------------------


def report(sentence: str) -> CycleReport:
    finding = Finding(HOSTILE, Verdict.BREACH, Reason.CONTROL_TOO, sentence, Unit.FRACTION, queries=(HOSTILE,))
    flag = armed("support-copilot")
    bad = RolloutReport("support-copilot", sentence, "trip", flag, None, (finding,), 1.7e9)
    named = replace(bad, rollout=HOSTILE)
    return CycleReport(1.7e9, 0.0, 0.1, {"support-copilot": bad, HOSTILE: named}, HOSTILE, HOSTILE)


def test_hostile_names_labels_and_sentences_are_text_on_the_page(port: int, served: Served) -> None:
    served.latest = report(HOSTILE)
    status, headers, body = ask(port, "GET", "/")
    assert status == 200
    page, harmless = Outline(body.decode()), Outline(web_page.status_page(status_document("r", report("x"), 1.0)))
    assert {(tag, name) for tag, name, _ in page.attributes} == {(tag, name) for tag, name, _ in harmless.attributes}
    assert page.ids == harmless.ids == ["main"]  # no name of a rollout is one
    assert page.links == ["#main", f"rollouts/{quote(HOSTILE, safe='')}", "rollouts/support-copilot"]
    assert headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/explain/nobody", "/metrics", "/nothing", "/-/ready"])
def test_every_answer_has_the_browser_security_headers(port: int, path: str) -> None:
    """Every answer has the headers that keep a browser from acting on it."""
    _, headers, _ = ask(port, "GET", path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_what_was_asked_for_comes_back_as_json_and_never_as_markup(port: int, served: Served) -> None:
    served.latest = report("flags cannot be read")
    status, headers, _ = ask(port, "GET", "/api/v1/explain/%3Cscript%3Ealert(1)")
    assert (status, headers["content-type"].partition(";")[0]) == (503, "text/plain")
    served.latest = replace(served.latest, store_problem=None)
    status, headers, body = ask(port, "GET", "/api/v1/explain/%3Cscript%3Ealert(1)")
    assert (status, headers["content-type"]) == (404, "application/json")
    assert "<script>" in json.loads(body)["error"]
    for path in ("/%3Cscript%3E", "/?x=<script>", "/-/reload?token=x"):
        assert b"<script>" not in ask(port, "GET", path)[2]
