"""A real PostgreSQL for tests, as a process of the test: as another user where the test is root, which it refuses.

::

    with PostgresqlServer() as server:
        server.execute("CREATE TABLE t (x INTEGER)")
        warehouse = SqlWarehouse(server.url_of("reader"), Secret.from_file(server.password_file))
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.etcd import free_ports, wait_until

PASSWORD = "only-for-tests"  # of a server that ends with the test


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian has them beside the path. None where it is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    return folders[-1].parent if folders else None


def _nobody() -> dict[str, Any]:
    """What makes a child another user's, where this process is root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            known = pwd.getpwnam(name)
            return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}
    raise RuntimeError("no user to run PostgreSQL as")


class PostgresqlServer:
    """One server on a free port of this machine, with the user ``owner`` and the user ``reader``, who may only read."""

    def __init__(self) -> None:
        self.folder = Path(
            tempfile.mkdtemp(prefix="pg", dir="/tmp")
        )  # others must reach it, and a socket's path is short
        self.port = 0
        self.password_file = self.folder / "password"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        bin_folder = programs()
        assert bin_folder is not None, "PostgreSQL is not installed"
        child = _nobody()
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        self.password_file.write_text(PASSWORD + "\n")
        for path in (self.folder, data, self.password_file):
            if child:
                os.chown(path, child["user"], child["group"])
        subprocess.run(
            [bin_folder / "initdb", "-D", data, "-U", "owner", "--pwfile", self.password_file, "-A", "scram-sha-256",
             "--no-sync", "-E", "UTF8", "--locale", "C"],
            check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **child,
        )  # fmt: skip
        for _ in range(5):  # someone else may take the port in between
            (self.port,) = free_ports(1)
            with (self.folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [bin_folder / "postgres", "-D", data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                     "-c", "fsync=off", "-c", f"unix_socket_directories={self.folder}"],
                    stdout=log, stderr=log, cwd=self.folder, **child,
                )  # fmt: skip
            if self._answers():
                break
        else:
            raise RuntimeError((self.folder / "log").read_text())
        self.execute(
            f"CREATE USER reader PASSWORD '{PASSWORD}'", "GRANT pg_read_all_data TO reader", "CREATE SCHEMA support"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resume()
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        process = self._process
        assert process is not None

        def answered() -> bool:
            if process.poll() is not None:
                return True
            with contextlib.suppress(Exception):
                self.execute("SELECT 1")
                return True
            return False

        wait_until(answered, f"PostgreSQL on port {self.port}")
        return process.poll() is None

    def url_of(self, user: str) -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/postgres"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """As the owner; the rows of the last statement that has some."""
        rows: list[tuple[Any, ...]] = []
        with self._connected() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else rows
        return rows

    def copy(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        with self._connected() as connection, connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def _connected(self) -> Any:
        psycopg = importlib.import_module("psycopg")  # a driver that only these tests need
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="owner", password=PASSWORD, dbname="postgres", connect_timeout=10,
            autocommit=True,
        )  # fmt: skip

    def pause(self) -> None:
        """The server and all its children stop, as a machine that hangs."""
        self._to_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._to_all(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._to_all(signal.SIGKILL)
            self._process.wait()

    def _to_all(self, what: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        for pid in (process.pid, *_children(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]
