"""``killswitch follow``: mirrors a flag into the weights of a Gateway API route."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from prometheus_client import REGISTRY, start_http_server

from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    RolloutArgument,
    SettingsOption,
    StoreOption,
    errors_as_messages,
    say,
)
from killswitch.cli.logs import set_up_logs
from killswitch.cli.stopping import StopSignal, stopping
from killswitch.cli.terminal import one_line
from killswitch.daemon.settings import Settings, load_settings
from killswitch.daemon.wiring import store_access
from killswitch.errors import BadSettings
from killswitch.gateway.mirror_metrics import MirrorMetrics
from killswitch.gateway.mirroring import Mirroring, MirrorState
from killswitch.gateway.routes import WeightedRoute
from killswitch.gateway.weights import Pair, backend, check_route
from killswitch.router.background import elapsed
from killswitch.router.follow import Follower, follow
from killswitch.router.observers import Happening
from killswitch.router.presence import Reporter, new_id
from killswitch.router.snapshot import ObeyedFlag
from killswitch.rules.units import UnitError, parse_duration
from killswitch.stores.reader import LeaseWriter
from killswitch.stores.reader_opening import open_reader

RouteOption = Annotated[str, typer.Option("--route", help="The route: NAMESPACE/NAME.", show_default=False)]
KindOption = Annotated[
    Literal["HTTPRoute", "GRPCRoute", "AIGatewayRoute"],
    typer.Option(
        "--kind", help="Its kind; with Envoy AI Gateway the AIGatewayRoute, from which it writes the HTTPRoute."
    ),
]
VersionOption = Annotated[
    str | None, typer.Option("--api-version", help="The version of its API group.", show_default="the kind's newest")
]
ControlOption = Annotated[
    str, typer.Option("--control-backend", help="NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT.", show_default=False)
]
CanaryOption = Annotated[str, typer.Option("--canary-backend", help="Likewise, the new model's.", show_default=False)]
EveryOption = Annotated[str, typer.Option("--every", help="How often the route is looked at, besides at each change.")]
AtExitOption = Annotated[
    Literal["control", "keep"],
    typer.Option("--at-exit", help="What the route does once no one mirrors: everyone to control, or as it is."),
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", help="The kubeconfig's context.", show_default="the pod's, or the current one"),
]
OnceOption = Annotated[bool, typer.Option("--once", help="Set the route once and end; it is left as it is then.")]
PortOption = Annotated[
    int | None, typer.Option("--metrics-port", min=1, max=65535, help="Port of /metrics.", show_default="none")
]
LogOption = Annotated[Literal["human", "json"], typer.Option("--log-format", help="human or json.")]

FIRST_READ = 10.0  # seconds; then the route goes to control until the flag store is read
_SLICE = 0.5  # seconds between looks for a wish to stop

log = logging.getLogger(__name__)


def command(  # long: an option is a line
    rollout: RolloutArgument,
    route: RouteOption,
    control_backend: ControlOption,
    canary_backend: CanaryOption,
    kind: KindOption = "HTTPRoute",
    api_version: VersionOption = None,
    every: EveryOption = "10s",
    at_exit: AtExitOption = "control",
    once: OnceOption = False,
    context: ContextOption = None,
    metrics_port: PortOption = None,
    store: StoreOption = None,
    settings: SettingsOption = None,
    log_format: LogOption = "human",
) -> None:
    """Keep a Gateway API route's weights as a rollout's flag says, until stopped.

    For traffic that is split by Envoy Gateway, Envoy AI Gateway, Istio or another implementation, not by the SDK. It
    obeys the flag as a router does: unsure, everyone goes to control. Its report counts as a router that followed.
    """
    set_up_logs(log_format)
    with errors_as_messages(), ExitStack() as cleanup:
        seconds = _seconds(every)
        pair = Pair(backend(control_backend), backend(canary_backend))
        found = WeightedRoute(kind, route, version=api_version, context=context)
        cleanup.callback(found.close)
        mirror = _opened(rollout, found, pair, load_settings(settings, store=store), cleanup)
        exported = _exporting(metrics_port, rollout, found)
        mirror.follower.wait_until_read(FIRST_READ)
        if once:
            state = mirror.mirroring.once()
            say(f"{rollout}: {found} is as the flag says" if state.reached else one_line(f"{rollout}: {state.problem}"))
            raise typer.Exit(0 if state.reached else EXIT_UNWANTED)
        log.info("%s: mirrored into %s", rollout, found)
        with stopping() as stop:
            for state in mirror.passes(stop, seconds):
                exported(state)
        if at_exit == "control":
            mirror.follower.close()  # from here on no trip would be seen, so it obeys none
            mirror.mirroring.leave(time.monotonic, time.sleep)


def _seconds(every: str) -> float:
    try:
        seconds = parse_duration(every)
    except UnitError as error:
        raise BadSettings([f"--every: {error.what}; {error.fix}"]) from error
    if not 1.0 <= seconds <= 60.0:
        raise BadSettings(["--every: from 1s to 60s"])
    return seconds


@dataclass(frozen=True, slots=True)
class _Mirror:
    """What is opened: the route, the flag's follower, the mirror between them, and the news of a change."""

    route: WeightedRoute
    follower: Follower
    mirroring: Mirroring
    changed: threading.Event

    def passes(self, stop: StopSignal, seconds: float) -> Iterator[MirrorState]:
        """A pass at each change, and at least each time that long has passed, until stopped."""
        while not stop.asked:
            self.changed.clear()
            yield self.mirroring.once()
            due = time.monotonic() + seconds
            while not (stop.asked or self.changed.is_set()) and time.monotonic() < due:
                self.changed.wait(_SLICE)  # a handler of signals sets no Event, so it is asked now and then


