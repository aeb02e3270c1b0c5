"""A random schedule of faults over a whole fleet, drawn from a seed; safety is asked after every event.

At most two faults hold at a time; each is undone at some later step. In between the canary turns bad, a person
mends it and re-arms. The same seed gives the same events in the same order; what the servers make of them may
differ, as their timing does.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable

from killswitch.errors import KillswitchError
from killswitch.stores import keys
from tests.doubles.slack import bad_gateway, rate_limited
from tests.faults.figures import figure
from tests.faults.fleet import PATIENCE, ROLLOUT, Fleet, quietly
from tests.faults.safety import flips
from tests.faults.service import FAILING, HEALTHY
from tests.servers.etcd import wait_until
from tests.servers.tcp_proxy import Fault

Undo = Callable[[], None]
MOST_AT_ONCE = 2


class Schedule:
    """``say`` is told every event as it happens."""

    def __init__(self, fleet: Fleet, seed: int, say: Callable[[str], None] = figure) -> None:
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._say = say
        self._holding: dict[str, Undo] = {}
        self.events: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Events for so long, then everything heals, and the last breach must trip."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self._one_event()
            self._check()
            time.sleep(self._chance.uniform(0.5, 4.0))  # the schedule's own pace: nothing is waited for
        for name in list(self._holding):
            self._undo(name)
        self._end_well()

    # --- events

    def _one_event(self) -> None:
        faults: list[Callable[[], tuple[str, Undo]]] = [
            self._kill_replica, self._stop_replica, self._cut_off_replica, self._blind_replica, self._slow_store,
            self._kill_member, self._stop_member, self._no_quorum, self._prometheus_down, self._prometheus_drips,
            self._slack_ill,
        ]  # fmt: skip
        moments = [self._turn_bad, self._mend_and_rearm, self._reset_counters]
        draw = self._chance.random()
        if draw < 0.3 and self._holding:
            self._undo(self._chance.choice(sorted(self._holding)))
        elif draw < 0.55:
            self._note(self._chance.choice(moments)())
        elif len(self._holding) < MOST_AT_ONCE:
            what, undo = self._chance.choice(faults)()
            if what:
                self._holding[what] = undo
                self._note(what)

    def _note(self, what: str) -> None:
        self.events[what.partition(":")[0]] += 1
        self._say(f"  {what}")

    def _undo(self, name: str) -> None:
        self._say(f"  over: {name}")
        self._holding.pop(name)()

    def _busy(self, kind: str) -> bool:
        return any(name.startswith(kind) for name in self._holding)

    def _kill_replica(self) -> tuple[str, Undo]:
        replica = self._chance.choice(self._fleet.replicas)
        if self._busy(f"replica:{replica.name}"):
            return "", _nothing
        replica.kill()
        return f"replica:{replica.name} killed", lambda: _ignore(replica.start(wait=False))

    def _stop_replica(self) -> tuple[str, Undo]:
        replica = self._chance.choice(self._fleet.replicas)
        if self._busy(f"replica:{replica.name}") or not replica.running:
            return "", _nothing
        replica.pause()
        return f"replica:{replica.name} stopped", replica.resume

    def _cut_off_replica(self) -> tuple[str, Undo]:
        replica = self._chance.choice(self._fleet.replicas)
        if self._busy(f"replica:{replica.name}"):
            return "", _nothing
        replica.cut_off()
        return f"replica:{replica.name} cut off", replica.heal

    def _blind_replica(self) -> tuple[str, Undo]:
        replica = self._chance.choice(self._fleet.replicas)
        if self._busy(f"replica:{replica.name}"):
            return "", _nothing
        replica.to_prometheus.black_hole()
        return f"replica:{replica.name} blind", replica.heal

    def _slow_store(self) -> tuple[str, Undo]:
        replica = self._chance.choice(self._fleet.replicas)
        if self._busy(f"replica:{replica.name}"):
            return "", _nothing
        fault = self._chance.choice([Fault(delay=0.7), Fault(discard=True), Fault(cut=True)])
        for proxy in replica.to_etcd:
            proxy.to_client = fault
        return f"replica:{replica.name} hears etcd badly", replica.heal

    def _kill_member(self) -> tuple[str, Undo]:
        member = self._chance.choice(self._fleet.etcd.members)
        if self._busy("etcd"):
            return "", _nothing
        member.kill()
        return f"etcd:{member.name} killed", member.start

    def _stop_member(self) -> tuple[str, Undo]:
        member = self._chance.choice(self._fleet.etcd.members)
        if self._busy("etcd"):
            return "", _nothing
        member.pause()
        return f"etcd:{member.name} stopped", member.resume

    def _no_quorum(self) -> tuple[str, Undo]:
        members = self._chance.sample(self._fleet.etcd.members, 2)
        if self._busy("etcd"):
            return "", _nothing
        for member in members:
            member.pause()

        def resume() -> None:
            for member in members:
                member.resume()

        return "etcd: no quorum", resume

    def _prometheus_down(self) -> tuple[str, Undo]:
        if self._busy("prometheus"):
            return "", _nothing
        self._fleet.prometheus.kill()
        return "prometheus: killed", self._fleet.prometheus.start

    def _prometheus_drips(self) -> tuple[str, Undo]:
        if self._busy("prometheus") or self._busy("replica"):
            return "", _nothing
        for replica in self._fleet.replicas:
            replica.to_prometheus.to_client = Fault(drip=0.05)

        def flow() -> None:
            for replica in self._fleet.replicas:
                replica.to_prometheus.heal()

        return "prometheus: drips", flow

    def _slack_ill(self) -> tuple[str, Undo]:
        if self._busy("slack"):
            return "", _nothing
        self._fleet.slack.fail_always(self._chance.choice([bad_gateway(), rate_limited(3)]))
        return "slack: ill", lambda: self._fleet.slack.fail_always(None)

    # --- moments

    def _turn_bad(self) -> str:
        self._fleet.service.set(FAILING)
        return "the canary turns bad"

    def _mend_and_rearm(self) -> str:
        self._fleet.service.set(HEALTHY)
        with contextlib.suppress(KillswitchError):  # armed still, or the store does not answer: a person tries later
            if not self._fleet.armed():
                self._fleet.rearm()
                return "mended and re-armed"
        return "mended"

    def _reset_counters(self) -> str:
        self._fleet.service.restart()
        return "the service restarts"

    # --- what must be true

    def _check(self) -> None:
        """Safety, from etcd's history; later, when nobody can be asked now."""
        with contextlib.suppress(OSError):
            self._fleet.check()

    def _end_well(self) -> None:
        fleet = self._fleet
        for member in fleet.etcd.members:
            member.wait_until_healthy()
        for replica in fleet.replicas:
            replica.heal()
            if not replica.running:  # its port was taken when it came back
                replica.start()
        fleet.service.set(HEALTHY)
        wait_until(
            lambda: all(r.status_code("/-/ready") == 200 for r in fleet.replicas), "all replicas ready", PATIENCE
        )
        fleet.for_cycles(5)
        if not fleet.armed():
            fleet.rearm()
        fleet.until_healthy()
        fleet.service.set(FAILING)
        fleet.until_tripped()
        wait_until(lambda: quietly(self._all_paged), "every flip has its page in Slack", PATIENCE)
        fleet.check()
        made = flips(fleet.history.changes, ROLLOUT)
        self._say(f"  {sum(self.events.values())} events, {len(made)} flips, {len(fleet.slack.messages)} messages")

    def _all_paged(self) -> bool:
        """Every page that was ever put into the outbox has been taken by Slack."""
        self._fleet.check()
        taken: dict[str, bool] = {}
        for change in self._fleet.history.of(keys.OUTBOX):
            if change.value is not None:
                deliveries = change.document()["deliveries"]
                taken[change.key] = deliveries.get("slack", {}).get("standing") in ("delivered", "uncertain")
        return all(taken.values())


def _nothing() -> None:
    """There is nothing to undo."""


def _ignore(_: object) -> None:
    """For an undo whose answer says nothing."""
