"""A service that uses the SDK as people do, as a process of its own: with threads, asyncio, or gunicorn's prefork.

``ROUTED_STORE=etcd://… python -m tests.servers.routed_service threads|asyncio|prefork FD``, where FD is a listening
socket. It takes users, one a line, in the body of a POST; every answer is a JSON list with one decision a user:
``[pid, before, after, user, cohort, model, reason, generation, revision]``, times on the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROLLOUT = "support-copilot"
KINDS = ("threads", "asyncio", "prefork")
WORKERS = 2  # of gunicorn
_SETTINGS = ("ROUTED_STORE", "ROUTED_GRACE", "ROUTED_JITTER", "ROUTED_CONTROL_AFTER")


def start(
    kind: str, listener: socket.socket, log: Path, *, store: str, grace: float, jitter: float, control_after: float
) -> subprocess.Popen[bytes]:
    """The service, told how patient its router is (seconds)."""
    values = (store, str(grace), str(jitter), f"{control_after:g}s")
    environment = {**os.environ, **dict(zip(_SETTINGS, values, strict=True)), "PYTHONPATH": str(ROOT)}
    descriptor = str(listener.fileno())
    command = [sys.executable, "-m", "tests.servers.routed_service", kind, descriptor]
    if kind == "prefork":  # --preload: the router is made in the parent, and forked with it
        command = [
            *(sys.executable, "-m", "gunicorn", "--preload", f"--workers={WORKERS}", "--worker-class=gthread"),
            *(
                "--threads=4",
                "--keep-alive=60",
                "--graceful-timeout=2",
                "--timeout=120",
                "--no-control-socket",
                f"--bind=fd://{descriptor}",
            ),
            "tests.servers.routed_service:wsgi()",
        ]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output, pass_fds=[listener.fileno()]
        )


def decider() -> Callable[[bytes], bytes]:
    """What a request is answered with; one router and its metrics for the whole process."""
    from killswitch.router import CohortMetrics, Router  # noqa: PLC0415  # the test itself makes no router

    store, grace, jitter, control_after = (os.environ[name] for name in _SETTINGS)
    router = Router(
        ROLLOUT,
        store,
        control="model-old",
        stale_grace=float(grace),
        stale_jitter=float(jitter),
        when_unwatched={"control_after": control_after},
    )
    metrics = CohortMetrics(router)

    def decide(body: bytes) -> bytes:
        decisions: list[list[Any]] = []
        for user in body.decode().split("\n"):
            before = time.monotonic()
            route = router.route(user)
            after = time.monotonic()
            with metrics.request(route, user=user) as request:
                request.tokens(10)
            decisions.append([os.getpid(), before, after, user, *route])
        return json.dumps(decisions).encode()

    return decide


def wsgi() -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """For gunicorn."""
    decide = decider()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = decide(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]

    return application


def serve_threads(listener: socket.socket) -> None:
    decide = decider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            answer = decide(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """A line a request would be most of the log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    server.serve_forever()


def serve_asyncio(listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415  # only this kind of service has it

    decide = decider()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = decide(body)
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning"))
    asyncio.run(server.serve(sockets=[listener]))


def main(kind: str, descriptor: str) -> None:
    listener = socket.socket(fileno=int(descriptor))
    {"threads": serve_threads, "asyncio": serve_asyncio}[kind](listener)


if __name__ == "__main__":
    main(*sys.argv[1:])