class _Changes:
    """An observer that notes that what is obeyed has changed."""

    def __init__(self) -> None:
        self.seen = threading.Event()

    def settled(self, snapshot: ObeyedFlag) -> None:  # noqa: ARG002  the mirror asks for it
        self.seen.set()

    def happened(self, what: Happening) -> None:
        """Nothing is counted here."""


def _opened(rollout: str, route: WeightedRoute, pair: Pair, settings: Settings, cleanup: ExitStack) -> _Mirror:
    """Closed by ``cleanup``.

    Raises BadSettings, BadDocument for a route that cannot be followed, and as `WeightedRoute.read`.
    """
    for caution in check_route(route.read(), pair, rollout):
        log.warning("%s: %s", rollout, caution)
    access = store_access(settings)
    reader = open_reader(settings.store, access)
    cleanup.callback(reader.close)
    changes = _Changes()
    follower = follow(rollout, settings.store, access=access, report=False, observers=(changes,))
    cleanup.callback(follower.close)
    reporter = Reporter(rollout, reader, new_id()) if isinstance(reader, LeaseWriter) else None
    if reporter is not None:
        cleanup.callback(reporter.close)

    def report(obeyed: ObeyedFlag) -> None:
        if reporter is not None and reporter.due_at(obeyed, 0.0) <= elapsed():
            now = elapsed()
            reporter.report(obeyed, now, time.time(), acted_at=now)

    mirroring = Mirroring(rollout, route, pair, current=lambda: follower.current, report=report)
    return _Mirror(route, follower, mirroring, changes.seen)


def _exporting(port: int | None, rollout: str, route: WeightedRoute) -> Callable[[MirrorState], None]:
    """Serves metrics of this process, where a port is given. Raises BadSettings."""
    if port is None:
        return lambda _: None
    metrics = MirrorMetrics(REGISTRY, rollout, f"{route.namespace}/{route.name}")
    try:
        start_http_server(port)
    except OSError as error:
        raise BadSettings([f"--metrics-port {port}: {error.strerror}; take another port"]) from error
    return metrics.update
