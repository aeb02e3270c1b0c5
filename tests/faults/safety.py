"""The safety properties, as questions to the store's history: every change of every key, oldest first.

1. Nothing automatic moves traffic towards the canary after a trip: only a re-arm does, and it raises the generation.
2. Every flip cites breach evidence young enough, or a blindness policy that expired; young when it is committed,
   not when it was written: by the store's clock where the history has it, and by a process whose session lives.
3. One flip and one incident record per generation, in one transaction.
4. An error is not data: what tripped was measured, and lies over its limit.
5. A replica that is blind alone neither pages nor trips: not while another's heartbeat reports sight.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from killswitch.errors import BadDocument
from killswitch.fleet.heartbeat import from_document
from killswitch.fleet.outages import MISSED_TICKS
from killswitch.pages.page import PageKind
from killswitch.stores import keys
from killswitch.timestamps import from_iso


class Changed(Protocol):
    """One key's change, in etcd's history or in the memory store's."""

    @property
    def revision(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes | None: ...


def violations(history: Sequence[Changed], *, max_age: float = 60.0, interval: float = 30.0) -> list[str]:
    """What was broken, in words; empty when every property held.

    In seconds: ``max_age`` from tick to transaction, ``interval`` between two ticks.
    """
    controllers = {
        change.key.removeprefix(prefix)
        for change in history
        for prefix in (keys.CONTROLLERS, keys.claim("sessions/"))
        if change.key.startswith(prefix)
    }
    together: dict[int, dict[str, bytes | None]] = defaultdict(dict)
    for change in history:
        together[change.revision][change.key] = change.value
    found: list[str] = []
    for flag_key, changes in _by_key(history, keys.FLAGS).items():
        found += _of_one_flag(flag_key.removeprefix(keys.FLAGS), changes, together, controllers, max_age)
        found += _committed_late(flag_key.removeprefix(keys.FLAGS), changes, history, max_age)
    found += _incidents_made_once(history)
    found += _blind_alone(together, interval)
    return found


def flips(history: Sequence[Changed], rollout: str) -> list[dict[str, Any]]:
    """The documents with which the rollout became tripped, oldest first, each with its ``revision``."""
    found = []
    before: dict[str, Any] | None = None
    for change in _by_key(history, keys.FLAGS).get(keys.flag(rollout), ()):
        now = _document(change.value)
        if _became_tripped(before, now):
            assert now is not None
            found.append({**now, "revision": change.revision})
        before = now
    return found


def incidents(history: Sequence[Changed], rollout: str) -> list[dict[str, Any]]:
    """The rollout's incidents as first written, oldest first."""
    first: dict[str, dict[str, Any]] = {}
    for change in history:
        if change.key.startswith(keys.incidents(rollout)):
            document = _document(change.value)
            if document is not None:
                first.setdefault(change.key, document)
    return list(first.values())


def _became_tripped(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    if now is None or now["state"] != "tripped":
        return False
    return before is None or before["state"] != "tripped" or before["generation"] != now["generation"]


def _by_key(history: Iterable[Changed], prefix: str) -> dict[str, list[Changed]]:
    by_key: dict[str, list[Changed]] = defaultdict(list)
    for change in history:
        if change.key.startswith(prefix):
            by_key[change.key].append(change)
    return by_key


def _document(value: bytes | None) -> dict[str, Any] | None:
    return None if value is None else json.loads(value)


def _of_one_flag(
    rollout: str,
    changes: Sequence[Changed],
    together: Mapping[int, Mapping[str, bytes | None]],
    controllers: set[str],
    max_age: float,
) -> list[str]:
    found: list[str] = []
    flipped: Counter[int] = Counter()
    highest_tripped = 0
    documents: list[tuple[int, dict[str, Any] | None]] = [(0, None)]
    documents += [(change.revision, _document(change.value)) for change in changes]
    for (_, before), (revision, now) in itertools.pairwise(documents):
        if now is None:
            continue
        where = f"{rollout} at revision {revision}"
        if now["state"] == "tripped" and now["canary_percent"] != 0:
            found.append(f"safety 1: {where} is tripped and sends {now['canary_percent']} % to the canary")
        if now["state"] == "armed":
            found += _raised(where, before, now, highest_tripped, controllers)
        if _became_tripped(before, now):
            generation = now["generation"]
            flipped[generation] += 1
            highest_tripped = max(highest_tripped, generation)
            if flipped[generation] > 1:
                found.append(f"safety 3: {where}: generation {generation} flipped a second time")
            found += _flip(where, rollout, now, together[revision], max_age)
    return found


def _raised(
    where: str,
    before: Mapping[str, Any] | None,
    now: Mapping[str, Any],
    highest_tripped: int,
    controllers: set[str],
) -> list[str]:
    found: list[str] = []
    if now["generation"] <= highest_tripped:
        found.append(f"safety 1: {where}: generation {now['generation']} is armed after it was tripped")
    more = now["canary_percent"] > (before["canary_percent"] if before is not None else 0.0)
    if more and now["updated_by"] in controllers:
        found.append(f"safety 1: {where}: controller {now['updated_by']} raised the canary's share")
    return found


def _flip(
    where: str, rollout: str, flag: Mapping[str, Any], transaction: Mapping[str, bytes | None], max_age: float
) -> list[str]:
    incident_key = keys.incident(rollout, flag["generation"])
    written = [key for key in transaction if key == incident_key or key.startswith(incident_key + ".")]
    if len(written) != 1:
        return [f"safety 3: {where}: flipped with {len(written)} incidents in its transaction"]
    incident = _document(transaction[written[0]])
    outbox = _document(transaction.get(keys.outbox(f"{rollout}.{flag['generation']}")))
    if incident is None or outbox is None:
        return [f"safety 3: {where}: flipped without its outbox entry"]
    if not incident["automatic"]:
        return []
    found: list[str] = []
    if incident["alert"] is not None:  # another system's evidence: it began in the very arming that it ended
        if from_iso(incident["alert"]["starts_at"]) < from_iso(flag["armed_at"]):
            found.append(f"safety 2: {where}: cites an alert from before the arming")
        return found
    age = from_iso(outbox["created_at"]) - from_iso(incident["tick"])
    if age > max_age:
        found.append(f"safety 2: {where}: cites evidence that was {age:.1f} s old")
    if not incident["rules"] and "blind for" not in incident["reason"]:
        found.append(f"safety 2: {where}: cites neither a rule nor a blindness policy")
    cited = (finding for finding in incident["findings"] if finding["rule"] in incident["rules"])
    unmeasured = [finding["sentence"] for finding in cited if not _was_measured(finding)]
    return found + [f"safety 4: {where}: tripped by what was not measured: {sentence}" for sentence in unmeasured]


def _committed_late(rollout: str, changes: Sequence[Changed], history: Sequence[Changed], max_age: float) -> list[str]:
    """Automatic flips whose evidence was too old as they were committed, or whose process had no session any more."""
    found: list[str] = []
    before: dict[str, Any] | None = None
    for change in changes:
        now = _document(change.value)
        flipped, before = _became_tripped(before, now), now
        if not flipped or now is None or not now["trip"]["by"]:
            continue
        by, where = now["trip"]["by"], f"{rollout} at revision {change.revision}"
        session = keys.claim(f"sessions/{by}")
        of_session = [one for one in history if one.key == session and one.revision < change.revision]
        if not of_session:
            continue  # a person's, or of a history that began later
        if of_session[-1].value is None:
            found.append(f"safety 2: {where}: committed by {by}, whose session had ended")
        at = getattr(change, "at", None)
        age = 0.0 if at is None else at - from_iso(now["trip"]["at"])
        if age > max_age:
            found.append(f"safety 2: {where}: committed {age:.1f} s after its tick")
    return found


def unsaid(
    incidents_made: Iterable[str], outbox: Iterable[Mapping[str, Any]], messages: Iterable[tuple[str, str]]
) -> list[str]:
    """Incidents that no message speaks of, though their page is said to have been taken, or was never taken.

    ``outbox``: entries' documents as they stand last. ``messages``: each one's receiver's reference, and all its text.
    A digest speaks of as many pages as it says it holds, and of no others.
    """
    texts = dict(messages)
    deliveries = {entry["page"]["id"]: entry["deliveries"].get("slack", {}) for entry in outbox}
    behind = Counter(delivery.get("reference", "") for delivery in deliveries.values())
    found: list[str] = []
    for incident in incidents_made:
        delivery = deliveries.get(incident, {})
        text = texts.get(delivery.get("reference", ""), "")
        counted = re.search(r"(\d+) pages at once", text)
        told = incident in text or (counted is not None and behind[delivery["reference"]] <= int(counted[1]))
        if delivery.get("standing") == "uncertain":  # no answer, so no reference: any message that may have been it
            told = any(incident in one or "pages at once" in one for one in texts.values())
        if not told:
            found.append(incident)
    return found


def _was_measured(finding: Mapping[str, Any]) -> bool:
    """By what was gathered, where the rule is judged so; what is shown beside it may be missing at that tick."""
    evidence = (finding["evidence"], finding["needed"])
    if finding["verdict"] == "BREACH" and all(n is not None and math.isfinite(n) for n in evidence):
        return bool(finding["evidence"] >= finding["needed"])
    numbers = (finding["canary"], finding["control"], finding["limit"])
    return finding["verdict"] == "BREACH" and all(n is not None and math.isfinite(n) for n in numbers)


def _incidents_made_once(history: Iterable[Changed]) -> list[str]:
    found: list[str] = []
    for key, changes in _by_key(history, keys.INCIDENTS).items():
        documents = [_document(change.value) for change in changes]
        who = {(d["by"], d["tick"], d["reason"]) for d in documents if d is not None}
        if len(who) > 1:
            found.append(f"safety 3: {key} was written over by another: {sorted(map(str, who))}")
        if None in documents:
            found.append(f"safety 3: {key} was deleted")
    return found


def _blind_alone(together: Mapping[int, Mapping[str, bytes | None]], interval: float) -> list[str]:
    """What was paged or tripped for blindness although a heartbeat of that moment reported sight."""
    found: list[str] = []
    heartbeats: dict[str, tuple[int, bytes]] = {}  # with how often each was written since it was last gone
    known: set[str] = set()
    for revision in sorted(together):
        fresh = together[revision].keys() - known  # how a page was delivered is written to the same key later
        known |= fresh
        for key in sorted(fresh):
            for rollout, tick in _called_blind(key, together[revision][key]):
                found += [
                    f"safety 5: {key} at revision {revision} calls {rollout} blind at {tick}; {sight}"
                    for sight in _sights(heartbeats.values(), rollout, tick - MISSED_TICKS * interval)
                ]
        for key, value in together[revision].items():
            if key.startswith(keys.CONTROLLERS):
                times, _ = heartbeats.pop(key, (0, b""))
                if value is not None:
                    heartbeats[key] = (times + 1, value)
    return found


def _sights(heartbeats: Iterable[tuple[int, bytes]], rollout: str, horizon: float) -> list[str]:
    """Who has seen the rollout later than ``horizon``."""
    found: list[str] = []
    for times, value in heartbeats:
        # a replica's very first report can come between the look and the page, and guard nothing
        with contextlib.suppress(BadDocument):
            heartbeat = from_document(value)
            if times > 1 and heartbeat.good_at(rollout) > horizon:
                found.append(f"{heartbeat.id} saw it at {heartbeat.good_at(rollout)}")
    return found


def _called_blind(key: str, value: bytes | None) -> list[tuple[str, float]]:
    """Rollouts that this change calls blind, and at which tick."""
    document = _document(value) if key.startswith((keys.OUTBOX, keys.INCIDENTS)) else None
    if document is None:
        return []
    if key.startswith(keys.INCIDENTS):
        blind = document["automatic"] and not document["rules"] and "blind for" in document["reason"]
        return [(document["rollout"], from_iso(document["tick"]))] if blind else []
    page = document["page"]
    if page["kind"] != PageKind.BLIND:
        return []
    return [(rollout, float(page["at"])) for rollout in page["payload"]["rollouts"]]
