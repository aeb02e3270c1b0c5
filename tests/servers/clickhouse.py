"""A real ClickHouse for tests, with a configuration of its own: ``default`` may write, ``reader`` reads alone."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.servers.etcd import free_ports, wait_until
from tests.servers.freezing import freeze

PASSWORD: Final = "of-the-reader"
_CONFIG: Final = """<yandex><logger><level>warning</level><console>1</console></logger>
<listen_host>127.0.0.1</listen_host><http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><users_config>users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>100000000</mark_cache_size></yandex>"""
_USER: Final = (
    "<{name}><password>{password}</password><networks><ip>127.0.0.1</ip></networks>"
    "<profile>{profile}</profile><quota>default</quota></{name}>"
)


class ClickHouseServer:
    """One ClickHouse process in ``folder``. Its data outlives a kill, so that `start` continues where it ended."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        http, tcp = free_ports(2)
        self.port = http
        (folder / "config.xml").write_text(_CONFIG.format(http=http, tcp=tcp, folder=folder))
        users = _USER.format(name="default", password="", profile="default")
        users += _USER.format(name="reader", password=PASSWORD, profile="reading")
        (folder / "users.xml").write_text(
            f"<yandex><profiles><default/><reading><readonly>2</readonly></reading></profiles>"
            f"<users>{users}</users><quotas><default/></quotas></yandex>"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self._folder / "clickhouse.log").open("ab")
        command = ["clickhouse-server", f"--config-file={self._folder / 'config.xml'}"]
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, f"ClickHouse ready; its log is {log.name}")

    def _answers(self) -> bool:
        try:
            return self.run("SELECT 1").strip() == "1"
        except OSError:
            return False

    def run(self, sql: str) -> str:
        """One statement as ``default``, past all code under test. Raises HTTPError for one that fails."""
        with urllib.request.urlopen(f"{self.url}/", sql.encode(), timeout=30) as response:
            text: str = response.read().decode()
        return text

    def pause(self) -> None:
        """SIGSTOP: the kernel accepts connections, and no one answers."""
        assert self._process is not None
        freeze(self._process.pid)

    def kill(self) -> None:
        """As if the machine had lost power (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
