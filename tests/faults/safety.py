"""The safety properties, as questions to the store's history: every change of every key, oldest first.

1. Nothing automatic moves traffic towards the canary after a trip: only a re-arm does, and it raises the generation.
2. Every flip cites breach evidence young enough, or a blindness policy that expired.
3. One flip and one incident record per generation, in one transaction.
4. An error is not data: what tripped was measured, and lies over its limit.

That a replica which is blind alone neither pages nor trips (the fifth) is asked by the tests that blind one.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

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


def violations(history: Sequence[Changed], *, max_age: float = 60.0) -> list[str]:
    """What was broken, in words; empty when every property held. ``max_age``: seconds from tick to transaction."""
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
    found += _incidents_made_once(history)
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
    age = from_iso(outbox["created_at"]) - from_iso(incident["tick"])
    if age > max_age:
        found.append(f"safety 2: {where}: cites evidence that was {age:.1f} s old")
    if not incident["rules"] and "blind for" not in incident["reason"]:
        found.append(f"safety 2: {where}: cites neither a rule nor a blindness policy")
    cited = (finding for finding in incident["findings"] if finding["rule"] in incident["rules"])
    unmeasured = [finding["sentence"] for finding in cited if not _was_measured(finding)]
    return found + [f"safety 4: {where}: tripped by what was not measured: {sentence}" for sentence in unmeasured]


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
