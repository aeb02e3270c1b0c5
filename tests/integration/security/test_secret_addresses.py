"""A webhook's address is a secret: no error repeats it, whatever is wrong with it and whatever the server says."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, Refused, Unavailable
from killswitch.net.credentials import HttpCredentials, Secret
from killswitch.pages.receivers.pagerduty import PagerDutyPager
from killswitch.pages.receivers.slack import SlackPager
from killswitch.pages.receivers.webhook import WebhookPager
from tests.doubles.http_double import Answer, HttpDouble, Received
from tests.doubles.pages import trip_page

SECRET = "TOPSECRET-0123"


def whole(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "url",
    [
        f"https://[{SECRET}/x", f"http://{SECRET}:port/", f"http://exa mple/{SECRET}", f"http:///{SECRET}",
        f"http://127.0.0.1:99999/{SECRET}", f"http://127.0.0.1:1/{SECRET}", f"http://u:{SECRET}@127.0.0.1:1/x",
        f"{SECRET}", f"ftp://example.org/{SECRET}", f"http://127.0.0.1:1/{SECRET}?token={SECRET}#{SECRET}",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "ask",
    [
        lambda pager: pager.send(trip_page(), possible_repeat=False, deadline=Deadline(5)),
        lambda pager: pager.answers(Deadline(5)),
    ],
)
def test_an_address_that_cannot_be_used_is_not_repeated(
    url: str, ask: Callable[[WebhookPager], object], tmp_path: Path
) -> None:
    (tmp_path / "url").write_text(url)
    pager = WebhookPager(Secret.from_file(tmp_path / "url"))
    with pytest.raises(KillswitchError) as caught:
        ask(pager)
    assert SECRET not in whole(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (403, AccessDenied), (404, Refused), (429, Unavailable), (500, Unavailable)]
)
@pytest.mark.parametrize(
    "repeat",
    [
        lambda path: f"no such hook: {path}",
        lambda path: f"hook {path.rpartition('/')[2].partition('?')[0]} is off",
        lambda path: f"{path} " * 5000,
        lambda path: path.replace("/", "%2F"),
    ],
)
def test_an_address_that_a_server_repeats_is_not_in_the_error(
    status: int, kind: type[KillswitchError], repeat: Callable[[str], str], tmp_path: Path
) -> None:
    """If a server repeats a secret address in its answer, the address is not in the error."""
    with HttpDouble(lambda request: Answer(status, repeat(request.path).encode())) as server:
        (tmp_path / "url").write_text(f"{server.url}/services/{SECRET}/{SECRET}-b?token={SECRET}-c")
        pager = WebhookPager(Secret.from_file(tmp_path / "url"))
        with pytest.raises(kind) as caught:
            pager.send(trip_page(), possible_repeat=False, deadline=Deadline(10))
    assert SECRET not in whole(caught.value)
    assert f"answered {status}" in str(caught.value)


def test_a_receiver_that_names_a_page_by_address_leaks_no_secret(tmp_path: Path) -> None:
    """If a receiver names a page by its secret address, the address is not in the outbox."""

    def answer(request: Received) -> Answer:
        return Answer(200, json.dumps({"id": f"{request.path} {request.headers['authorization']}"}).encode())

    with HttpDouble(answer) as server:
        (tmp_path / "url").write_text(f"{server.url}/services/{SECRET}-a")
        (tmp_path / "token").write_text(f"{SECRET}-b")
        credentials = HttpCredentials(bearer=Secret.from_file(tmp_path / "token"))
        pager = WebhookPager(Secret.from_file(tmp_path / "url"), credentials=credentials)
        reference = pager.send(trip_page(), possible_repeat=False, deadline=Deadline(10))
    assert "[hidden]" in reference
    assert SECRET not in reference


@pytest.mark.parametrize("where", ["/services/{0}/{0}-b?token={0}-c", "user:{0}@"])
def test_a_repeated_reason_or_header_leaks_no_address(where: str, tmp_path: Path) -> None:
    """If a server repeats the address in its reason or repeats a header, neither secret is in the error."""

    class Repeating(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:  # the name http.server asks for
            self.send_response(503, f"nothing at {self.path}")
            self.end_headers()
            self.wfile.write(f"you said {self.headers['Authorization']}".encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeating)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, given = f"127.0.0.1:{server.server_port}", where.format(SECRET)
    (tmp_path / "url").write_text(f"http://{given}{address}/" if given.endswith("@") else f"http://{address}{given}")
    with pytest.raises(Unavailable) as caught:
        WebhookPager(Secret.from_file(tmp_path / "url")).answers(Deadline(10))
    server.shutdown()
    assert SECRET not in whole(caught.value)
    assert base64.b64encode(f"user:{SECRET}".encode()).decode() not in whole(caught.value)


@pytest.mark.parametrize("status", [200, 401, 503])
@pytest.mark.parametrize("padding", ["", "x" * 62])
def test_slacks_token_is_not_repeated_by_what_answers_in_its_place(status: int, padding: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    with HttpDouble(lambda request: Answer(status, f"{padding}{request.headers['authorization']}".encode())) as server:
        pager = SlackPager(Secret.from_file(tmp_path / "token"), base_url=f"{server.url}/")
        for ask in (
            lambda: pager.answers(Deadline(10)),
            lambda: pager.send(replace(trip_page(), slack="#x"), possible_repeat=False, deadline=Deadline(10)),
        ):
            with pytest.raises(KillswitchError) as caught:
                ask()
            assert SECRET[:6] not in whole(caught.value)


def test_pagerdutys_key_is_not_repeated_either(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    with HttpDouble(lambda request: Answer(400, request.body)) as server:
        pager = PagerDutyPager(Secret.from_file(tmp_path / "key"), url=f"{server.url}/v2/enqueue")
        with pytest.raises(Refused) as caught:
            pager.send(trip_page(), possible_repeat=False, deadline=Deadline(10))
    assert SECRET not in whole(caught.value)
