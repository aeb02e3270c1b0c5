"""A random schedule of faults over a whole fleet, drawn from a seed; safety is asked after every event.

At most two faults hold at a time; each is undone at some later step. In between the canary turns bad, a person
mends it and re-arms. The same seed gives the same events in the same order; what the servers make of them may
differ, as their timing does.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from killswitch.errors import KillswitchError
from killswitch.stores import keys
from killswitch.timestamps import from_iso
from tests.doubles.lying_prometheus import Lie
from tests.doubles.slack import TOKEN, bad_gateway, rate_limited
from tests.faults.figures import figure
from tests.faults.fleet import INTERVAL, ROLLOUT, Fleet, quietly
from tests.faults.replica import PATIENCE
from tests.faults.safety import flips, unsaid
from tests.faults.service import FAILING, HEALTHY
from tests.servers.etcd import wait_until
from tests.servers.tcp_proxy import Fault

Undo = Callable[[], None]
MOST_AT_ONCE = 2
WINDOW = 9.0 + INTERVAL  # seconds; of the rules, and a tick's place on the grid


class Schedule:
    """``say`` is told every event as it happens."""

    def __init__(self, fleet: Fleet, seed: int, say: Callable[[str], None] = figure) -> None:
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._say = say
        self._holding: dict[str, Undo] = {}
        self.events: Counter[str] = Counter()
        self._bad: list[tuple[float, float]] = []  # Unix seconds between which the canary was bad

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
            self._slack_ill, self._prometheus_lies, self._store_full, self._breach_without_a_leader,
            self._stop_the_sender,
        ]  # fmt: skip
        moments = [self._turn_bad, self._mend_and_rearm, self._reset_counters, self._compact]
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

    def _prometheus_lies(self) -> tuple[str, Undo]:
        lie = self._chance.choice(list(Lie))
        if self._busy("prometheus"):
            return "", _nothing
        self._fleet.liar.lie = lie

        def honest() -> None:
            self._fleet.liar.lie = None

        return f"prometheus: {lie.value}", honest

    def _store_full(self) -> tuple[str, Undo]:
        if self._busy("etcd"):
            return "", _nothing
        self._fleet.etcd.fill()

        def free() -> None:
            self._fleet.history.read()
            self._fleet.etcd.free(self._fleet.history.revision)

        return "etcd: full", free

    def _breach_without_a_leader(self) -> tuple[str, Undo]:
        what, resume = self._no_quorum()
        if what:
            wait_until(lambda: not quietly(lambda: bool(self._fleet.witness())), "no leader", PATIENCE)
            self._turn_bad()
            what = "etcd: no leader, and the canary turns bad"
        return what, resume

    def _stop_the_sender(self) -> tuple[str, Undo]:
        """Whoever holds a page's claim sleeps for longer than the claim lives."""
        with contextlib.suppress(KillswitchError):
            claims = self._fleet.store.list(keys.claim("outbox/")).items
            owners = {claim.value.decode().partition("#")[0] for claim in claims}
            for replica in self._fleet.replicas:
                if replica.name in owners and replica.running and not self._busy(f"replica:{replica.name}"):
                    replica.pause()
                    return f"replica:{replica.name} stopped while it sends", replica.resume
        return "", _nothing

    # --- moments

    def _turn_bad(self) -> str:
        self._fleet.service.set(FAILING)
        if not self._bad or self._bad[-1][1] < math.inf:
            self._bad.append((time.time(), math.inf))
        return "the canary turns bad"

    def _mend_and_rearm(self) -> str:
        self._mend()
        with contextlib.suppress(KillswitchError):  # armed still, or the store does not answer: a person tries later
            if not self._fleet.armed():
                self._fleet.rearm()
                return "mended and re-armed"
        return "mended"

    def _mend(self) -> None:
        self._fleet.service.set(HEALTHY)
        if self._bad and self._bad[-1][1] == math.inf:
            self._bad[-1] = (self._bad[-1][0], time.time())

    def _compact(self) -> str:
        with contextlib.suppress(OSError):
            self._fleet.history.read()
            compaction = {"revision": str(self._fleet.history.revision), "physical": True}
            self._fleet.witness().call("/v3/kv/compaction", compaction)
        return "etcd is compacted"

    def _reset_counters(self) -> str:
        self._fleet.service.restart()
        return "the service restarts"

    # --- what must be true

    def _check(self) -> None:
        """Safety, from etcd's history; later, when nobody can be asked now. And life, where nothing is in its way."""
        with contextlib.suppress(OSError):
            self._fleet.check()
        if not self._holding and self._bad and self._bad[-1][1] == math.inf:
            self._fleet.until_tripped()
        for flip in flips(self._fleet.history.changes, ROLLOUT):
            tick = from_iso(flip["trip"]["at"])
            # what was bad stays in the window for a while
            assert any(began <= tick <= ended + WINDOW for began, ended in self._bad), f"a healthy canary: {flip}"

    def _end_well(self) -> None:
        fleet = self._fleet
        for member in fleet.etcd.members:
            member.wait_until_healthy()
        for replica in fleet.replicas:
            replica.heal()
            if not replica.running:  # its port was taken when it came back
                replica.start()
        self._mend()
        wait_until(
            lambda: all(r.status_code("/-/ready") == 200 for r in fleet.replicas), "all replicas ready", PATIENCE
        )
        fleet.for_cycles(5)
        if not fleet.armed():
            fleet.rearm()
        fleet.until_healthy()
        self._turn_bad()
        fleet.until_tripped()
        wait_until(lambda: quietly(self._all_paged), "every flip has its page in Slack", PATIENCE)
        self._check()
        made = flips(fleet.history.changes, ROLLOUT)
        assert self._unsaid(made) == []
        assert self._leaks() == []
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

    def _leaks(self) -> list[str]:
        """Where Slack's token can be read though it should not."""
        fleet = self._fleet
        logs = [replica.name for replica in fleet.replicas if replica.logged(TOKEN)]
        return logs + [
            change.key for change in fleet.history.changes if change.value and TOKEN.encode() in change.value
        ]

    def _unsaid(self, made: Sequence[Mapping[str, Any]]) -> list[str]:
        """Flips that no message in Slack speaks of."""
        messages = [
            (f"{one.channel}/{one.ts}{mark}", json.dumps(one.body))
            for one in self._fleet.slack.messages
            for mark in ("", "/digest")  # the reference of a digest says that it is one
        ]
        last = {change.key: change for change in self._fleet.history.of(keys.OUTBOX) if change.value is not None}
        entries = [change.document() for change in last.values()]
        return unsaid([flip["trip"]["incident"] for flip in made], entries, messages)


def _nothing() -> None:
    """There is nothing to undo."""


def _ignore(_: object) -> None:
    """For an undo whose answer says nothing."""
