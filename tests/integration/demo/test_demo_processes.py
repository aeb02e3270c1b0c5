"""The demo's processes are real, answer, and never outlive the demo."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.demo import servers
from killswitch.demo.children import Child
from killswitch.demo.pace import Pace
from killswitch.demo.service_process import ServiceProcess
from killswitch.demo.simulation import Tally
from killswitch.demo.traffic import Regression
from killswitch.errors import Refused, Unavailable
from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.transitions import Actor
from killswitch.stores import Committed, Put, keys
from killswitch.stores.opening import open_store
from tests.servers.etcd import wait_until

_REAL = Pace(20.0)


def _arm(store_url: str) -> flag.Flag:
    armed = flag.arm(
        None, rollout="demo", control="old", canary="new", percent=5.0, stage="ramp_5", now=time.time(), by="test"
    )
    _write(store_url, armed)
    return armed


def _write(store_url: str, document: flag.Flag) -> None:
    store = open_store(store_url)
    assert isinstance(store.commit([], [Put(keys.flag("demo"), flag_document(document))]), Committed)
    store.close()


def _trip(store_url: str, armed: flag.Flag) -> None:
    tripped = flag.trip(
        armed,
        rollout="demo",
        reason="drill",
        rules=(),
        incident="demo-1",
        now=time.time(),
        by="test",
        actor=Actor.PERSON,
    )
    _write(store_url, tripped)


def _gone(pid: int) -> bool:
    """True once no process bears the number, or only a dead one that waits to be collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes between open and read
        return True
    return state == "Z"


