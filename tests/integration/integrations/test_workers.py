"""Several workers without prometheus-client's multiprocess mode: warned of under the real servers, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.etcd import wait_until

APPLICATION = """
import os
from killswitch.router import CohortMetrics
metrics = CohortMetrics()
print("READY", os.getpid(), flush=True)

async def asgi(scope, receive, send):
    pass

def wsgi(environment, start_response):
    return []
"""

GUNICORN = ("gunicorn", "service:wsgi", "--bind", "127.0.0.1:0")
UVICORN = ("uvicorn", "service:asgi", "--port", "0", "--lifespan", "off")
FOUR = ("--workers", "4")
PRELOAD = "--preload"


def served(folder: Path, command: tuple[str, ...], processes: int, **environment: str) -> str:
    """What the server and its workers print until ``processes`` of them have loaded the application."""
    (folder / "service.py").write_text(APPLICATION)
    output = folder / "output"
    inherited = {name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY"}
    with output.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**inherited, "PYTHONPATH": f"{Path.cwd()}:{folder}", **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: output.read_text().count("READY") >= processes, f"{processes} processes of {command[0]}")
    finally:
        server.terminate()
        server.wait(60)
    return output.read_text()


@pytest.mark.parametrize(
    ("command", "environment", "processes", "warnings"),
    [
        ((*GUNICORN, *FOUR), {}, 4, 4),
        ((*GUNICORN, *FOUR, PRELOAD), {}, 1, 1),
        ((*GUNICORN, *FOUR, "--threads", "2"), {}, 4, 4),
        (GUNICORN, {"WEB_CONCURRENCY": "4"}, 4, 4),
        (GUNICORN, {}, 1, 0),
        ((*UVICORN, *FOUR), {}, 4, 4),
        (UVICORN, {"WEB_CONCURRENCY": "4"}, 4, 4),
        (UVICORN, {}, 1, 0),
    ],
)
def test_workers_that_count_alone_are_warned_of(
    tmp_path: Path, command: tuple[str, ...], environment: dict[str, str], processes: int, warnings: int
) -> None:
    """Once a process that loads the application; not where there is one worker."""
    printed = served(tmp_path, command, processes, **environment)
    assert printed.count(f"4 workers of {command[0]}: each has its own counters") == warnings
    assert printed.count("PROMETHEUS_MULTIPROC_DIR") == warnings


@pytest.mark.parametrize("command", [(*GUNICORN, *FOUR), (*UVICORN, *FOUR)])
def test_workers_in_multiprocess_mode_are_not_warned_of(tmp_path: Path, command: tuple[str, ...]) -> None:
    shared = tmp_path / "metrics"
    shared.mkdir()
    assert "workers of" not in served(tmp_path, command, 4, PROMETHEUS_MULTIPROC_DIR=str(shared))


FORKING = """
import os
from prometheus_client import generate_latest
from killswitch.router import CohortMetrics
metrics = CohortMetrics()
generate_latest()
for number in range(3):
    child = os.fork()
    if child == 0:
        generate_latest(), generate_latest()
        os._exit(0)
    os.waitpid(child, 0)
    print("FORKED", flush=True)
generate_latest()
"""


def test_forks_of_an_unknown_server_are_warned_of_when_scraped(tmp_path: Path) -> None:
    """From the second on: the first may be the only one."""
    printed = subprocess.run(
        [sys.executable, "-c", FORKING], check=True, capture_output=True, text=True, timeout=120
    ).stderr
    assert printed.count("this is forked process number") == 2
    assert "forked process number 2 of one parent" in printed
    assert "forked process number 3 of one parent" in printed
