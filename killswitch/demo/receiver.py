"""Where the demo's page arrives: a webhook on loopback that remembers what it was sent, and when."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MOST_BODY = 1 << 20


class Receiver:
    """Listens from its construction to `close`. ``pages`` are (monotonic second, payload), oldest first."""

    def __init__(self) -> None:
        pages: list[tuple[float, dict[str, Any]]] = []

        class ReceiverHandler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                if 0 < length <= _MOST_BODY:
                    pages.append((time.monotonic(), json.loads(self.rfile.read(length))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The demo's own view says what arrived."""

        self.pages = pages
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), ReceiverHandler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="receiver").start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/page"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