@pytest.fixture(params=["sqlite", "etcd"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/flags.db"
        return
    etcd = servers.start_etcd()
    yield etcd.url
    etcd.child.stop()


def _service(store_url: str, **options: object) -> ServiceProcess:
    return ServiceProcess.start(
        store=store_url,
        rollout="demo",
        pace=_REAL,
        control="old",
        canary="new",
        **options,  # type: ignore[arg-type]
    )


def test_the_service_obeys_the_flag_and_shows_what_it_did(store_url: str) -> None:
    armed = _arm(store_url)
    service = _service(store_url)
    with service.child:
        wait_until(lambda: service.state().canary.requests > 0, "users in the canary")
        assert service.state().route_reason == "SPLIT"
        _trip(store_url, armed)
        wait_until(lambda: service.state().route_reason == "DISABLED", "the trip was seen")
        served = service.state().canary.requests
        wait_until(lambda: service.state().canary_share == 0.0, "no canary request in the last 30 seconds")
        assert service.state().canary.requests == served
        with urllib.request.urlopen(service.metrics_url, timeout=5) as answer:
            text = answer.read().decode()
        for family in (
            "llm_requests_total",
            "llm_judged_requests_total",
            "llm_latency_ms_bucket",
            "llm_refusals_total",
        ):
            assert f'{family}{{cohort="canary"' in text


def test_the_canary_gets_worse_when_told_to(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/flags.db"
    _arm(url)
    service = _service(url)
    with service.child:
        service.regress(Regression.ERRORS)
        wait_until(lambda: service.state().regression is Regression.ERRORS, "the regression began")
        wait_until(lambda: service.state().canary.errors > 5, "errors of the canary")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"kind": "everything"}', "application/json"),
        (b'{"kind": "errors"}', "text/plain"),  # what a web page may send without being asked first
        (b"[" * 900, "application/json"),
        (b'{"kind": "errors"}' + b" " * 2000 + b"x", "application/json"),
        (b"\xff", "application/json"),
        (b"[]", "application/json"),
    ],
)
def test_a_post_that_is_not_understood_changes_nothing(
    quiet_service: ServiceProcess, body: bytes, content_type: str
) -> None:
    request = urllib.request.Request(
        f"{quiet_service.url}/regression", data=body, headers={"Content-Type": content_type}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    assert refused.value.code == 400
    assert "error" in json.load(refused.value)
    assert quiet_service.state().regression is Regression.NONE


@pytest.fixture(scope="module")
def quiet_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    service = _service(f"sqlite://{tmp_path_factory.mktemp('store')}/flags.db")
    with service.child:
        yield service


def test_one_seed_tells_one_story_in_two_processes(tmp_path: Path) -> None:
    told: list[dict[float, tuple[Tally, Tally]]] = [{}, {}]
    services = []
    with contextlib.ExitStack() as running:
        for number in range(2):
            url = f"sqlite://{tmp_path}/{number}.db"
            _arm(url)
            services.append(_service(url, seed=9, regression=Regression.ERRORS, regress_after=5.0))
            running.enter_context(services[-1].child)

        def both_accounts() -> set[float]:
            for service, story in zip(services, told, strict=True):
                state = service.state()
                if state.at > 10.0:
                    story[state.at] = (state.control, state.canary)
            return told[0].keys() & told[1].keys()

        wait_until(both_accounts, "an account of both at the same moment, after the regression began")
        for at in both_accounts():
            assert told[0][at] == told[1][at]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_ends_in_good_order_when_asked(number: int, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "killswitch.demo.service",
        "--store",
        f"sqlite://{tmp_path}/f.db",
        "--rollout",
        "demo",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_a_store_that_names_nothing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="the flag store cannot be used"):
        _service(f"carrier-pigeon://{tmp_path}")


def test_real_servers_answer_and_leave_nothing_behind(tmp_path: Path) -> None:
    with servers.RealServers(["http://127.0.0.1:1/metrics"], _REAL) as real:
        assert real.store_url.startswith("etcd://127.0.0.1:")
        prometheus = real.source_url.removeprefix("prometheus+")
        wait_until(lambda: _targets(prometheus), "its target")
        (target,) = _targets(prometheus)
        assert target["scrapeInterval"] == "1s500ms"
        folders = [child.log.parent for child in (real._etcd.child, real._prometheus.child)]
        assert all(folder.is_dir() for folder in folders)
    assert not any(folder.exists() for folder in folders)


def _targets(prometheus: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{prometheus}/api/v1/targets", timeout=5) as answer:
        targets: list[dict[str, str]] = json.load(answer)["data"]["activeTargets"]
        return targets


def test_a_missing_server_is_reported_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a server is not installed, the error names it and the command that installs it."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refused, match="apt-get install etcd-server prometheus"):
        servers.require_installed()


_PARENT = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have been told to ignore it (nohup)
from pathlib import Path
from killswitch.demo.children import Child
folder = Path(sys.argv[1])
child = Child("sleeper", ["sh", "-c", "echo $$; sleep 1000"], log=folder / "log", remove=folder)
child.wait_until(lambda: (folder / "log").read_text().strip() != "", seconds=30)
print((folder / "log").read_text(), flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_child_and_its_folder_go_with_the_parent_however_it_dies(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(number)
        parent.wait(timeout=30)
    wait_until(lambda: _gone(pid), "the child is gone")
    wait_until(lambda: not folder.exists(), "its folder is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a process with its parent by itself")
def test_a_child_dies_even_when_what_ties_it_is_killed(tmp_path: Path) -> None:
    child = Child("sleeper", ["sh", "-c", "echo $$; sleep 1000"], log=tmp_path / "log")
    child.wait_until(lambda: child.output() != "", seconds=30)
    pid = int(child.output())
    os.kill(child._process.pid, signal.SIGKILL)
    wait_until(lambda: _gone(pid), "the child is gone")
    assert child.stop() == -signal.SIGKILL


def test_a_child_that_ignores_sigterm_is_killed_after_a_while(tmp_path: Path) -> None:
    child = Child("deaf", ["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"], log=tmp_path / "log")
    child.wait_until(lambda: child.output() != "", seconds=30)
    pid = int(child.output())
    assert child.stop() == 128 + signal.SIGKILL
    assert _gone(pid)


def test_a_command_that_exits_at_once_is_shown_with_its_output(tmp_path: Path) -> None:
    """If a command exits at once, the error has its exit code and its last output."""
    with (
        Child("the mayfly", ["sh", "-c", "echo out of wine; exit 3"], log=tmp_path / "log") as child,
        pytest.raises(Unavailable, match="the mayfly ended at once, exit code 3; its last words: out of wine"),
    ):
        child.wait_until(lambda: False, seconds=30)


def test_a_command_that_does_not_exist_is_reported_by_name(tmp_path: Path) -> None:
    with (
        Child("nobody", ["/no/such/program"], log=tmp_path / "log") as child,
        pytest.raises(Unavailable, match="/no/such/program: No such file"),
    ):
        child.wait_until(lambda: False, seconds=30)
