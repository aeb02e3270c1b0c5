"""The real etcd and the real Prometheus, as child processes on free loopback ports, for ``demo --real``."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from killswitch.demo.children import Child, free_port
from killswitch.demo.pace import SCRAPE_INTERVAL, Pace
from killswitch.errors import Refused, Unavailable

_START_SECONDS = 20.0
_ATTEMPTS = 3  # a port that was free may be taken when the server comes to it
_DEBIAN_PACKAGES = {"etcd": "etcd-server", "prometheus": "prometheus", "promtool": "prometheus"}
_IMPORT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. ``url`` is how settings name it: ``etcd://…``, ``prometheus+http://…``."""

    url: str
    child: Child


def require_installed(names: Sequence[str] = tuple(_DEBIAN_PACKAGES)) -> None:
    """Raises Refused, with the command that installs them, when a server's program is not on the path."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_DEBIAN_PACKAGES[name] for name in missing))
        raise Refused(
            f"{' and '.join(missing)} cannot be found; on Debian and Ubuntu: sudo apt-get install {packages} "
            "(in a clone: make servers), or leave --real out, which needs neither"
        )


def start_etcd(within: Path | None = None) -> RunningServer:
    """One etcd member with an empty store. Raises Refused (not installed) or Unavailable (did not start).

    ``within``, here and below, is the folder for the server's own one; None: where such things go.
    """
    require_installed(["etcd"])
    return _start("etcd", _etcd_command, _etcd_is_ready, scheme="etcd", within=within)


def _etcd_command(folder: Path, port: int) -> list[str]:
    here, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    settings = {
        "name": "demo",
        "data-dir": str(folder / "data"),
        "listen-client-urls": here,
        "advertise-client-urls": here,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"demo={peer}",
        "unsafe-no-fsync": "true",  # nothing here outlives the demo
    }
    return ["etcd", *(f"--{name}={value}" for name, value in settings.items())]


def _etcd_is_ready(port: int) -> bool:
    return _answers(port, "/health", expect=b'"health":"true"')


def scraped_labels(number: int, url: str) -> dict[str, str]:
    """The labels Prometheus adds to what it scrapes from the ``number``-th URL."""
    return {"job": f"service-{number}", "instance": urllib.parse.urlsplit(url).netloc}


def start_prometheus(
    scrape: Sequence[str], pace: Pace, *, history: str | None = None, within: Path | None = None
) -> RunningServer:
    """A Prometheus that scrapes the ``/metrics`` URLs in ``scrape``, as often as ``pace`` says.

    ``history`` is OpenMetrics text, with times, that it holds from the beginning (by ``promtool``).
    Raises Refused (not installed, or a URL it cannot scrape) or Unavailable (did not start).
    """
    require_installed(["prometheus"] if history is None else ["prometheus", "promtool"])
    configuration = _prometheus_configuration(scrape, pace)

    def command(folder: Path, port: int) -> list[str]:
        file = folder / "prometheus.json"
        file.write_text(configuration)
        if history is not None:
            _import_history(history, folder)
        return [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]

    ready: Callable[[int], bool] = lambda port: _answers(port, "/-/ready")  # noqa: E731  # it is one word
    return _start("prometheus", command, ready, scheme="prometheus+http", within=within)


def _import_history(history: str, folder: Path) -> None:
    file = folder / "history.om"
    file.write_text(history)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(file), str(folder / "data")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_IMPORT_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"promtool did not import the past within {_IMPORT_SECONDS:g} s") from error
    if done.returncode != 0:
        raise Unavailable(f"promtool cannot import the past: {done.stderr.strip()[-300:]}")


def _prometheus_configuration(scrape: Sequence[str], pace: Pace) -> str:
    """JSON, which is YAML that needs no quoting rules."""
    jobs = []
    for number, url in enumerate(scrape):
        target = urllib.parse.urlsplit(url)
        if target.scheme not in ("http", "https") or not target.netloc:
            raise Refused(f"{url!r} cannot be scraped: use http://host:port/metrics")
        jobs.append(
            {
                "job_name": scraped_labels(number, url)["job"],
                "scheme": target.scheme,
                "metrics_path": target.path or "/metrics",
                "static_configs": [{"targets": [target.netloc]}],
            }
        )
    every = pace.duration(SCRAPE_INTERVAL)
    return json.dumps({"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs})


class RealServers:
    """etcd and Prometheus, both or none: what was started is stopped when the other does not start."""

    def __init__(self, scrape: Sequence[str], pace: Pace) -> None:
        require_installed()
        self._etcd = start_etcd()
        try:
            self._prometheus = start_prometheus(scrape, pace)
        except BaseException:
            self._etcd.child.stop()
            raise

    @property
    def store_url(self) -> str:
        return self._etcd.url

    @property
    def source_url(self) -> str:
        return self._prometheus.url

    def stop(self) -> None:
        try:
            self._prometheus.child.stop()
        finally:
            self._etcd.child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Command(Protocol):
    def __call__(self, folder: Path, port: int) -> list[str]: ...


def _start(
    name: str, command: _Command, ready: Callable[[int], bool], *, scheme: str, within: Path | None
) -> RunningServer:
    failure: Unavailable | None = None
    for _ in range(_ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=f"killswitch-{name}-", dir=within))
        port = free_port()
        child: Child | None = None
        try:
            child = Child(name, command(folder, port), log=folder / "log", remove=folder)
            child.wait_until(lambda port=port: ready(port), seconds=_START_SECONDS)  # type: ignore[misc]  # mypy wants no default here
        except BaseException as error:
            if child is not None:
                child.stop()
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, Unavailable):
                raise
            failure = error
        else:
            return RunningServer(f"{scheme}://127.0.0.1:{port}", child)
    assert failure is not None
    raise failure


def _answers(port: int, path: str, *, expect: bytes = b"") -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status == http.client.OK and expect in answer.read(4096)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
