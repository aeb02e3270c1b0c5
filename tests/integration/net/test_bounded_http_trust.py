"""Who the session is, and whom it trusts: secrets and authorities that are replaced on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from killswitch.errors import AccessDenied
from killswitch.net.bounded_http import BoundedSession
from killswitch.net.credentials import TLS, HttpCredentials, Secret
from tests.integration.net.raw_servers import PATIENT, failing, server_context
from tests.servers.certificates import Authority
from tests.servers.scripted import ScriptedServer, answer


def test_a_secret_that_is_rotated_on_disk_is_sent_from_then_on(
    serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server, file = serve(answer(b"ok")), tmp_path / "token"
    session = BoundedSession(timeout=PATIENT, credentials=HttpCredentials(bearer=Secret.from_file(file)))
    with failing(sent=False, match="cannot read the secret", kind=AccessDenied):
        session.get(server.url)
    for value in ("first", "other"):
        file.write_text(value)
        session.get(server.url)
    file.unlink()
    session.get(server.url)
    assert [b"Bearer first" in r for r in server.requests] == [True, False, False]
    assert [b"Bearer other" in r for r in server.requests] == [False, True, True]


def test_a_library_cannot_switch_verification_off(serve: Callable[..., ScriptedServer], authority: Authority) -> None:
    server = serve(answer(b"ok"), server_context(authority))
    session = BoundedSession(timeout=PATIENT)
    session.verify = False
    with failing(sent=False, match="a CA we do not trust", kind=AccessDenied):
        session.get(server.url, verify=False)
    assert BoundedSession(timeout=PATIENT, tls=TLS(authority.ca_file)).get(server.url).text == "ok"


def test_only_our_own_authority_is_trusted_when_one_is_given(authority: Authority) -> None:
    session = BoundedSession(tls=TLS(authority.ca_file))
    request = session.prepare_request(requests.Request("GET", "https://127.0.0.1/"))
    adapter: Any = session.get_adapter("https://127.0.0.1/")
    pool: Any = adapter.get_connection_with_tls_context(request, verify=True)
    adapter.cert_verify(pool, request.url, verify=True, cert=None)
    assert pool.conn_kw["ssl_context"].cert_store_stats()["x509_ca"] == 1
    assert getattr(pool, "ca_certs", None) is None


def test_a_trust_file_that_is_replaced_is_used_from_then_on(
    serve: Callable[..., ScriptedServer], authority: Authority, tmp_path: Path
) -> None:
    server, ca = serve(answer(b"ok"), server_context(authority)), tmp_path / "ca.pem"
    ca.write_bytes(Authority(tmp_path / "old", "old").ca_file.read_bytes())
    session = BoundedSession(timeout=PATIENT, tls=TLS(ca))
    with failing(sent=False, match="a CA we do not trust", kind=AccessDenied):
        session.get(server.url)
    ca.write_bytes(authority.ca_file.read_bytes())
    assert session.get(server.url).text == "ok"
    ca.write_text("half a file")
    assert session.get(server.url).text == "ok"


@pytest.mark.parametrize("file", ["missing", "garbage"])
def test_tls_files_that_cannot_be_used_are_named(file: str, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_text("-----BEGIN nonsense")
    with failing(sent=False, match=f"CA file {tmp_path / file}", kind=AccessDenied):
        BoundedSession(tls=TLS(tmp_path / file)).get("https://127.0.0.1:1")
