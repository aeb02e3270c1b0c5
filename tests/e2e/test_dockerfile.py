"""The image is what its Dockerfile promises: built step by step in an empty tree, run on a read-only one."""

from __future__ import annotations

import fcntl
import os
import pickle
import re
import signal
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import killswitch
from killswitch.demo.children import free_port
from tests.servers.etcd import wait_until
from tests.servers.image import (
    DOCKERFILE,
    REPOSITORY,
    Instruction,
    Stage,
    StepFailed,
    build,
    context,
    inside,
    parse,
)

_OFFLINE = re.compile(r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|ConnectTimeout")


def _last_stage() -> list[Instruction]:
    steps = parse(DOCKERFILE.read_text())
    last = max(number for number, step in enumerate(steps) if step.keyword == "FROM")
    return steps[last:]


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "building a tree needs root"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", "mount --bind /mnt /mnt"],
        capture_output=True,
        check=False,
    )
    return None if tried.returncode == 0 else "mount namespaces are not permitted here"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The built image; once for all workers, since it takes a while."""
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    shared = shared / "image"
    shared.mkdir(exist_ok=True)
    built = shared / "stage.pickle"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            copied = context(shared / "context", DOCKERFILE.with_name("Dockerfile.dockerignore"))
            try:
                stage = build(shared / "trees", copied, DOCKERFILE.read_text())
            except StepFailed as failure:
                if _OFFLINE.search(str(failure)):
                    pytest.skip("the package index cannot be reached")
                raise
            built.write_bytes(pickle.dumps(stage))
    stage = pickle.loads(built.read_bytes())
    assert isinstance(stage, Stage)
    return stage


def _run(image: Stage, *command: str) -> subprocess.CompletedProcess[str]:
    """As the image's user, on a read-only root, without any network."""
    return subprocess.run(
        inside(image, command, user=image.user, read_only=True, offline=True),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_image_prints_its_version_without_rights_or_network(image: Stage) -> None:
    """The image prints its version as an unprivileged user, on a read-only root, without a network."""
    finished = _run(image, *image.entrypoint, "--version")
    assert finished.returncode == 0, finished.stderr
    assert killswitch.__version__ in finished.stdout


def test_nothing_but_tmp_can_be_written(image: Stage) -> None:
    script = """
import os, tempfile
assert (os.getuid(), os.getgid()) == (65532, 65532)
for folder in ("/", "/opt", "/opt/killswitch", "/etc", "/usr", "/root"):
    try:
        open(os.path.join(folder, "probe"), "w")
    except OSError:
        continue
    print("written:", folder)
open(os.path.join(tempfile.gettempdir(), "probe"), "w").close()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0, status
"""
    finished = _run(image, "python", "-c", script)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ""


def test_what_is_installed_is_what_the_lock_says_and_nothing_else(image: Stage) -> None:
    script = "import importlib.metadata as m\nfor d in m.distributions(): print(d.name, d.version)"
    finished = _run(image, "python", "-c", script)
    assert finished.returncode == 0, finished.stderr

    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    installed = {canonical(name): version for name, version in (line.split() for line in finished.stdout.splitlines())}
    assert installed.pop("llm-canary-killswitch") == killswitch.__version__
    lines = re.findall(r"^([\w.-]+==.*?) \\$", _requirements("requirements.txt"), re.MULTILINE)
    locked = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    assert installed == {canonical(one.name): str(one.specifier).removeprefix("==") for one in locked}
    assert "pip" not in installed


def test_the_daemon_lives_in_the_image_with_nothing_to_talk_to(image: Stage, running: _Running) -> None:
    """Liveness never depends on the metric store being up; SIGTERM ends it in good order."""
    wait_until(lambda: running.status("/-/healthy") == 200, "the daemon to be healthy")
    assert running.end() == 0


class _Running:
    """The image's own command, on a read-only root, with a rule folder and a port of loopback."""

    def __init__(self, image: Stage, rules: Path, log: Path) -> None:
        self._port = free_port()
        mounted = image.root / "etc/killswitch/rules"
        mounted.mkdir(parents=True, exist_ok=True)
        for file in rules.glob("*.yaml"):
            (mounted / file.name).write_bytes(file.read_bytes())
        settings = {
            "KILLSWITCH_RULES": "/etc/killswitch/rules",
            "KILLSWITCH_STORE": "sqlite:////tmp/flags.db",
            "KILLSWITCH_SOURCE": f"prometheus+http://127.0.0.1:{free_port()}",
            "KILLSWITCH_LISTEN": f"127.0.0.1:{self._port}",
        }
        command = inside(
            image, [*image.entrypoint, *image.command], user=image.user, environment=settings, read_only=True
        )
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def status(self, path: str) -> int:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=2) as answer:
                status: int = answer.status
                return status
        except (OSError, urllib.error.URLError):
            return 0

    def end(self) -> int:
        """SIGTERM to the daemon itself, as a container engine sends it to the first process."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        return self._process.wait(timeout=30)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def running(image: Stage, tmp_path: Path) -> Iterator[_Running]:
    daemon = _Running(image, REPOSITORY / "rules", tmp_path / "log")
    yield daemon
    daemon.kill()


def test_it_runs_as_a_number_that_is_not_root() -> None:
    user = [step.rest for step in _last_stage() if step.keyword == "USER"]
    assert user == ["65532:65532"]


def test_a_container_starts_the_daemon_and_stops_by_sigterm() -> None:
    """A container starts the daemon, and SIGTERM is the signal that stops it."""
    found = {step.keyword: step for step in _last_stage()}
    assert found["ENTRYPOINT"].words == ["killswitch"]
    assert found["CMD"].words == ["run"]
    assert found["STOPSIGNAL"].rest == "SIGTERM"
    assert found["HEALTHCHECK"].rest == "NONE"


def test_every_download_is_checked_against_a_hash() -> None:
    for step in parse(DOCKERFILE.read_text()):
        assert step.keyword != "ADD"
        for command in step.rest.split("&&") if step.keyword == "RUN" else ():
            if re.search(r"\bpip\b.* (install|wheel) ", command):
                assert "--require-hashes" in command or "--no-index" in command, command


def test_every_locked_package_has_a_version_and_a_hash() -> None:
    for name in ("requirements.txt", "requirements-build.txt"):
        text = re.sub(r"^\s*#.*$", "", _requirements(name), flags=re.MULTILINE)
        for requirement in re.split(r"\n(?=\S)", text.strip()):
            assert re.match(r"[\w.-]+==\S+ ", requirement), requirement
            assert "--hash=sha256:" in requirement, requirement


def test_the_context_holds_what_is_copied_and_no_more(tmp_path: Path) -> None:
    copied = context(tmp_path, DOCKERFILE.with_name("Dockerfile.dockerignore"))
    assert {path.name for path in copied.iterdir()} == {"pyproject.toml", "README.md", "killswitch", "deploy"}
    assert {path.name for path in (copied / "deploy").iterdir()} == {"requirements.txt", "requirements-build.txt"}
    assert not list(copied.rglob("__pycache__"))


def test_the_lock_has_every_library_the_daemon_declares() -> None:
    """A dependency that is added to the package and not to the lock would be missing in the image."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["daemon"]]
    locked = set(re.findall(r"^([\w.-]+)==", _requirements("requirements.txt"), re.MULTILINE))
    for requirement in declared:
        name = re.split(r"[^\w.-]", requirement)[0]
        assert name.lower() in locked, requirement


def _requirements(name: str) -> str:
    return (REPOSITORY / "deploy" / name).read_text()
