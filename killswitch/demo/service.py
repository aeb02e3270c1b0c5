"""A simulated LLM service, as a process: ``python -m killswitch.demo.service --store URL --rollout NAME``.

Users of `killswitch.demo.traffic` are routed by the SDK's router under the real flag, the model that serves
them answers as it would, and what happened is counted by the SDK's metrics. After a while, or when told to,
the canary's model gets worse. `killswitch.demo.pace` says how time passes.

HTTP, on loopback only:

- ``GET /metrics``: the cohort schema with its judged counters.
- ``GET /state``: the service's own account as JSON (`killswitch.demo.simulation.State`).
- ``POST /regression`` with ``{"kind": "refusals"}`` as ``application/json``: it begins now, or at the simulated
  second ``"at"``.

The first line of standard output is ``{"url": "http://127.0.0.1:PORT"}``. It ends on SIGTERM, on Ctrl-C, and
when its parent has ended.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from killswitch.demo.pace import MOST_REQUESTS, Pace
from killswitch.demo.simulation import MOST_USERS, SimulatedClock, Simulation, cohort_metrics
from killswitch.demo.traffic import SLOT, Regression, World
from killswitch.errors import BadDocument, KillswitchError
from killswitch.flags.flag import check_rollout_name
from killswitch.router import Router

RATE = 200.0  # requests a simulated second: at 5 % the canary gets 3,000 in a window of 5 minutes
USERS = 200_000  # so many that most requests are a user's first in five minutes, and so are judged
REGRESS_AFTER = 600.0
_MOST_BODY = 1024  # bytes
_FIRST_READ = 2.0  # real seconds


class ServiceServer(ThreadingHTTPServer):
    """The service's HTTP side; ``port`` 0 takes any free one."""

    daemon_threads = True

    def __init__(self, port: int, registry: CollectorRegistry, simulation: Simulation) -> None:
        self.registry = registry
        self.simulation = simulation
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ServiceServer
    timeout = 5.0

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(HTTPStatus.OK, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        elif self.path == "/state":
            self._answer_json(HTTPStatus.OK, asdict(self.server.simulation.state))
        else:
            self._answer_json(HTTPStatus.NOT_FOUND, {"error": "there are /metrics, /state and /regression"})

    def do_POST(self) -> None:
        # a web page can post to loopback too, but not with this type and without being asked first
        if self.path != "/regression" or self.headers.get_content_type() != "application/json":
            self._answer_json(HTTPStatus.BAD_REQUEST, {"error": "POST /regression takes application/json"})
            return
        try:
            body = json.loads(self._body())
            kind, at = Regression(body["kind"]), float(body.get("at", 0.0))
            if not math.isfinite(at):
                raise ValueError(at)  # noqa: TRY301  # answered below, like all that makes no sense
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            kinds = ", ".join(Regression)
            self._answer_json(HTTPStatus.BAD_REQUEST, {"error": f'send {{"kind": …}} with one of {kinds}'})
            return
        self.server.simulation.regress(kind, at)
        self._answer_json(HTTPStatus.OK, {"kind": kind})

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length", ""))
        if not 0 <= length <= _MOST_BODY:
            raise ValueError(f"{length} bytes")
        return self.rfile.read(length)

    def _answer_json(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Every scrape would be a line."""


def live(
    simulation: Simulation,
    pace: Pace,
    *,
    asked_to_end: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    parent: Callable[[], int] = os.getppid,
) -> None:
    """Let the world live at its pace until asked to end or our parent has ended."""
    began, born_of = clock(), parent()
    while not asked_to_end() and parent() == born_of:
        now = pace.simulated(clock() - began)
        simulation.advance(now)
        wait = pace.real(simulation.state.at + SLOT) - (clock() - began)
        time.sleep(max(0.0, wait))


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, refused as a whole (exit code 2) when any of it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m killswitch.demo.service",
        description="A simulated LLM service under a canary.",
        epilog="All durations are simulated seconds; one real second holds --speed of them.",
    )
    parser.add_argument(
        "--store", required=True, metavar="URL", help="where the flag is: sqlite:///path, etcd://host:2379"
    )
    parser.add_argument("--rollout", required=True, type=_rollout, metavar="NAME")
    parser.add_argument("--control", default="model-old", metavar="MODEL")
    parser.add_argument("--canary", default="model-new", metavar="MODEL", help="the model that regresses")
    parser.add_argument("--port", type=int, default=0, help="0: any free one (default)")
    parser.add_argument("--speed", type=_pace, default=Pace(1.0), metavar="N", dest="pace")
    parser.add_argument("--rate", type=_positive, default=RATE, help=f"requests a second (default {RATE:g})")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--regression", type=_regression, metavar="KIND", default=Regression.NONE)
    parser.add_argument("--regress-after", type=_positive, default=REGRESS_AFTER, metavar="SECONDS")
    chosen = parser.parse_args(words)
    if not 1 <= chosen.users <= MOST_USERS or not 0 <= chosen.port <= 65535:
        parser.error(f"--users must be from 1 to {MOST_USERS}, --port from 0 to 65535")
    if chosen.rate * chosen.pace.speed > MOST_REQUESTS:
        parser.error(f"--rate times --speed must be at most {MOST_REQUESTS:g} requests a real second")
    return chosen


def main(words: Sequence[str] | None = None) -> int:
    chosen = arguments(words)
    asked: list[int] = []  # no Event: a handler that runs inside its wait() would lock up in its set()

    def end(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    registry = CollectorRegistry()
    clock = SimulatedClock()
    try:
        router = Router(chosen.rollout, store=chosen.store, control=chosen.control, registry=registry)
    except KillswitchError as error:
        print(f"the flag store cannot be used: {error}", file=sys.stderr)  # noqa: T201  # a command line of its own
        return 2
    router.wait_until_read(_FIRST_READ)  # so that the story does not depend on how fast the store answers
    simulation = Simulation(
        world=World(seed=chosen.seed, rate=chosen.rate, users=chosen.users),
        route=router.route,
        metrics=cohort_metrics(router, registry, clock),
        clock=clock,
        canary_model=chosen.canary,
        regression=chosen.regression,
        regression_at=None if chosen.regression is Regression.NONE else chosen.regress_after,
    )
    try:
        server = ServiceServer(chosen.port, registry, simulation)
    except OSError as error:
        print(f"port {chosen.port} cannot be had: {error.strerror}; --port 0 takes a free one", file=sys.stderr)  # noqa: T201
        return 2
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), name="http", daemon=True).start()
        print(json.dumps({"url": server.url}), flush=True)  # noqa: T201  # what the parent waits for
        live(simulation, chosen.pace, asked_to_end=lambda: bool(asked))
        server.shutdown()
    router.close()
    return 0


def _rollout(text: str) -> str:
    try:
        return check_rollout_name(text)
    except BadDocument as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _regression(text: str) -> Regression:
    try:
        return Regression(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(Regression)}") from error


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be over 0")
    return number


def _pace(text: str) -> Pace:
    try:
        return Pace(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
