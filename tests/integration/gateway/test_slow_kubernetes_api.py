"""A Kubernetes API that drips, never ends or answers no JSON holds no mirror for ever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from killswitch.errors import Unavailable
from killswitch.gateway import routes
from killswitch.gateway.routes import WeightedRoute

ROUTE = json.dumps({"metadata": {"name": "support"}, "spec": {"rules": []}}).encode()
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightedRoute]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  signature of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {"token": "t"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    # the client reads the environment's KUBECONFIG when it is imported
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    route = WeightedRoute("HTTPRoute", "shop/support", context="c", total=0.5)
    try:
        yield route
    finally:
        route.close()
        server.shutdown()
        server.server_close()


def begin(handler: BaseHTTPRequestHandler, length: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def drips(handler: BaseHTTPRequestHandler) -> None:
    """A byte each tenth of a second: whole after some 6 s, if anyone waits that long."""
    begin(handler, len(ROUTE))
    for byte in ROUTE:
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            return
        time.sleep(0.1)


def floods(handler: BaseHTTPRequestHandler) -> None:
    """A route with a note of 64 MiB in it."""
    size = 64 << 20
    head, tail = b'{"note": "', b'", ' + ROUTE[1:]
    begin(handler, len(head) + size + len(tail))
    try:
        handler.wfile.write(head)
        for _ in range(64):
            handler.wfile.write(b"x" * (1 << 20))
        handler.wfile.write(tail)
    except OSError:
        return


def garbage(handler: BaseHTTPRequestHandler) -> None:
    begin(handler, 5)
    handler.wfile.write(b"{nope")


@pytest.mark.parametrize("answer", [drips, floods, garbage])
def test_a_call_ends_within_its_bounds(answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(answer, tmp_path, monkeypatch) as route:
        if answer is floods:
            monkeypatch.setattr(route, "_total", 60.0)  # the size ends it, not the time
        with pytest.raises(Unavailable, match="shop/support"):
            route.read()


def test_a_change_that_drips_ends_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(drips, tmp_path, monkeypatch) as route, pytest.raises(Unavailable, match="in time"):
        route.patch([{"op": "add", "path": "/x", "value": 1}])


def test_an_honest_answer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, len(ROUTE))
        handler.wfile.write(ROUTE)

    with answering(whole, tmp_path, monkeypatch) as route:
        monkeypatch.setattr(route, "_total", routes.TOTAL)
        assert route.read() == json.loads(ROUTE)
