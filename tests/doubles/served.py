"""A daemon's web face without the daemon: what the pages are made of is set by the test, the server is the real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from starlette.routing import Route

from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.net.credentials import Secret
from killswitch.roles.seen import NO_ROLES, RolesSeen
from killswitch.status.reports import CycleReport
from killswitch.web.app import application
from killswitch.web.server import server
from tests.servers.etcd import free_ports, wait_until


@dataclass
class Served:
    controller_id: str = "replica-0"
    latest: CycleReport | None = None
    token: Secret | None = None
    problems: list[str] = field(default_factory=list)
    reloads: int = 0
    incidents: dict[str, Incident] = field(default_factory=dict)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def age(self) -> float | None:
        return None if self.latest is None else 1.0

    def unhealthy(self) -> str | None:
        return None

    def unready(self) -> str | None:
        return None

    def tripped_on(self, flags: Sequence[Flag]) -> Mapping[str, Incident]:
        return {flag.rollout: self.incidents[flag.rollout] for flag in flags if flag.rollout in self.incidents}

    def roles(self) -> RolesSeen:
        return NO_ROLES

    def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    def api_token(self) -> str | None:
        return None if self.token is None else self.token.reveal()


@contextmanager
def listening(served: Served, routes: list[Route] | None = None, *, host_names: Sequence[str] = ()) -> Iterator[int]:
    """The daemon's own server over ``served``, in a thread; gives its port."""
    for _ in range(3):  # another process may take the port between our look and the start
        port = free_ports(1)[0]
        running = server(application(served, routes, host_names=host_names), f"127.0.0.1:{port}")
        thread = threading.Thread(target=_run, args=(running,), daemon=True)
        thread.start()
        wait_until(lambda: running.started or not thread.is_alive(), "the web server")  # noqa: B023  read at once
        if running.started:
            break
    try:
        yield port
    finally:
        running.should_exit = True
        thread.join(10)


def _run(running: object) -> None:
    try:
        running.run()  # type: ignore[attr-defined]  # uvicorn.Server
    except SystemExit:
        return  # the port was taken
