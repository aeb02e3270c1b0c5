"""The session against servers that hang, drip, flood, bomb, redirect and babble."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_api_client import PrometheusConnect

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Unavailable
from killswitch.net.bounded_http import BoundedSession, NoAnswer, killswitch_errors
from killswitch.net.credentials import TLS, HttpCredentials, Secret
from tests.integration.net.raw_servers import PATIENT, SHORT, failing, hang, server_context
from tests.servers.certificates import Authority
from tests.servers.scripted import Script, ScriptedServer, answer


def endless(head: bytes, piece: bytes, pause: float = 0.0) -> Script:
    """``head``, and then ``piece`` again and again."""

    def script(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head)
        ended = threading.Event()
        while True:
            connection.sendall(piece)
            ended.wait(pause)

    return script


HEAD = b"HTTP/1.1 200 OK\r\n"


# --- time


@pytest.mark.parametrize(
    "script",
    [
        hang,
        endless(HEAD + b"Content-Length: 100000\r\n\r\n", b"x", 0.05),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05),
        endless(HEAD + b"X-Slow: ", b"x", 0.05),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
        endless(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x")[:10], b"", 0.05),
    ],
    ids=["silence", "body", "chunks", "headers", "continue", "gzip"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_server_that_drips_is_cut_at_the_total_deadline(
    serve: Callable[..., ScriptedServer], authority: Authority, script: Script, tls: bool
) -> None:
    server = serve(script, server_context(authority) if tls else None)
    session = BoundedSession(timeout=SHORT, tls=TLS(authority.ca_file))
    with failing(sent=True, match="did not answer in time"):
        session.get(server.url)


def test_a_hanging_tls_handshake_is_cut_with_nothing_sent() -> None:
    """A TLS handshake that hangs is cut at the deadline, and the error says that nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with failing(sent=False, match="cannot be reached in time"):
            BoundedSession(timeout=SHORT).get(f"https://127.0.0.1:{port}")


def test_connecting_may_be_given_less_time_than_the_call(serve: Callable[..., ScriptedServer]) -> None:
    session = BoundedSession(timeout=PATIENT)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        deadline = Deadline(PATIENT)
        with session.deadline(deadline, connect_within=0.2), failing(sent=False, match="cannot be reached in time"):
            session.get(url)
        assert not deadline.expired


