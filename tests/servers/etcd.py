"""Real etcd processes for tests: one member or a cluster, on free loopback ports, with TLS and users.

::

    with EtcdCluster(tmp_path, size=3) as cluster:
        store = open_store(cluster.url)
        cluster.leader().pause()
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.certificates import Certificate
from tests.servers.freezing import freeze

ETCD = os.environ.get("KILLSWITCH_TEST_ETCD", "etcd")  # `make compat` names another version's program
START_SECONDS = 60.0  # a machine under load is slow to start; nothing waits longer than it must

_FILLER = base64.b64encode(b"/filler").decode()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. They are below the range outgoing connections take theirs from.

    etcd can be told no port 0, so between here and its start somebody else may take one; starting is
    tried again then (`EtcdCluster.start`).
    """
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            port = 10000 + int.from_bytes(os.urandom(2)) % 22000
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports


def wait_until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Polls until ``condition()`` is true. Raises TimeoutError that says what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class EtcdMember:
    """One etcd process. Its data outlives a kill, so that `start` continues where it ended."""

    def __init__(
        self, name: str, folder: Path, client_port: int, arguments: Sequence[str], cluster: EtcdCluster
    ) -> None:
        self.name = name
        self.client_port = client_port
        self.log = folder / f"{name}.log"
        self.data = folder / f"{name}.data"
        self._arguments = [*arguments, f"--data-dir={self.data}"]
        # what a backup has to be told of the member it is restored for
        identity = ("--name=", "--initial-cluster=", "--initial-advertise-peer-urls=", "--data-dir=")
        self.place = [argument for argument in self._arguments if argument.startswith(identity)]
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([ETCD, *self._arguments], stdout=log, stderr=log)

    def stop(self) -> None:
        """An orderly end (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As if the machine had lost power (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        if self.running:
            self.kill()
        self.start()
        self.wait_until_healthy()

    def pause(self) -> None:
        """SIGSTOP: the kernel goes on accepting connections, and no one answers."""
        assert self._process is not None
        freeze(self._process.pid)
        self._paused = True

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def wait_until_healthy(self) -> None:
        """Until it takes part in a quorum: a linearizable read succeeds."""
        wait_until(self._healthy, f"{self.name} healthy; its log is {self.log}")

    def _healthy(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{self.name} has ended; its log ends:\n{self.tail()}")
        try:
            return bool(self.call("/health").get("health") == "true")
        except (OSError, ValueError):
            return False

    def call(self, path: str, body: dict[str, Any] | None = None, *, token: str | None = None) -> Any:
        """One request to the gateway, past all code under test; the decoded answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": token}
        request = urllib.request.Request(f"{self._cluster.scheme}://{self.endpoint}{path}", data, headers)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._cluster.trust())
        )
        with opener.open(request, timeout=5) as answer:
            return json.load(answer)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if self._paused:
            self.resume()
        process.send_signal(how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None


class EtcdCluster:
    """``size`` members. With ``certificate``, TLS for clients; with ``client_ca``, their certificates, too.

    ``arguments`` go to every member: ``("--auth-token-ttl=2",)``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 1,
        certificate: Certificate | None = None,
        client_ca: Path | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._size = size
        self._certificate = certificate
        self._client_ca = client_ca
        self._arguments = tuple(arguments)
        self.members: list[EtcdMember] = []

    # --- what a client needs to know

    @property
    def scheme(self) -> str:
        return "http" if self._certificate is None else "https"

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    @property
    def url(self) -> str:
        """For `killswitch.stores.opening.open_store`."""
        return f"etcd{'' if self._certificate is None else 's'}://{','.join(self.endpoints)}"

    def trust(self) -> ssl.SSLContext:
        # only to see whether the server is up; what is under test verifies for itself
        # without the system's authorities: loading them costs 24 ms of processor, and tests ask fifty times a second
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self._certificate is not None and self._client_ca is not None:
            context.load_cert_chain(self._certificate.cert, self._certificate.key)
        return context

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start all members on free ports and wait until each is healthy."""
        for attempt in range(3):
            self._build()
            for member in self.members:
                member.start()
            try:
                for member in self.members:
                    member.wait_until_healthy()
            except RuntimeError:
                taken = any("address already in use" in member.tail() for member in self.members)
                self.close()
                if attempt == 2 or not taken:
                    raise
            except BaseException:
                self.close()
                raise
            else:
                return

    def close(self) -> None:
        for member in self.members:
            member.kill()

    def _build(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * self._size)
        names = [f"etcd{number}" for number in range(self._size)]
        peers = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports[self._size :], strict=True)}
        everyone = ",".join(f"{name}={url}" for name, url in peers.items())
        self.members = []
        for name, port in zip(names, ports, strict=False):
            client = f"{self.scheme}://127.0.0.1:{port}"
            arguments = [
                f"--name={name}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peers[name]}",
                f"--initial-advertise-peer-urls={peers[name]}",
                f"--initial-cluster={everyone}",
                # the tests' own disks are not what is tested
                "--unsafe-no-fsync",
                *self._tls_arguments(),
                *self._arguments,
            ]
            shutil.rmtree(self._folder / f"{name}.data", ignore_errors=True)
            self.members.append(EtcdMember(name, self._folder, port, arguments, self))

    def _tls_arguments(self) -> list[str]:
        if self._certificate is None:
            return []
        arguments = [f"--cert-file={self._certificate.cert}", f"--key-file={self._certificate.key}"]
        if self._client_ca is not None:
            arguments += ["--client-cert-auth", f"--trusted-ca-file={self._client_ca}"]
        return arguments

    # --- what tests do to it

    def leader(self) -> EtcdMember:
        """The member that leads now; waits for an election to end."""
        found: list[EtcdMember] = []

        def look() -> bool:
            for member in self.members:
                if not member.running:
                    continue
                with contextlib.suppress(OSError, ValueError):
                    status = member.call("/v3/maintenance/status", {})
                    if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                        found.append(member)
                        return True
            return False

        wait_until(look, "a leader")
        return found[0]

    def followers(self) -> list[EtcdMember]:
        leader = self.leader()
        return [member for member in self.members if member is not leader]

    def back_up(self, backup: Path) -> None:
        """A snapshot of the store as it stands."""
        _etcdctl("--endpoints", self.leader().endpoint, "snapshot", "save", str(backup))

    def restore(self, backup: Path) -> None:
        """Every member dies, their data are lost, and they start again from the backup."""
        for member in self.members:
            member.kill()
            shutil.rmtree(member.data)
            _etcdctl("snapshot", "restore", str(backup), *member.place)
        for member in self.members:
            member.start()
        for member in self.members:
            member.wait_until_healthy()

    def fill(self) -> None:
        """Write until etcd is out of space: small the ``--quota-backend-bytes`` among ``arguments``."""
        value = base64.b64encode(b"x" * 500_000).decode()
        member = self.leader()
        for _ in range(1000):
            try:
                member.call("/v3/kv/put", {"key": _FILLER, "value": value})
            except urllib.error.HTTPError as error:
                if b"database space exceeded" not in error.read():
                    raise
                return
        raise RuntimeError("etcd took everything: has it a quota?")

    def free(self, revision: int) -> None:
        """The end of `fill`, as the runbook has it: compact up to ``revision``, defragment, disarm the alarm."""
        leader = self.leader()
        leader.call("/v3/kv/deleterange", {"key": _FILLER})
        with contextlib.suppress(urllib.error.HTTPError):  # compacted so far already
            leader.call("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        for member in self.members:
            member.call("/v3/maintenance/defragment", {})
        for alarm in leader.call("/v3/maintenance/alarm", {"action": "GET"}).get("alarms", ()):
            leader.call("/v3/maintenance/alarm", {"action": "DEACTIVATE", **alarm})

    def enable_auth(self, root_password: str, users: dict[str, tuple[str, str]]) -> None:
        """Turns authentication on. ``users``: name -> (password, prefix it may read and write)."""
        member = self.members[0]
        member.call("/v3/auth/user/add", {"name": "root", "password": root_password})
        member.call("/v3/auth/role/add", {"name": "root"})
        member.call("/v3/auth/user/grant", {"user": "root", "role": "root"})
        for name, (password, prefix) in users.items():
            self._add_user(name, password, prefix)
        member.call("/v3/auth/enable", {})

    def _add_user(self, name: str, password: str, prefix: str) -> None:
        first = prefix.encode()
        after = first[:-1] + bytes([first[-1] + 1])
        permission = {
            "permType": "READWRITE",
            "key": base64.b64encode(first).decode(),
            "range_end": base64.b64encode(after).decode(),
        }
        member = self.members[0]
        member.call("/v3/auth/user/add", {"name": name, "password": password})
        member.call("/v3/auth/role/add", {"name": name})
        member.call("/v3/auth/role/grant", {"name": name, "perm": permission})
        member.call("/v3/auth/user/grant", {"user": name, "role": name})

    def call_as(self, name: str, password: str, path: str, body: dict[str, Any]) -> Any:
        """A call with a fresh token; with another one where that died on the way (they may live for a second)."""
        for _ in range(10):
            try:
                return self.members[0].call(path, body, token=self.token(name, password))
            except urllib.error.HTTPError as error:
                if error.code != 401:
                    raise
        raise TimeoutError(f"etcd's tokens die before they can be used for {path}")

    def token(self, name: str, password: str) -> str:
        """An auth token, for `EtcdMember.call`."""
        return str(self.members[0].call("/v3/auth/authenticate", {"name": name, "password": password})["token"])


def _etcdctl(*arguments: str) -> None:
    subprocess.run(["etcdctl", *arguments], check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})