def test_a_name_server_that_hangs_is_cut_and_addresses_need_none(
    serve: Callable[..., ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, real = threading.Event(), socket.getaddrinfo

    def slow(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.example":
            if kwargs.get("flags") == socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "not an address")
            answered.wait(PATIENT)
        return real("127.0.0.1", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    server = serve(answer(b"ok"))
    port = server.url.rpartition(":")[2]
    with failing(sent=False, match="cannot be found"):
        BoundedSession(timeout=SHORT).get(f"http://slow.example:{port}")
    assert BoundedSession(timeout=PATIENT).get(server.url).text == "ok"
    answered.set()
    assert BoundedSession(timeout=PATIENT).get(f"http://slow.example:{port}").text == "ok"


def test_the_earliest_of_all_deadlines_counts(serve: Callable[..., ScriptedServer]) -> None:
    server = serve(hang)
    timed_out = failing
    with timed_out(sent=True, match="in time"):
        BoundedSession(timeout=PATIENT).get(server.url, timeout=3.0)
    session = BoundedSession(timeout=PATIENT)
    with session.deadline(Deadline(3.0)), timed_out(sent=True, match="in time"):
        session.get(server.url, timeout=PATIENT)
    with session.deadline(Deadline(0.0)), timed_out(sent=False, match="in time"):
        session.get(server.url)


def test_each_thread_has_a_deadline_of_its_own(serve: Callable[..., ScriptedServer]) -> None:
    slow, quick = serve(hang), serve(answer(b"ok"))
    session = BoundedSession(timeout=PATIENT)

    def call(url: str, seconds: float) -> str:
        with session.deadline(Deadline(seconds)):
            try:
                return session.get(url).text
            except NoAnswer:
                return "late"

    with ThreadPoolExecutor(8) as threads:
        jobs = [(slow.url, SHORT), (quick.url, PATIENT)] * 4
        assert list(threads.map(lambda job: call(*job), jobs)) == ["late", "ok"] * 4


def test_a_library_that_mounts_retries_gets_none(serve: Callable[..., ScriptedServer]) -> None:
    server = serve(answer(b"no", "503 Service Unavailable"))
    client = PrometheusConnect(server.url, session=BoundedSession(timeout=PATIENT))
    with pytest.raises(Exception, match="503"):
        client.custom_query("up")
    assert len(server.requests) == 1


# --- bytes


BOMB = gzip.compress(b"\0" * 200_000_000)
_FLOOD = b"x" * 1_000_000


@pytest.mark.parametrize(
    "script",
    [
        answer(b"x" * 9_000_000),
        endless(HEAD + b"Content-Length: 100000000\r\n\r\n", _FLOOD),
        endless(HEAD + b"\r\n", _FLOOD),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"f4240\r\n" + _FLOOD + b"\r\n"),
        answer(BOMB, Content_Encoding="gzip"),
        answer(gzip.compress(BOMB), Content_Encoding="gzip, gzip"),
    ],
    ids=["announced", "100MB", "endless", "chunked", "bomb", "double-bomb"],
)
def test_more_than_eight_mebibytes_are_not_read(serve: Callable[..., ScriptedServer], script: Script) -> None:
    with failing(sent=True, match="more than 8 MiB"):
        BoundedSession(timeout=PATIENT).get(serve(script).url)


@pytest.mark.parametrize(
    "script",
    [
        endless(HEAD, b"X-Header: " + b"x" * 1000 + b"\r\n"),
        endless(HEAD + b"X-Header: ", _FLOOD),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1" * 1_000_000),
        lambda connection, _: connection.sendall(b"\xff\x00 not HTTP at all\r\n\r\n"),
        lambda connection, _: connection.sendall(HEAD + b"Content-Length: 10\r\n\r\nhalf"),
        answer(b"this is not gzip", Content_Encoding="gzip"),
        lambda connection, _: connection.close(),
    ],
    ids=["headers", "long-header", "chunk-size", "garbage", "truncated", "not-gzip", "closed"],
)
def test_what_is_not_an_http_answer_is_no_answer(serve: Callable[..., ScriptedServer], script: Script) -> None:
    with failing(sent=True, match="127.0.0.1"):
        BoundedSession(timeout=PATIENT).get(serve(script).url)


def test_a_whole_answer_is_given_whole_and_as_often_as_asked(serve: Callable[..., ScriptedServer]) -> None:
    body = json.dumps({"status": "success", "filler": "x" * 1_000_000}).encode()
    for script in (answer(body), answer(gzip.compress(body), Content_Encoding="gzip")):
        response = BoundedSession(timeout=PATIENT).get(serve(script).url, stream=True)
        assert response.content == body
        assert b"".join(response.iter_content(1000)) == body
        assert response.json()["status"] == "success"


def test_the_cap_is_exact(serve: Callable[..., ScriptedServer]) -> None:
    session = BoundedSession(timeout=PATIENT, max_body=1000)
    assert len(session.get(serve(answer(b"x" * 1000)).url).content) == 1000
    with failing(sent=True, match="more than"):
        session.get(serve(answer(b"x" * 1001)).url)


# --- where it goes


def test_a_redirect_is_followed_only_within_the_same_server(
    serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    """A redirect within the server is followed. A redirect to another server is refused."""
    (tmp_path / "token").write_text("s3cret")
    session = BoundedSession(timeout=PATIENT, credentials=HttpCredentials(bearer=Secret.from_file(tmp_path / "token")))
    other = serve(answer(b"other"))

    def script(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /here "):
            answer(b"", "302 Found", Location="/there")(connection, request)
        elif request.startswith(b"GET /away "):
            answer(b"", "307 Temporary Redirect", Location=f"{other.url}/x")(connection, request)
        elif request.startswith(b"GET /round "):
            answer(b"", "302 Found", Location="/round")(connection, request)
        else:
            answer(b"there")(connection, request)

    server = serve(script)
    assert session.get(f"{server.url}/here").text == "there"
    assert b"Bearer s3cret" in server.requests[-1]
    with failing(sent=True, match="redirects to", kind=AccessDenied):
        session.get(f"{server.url}/away")
    assert other.requests == []
    with failing(sent=True, match="cannot be followed"):
        session.get(f"{server.url}/round")


@pytest.mark.parametrize("location", ["http://[", "\xff\xfe", "//", "http://127.0.0.1:99999/", "gopher://x"])
def test_a_redirect_to_nonsense_is_no_answer(serve: Callable[..., ScriptedServer], location: str) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        head = f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
        connection.sendall(head.encode("latin-1"))

    with pytest.raises(NoAnswer) as caught:
        BoundedSession(timeout=PATIENT).get(serve(script).url)
    assert caught.value.sent


def test_an_answer_that_is_not_json_raises_our_own_error(
    serve: Callable[..., ScriptedServer],
) -> None:
    """An answer that is not JSON raises our own error, whichever library reads it."""
    for body in (b"<html>", b"[" * 1_000_000):
        url = serve(answer(body)).url
        with pytest.raises(Unavailable, match="not JSON"), killswitch_errors():
            BoundedSession(timeout=PATIENT).get(url).json()


def test_the_environment_says_nothing_about_where_requests_go(
    serve: Callable[..., ScriptedServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = serve(answer(b"direct"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert BoundedSession(timeout=PATIENT).get(server.url).text == "direct"
    assert b"Authorization" not in server.requests[0]


def test_a_proxy_is_an_argument(serve: Callable[..., ScriptedServer]) -> None:
    proxy = serve(answer(b"by proxy"))
    session = BoundedSession(timeout=PATIENT, proxy=proxy.url)
    assert session.get("http://metrics.invalid/path").text == "by proxy"
    assert proxy.requests[0].startswith(b"GET http://metrics.invalid/path")


def test_cookies_are_not_kept(serve: Callable[..., ScriptedServer]) -> None:
    server = serve(answer(b"ok", Set_Cookie="session=1"))
    session = BoundedSession(timeout=PATIENT)
    session.get(server.url)
    session.get(server.url)
    assert b"Cookie" not in server.requests[1]
