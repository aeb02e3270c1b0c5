"""The generations of a rollout: counted beyond the end of its flag, so that none comes twice.

When a person last lifted a pin outlives the flag, too: what was known before then pins no later life of the rollout.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.flags.flag import MAX_GENERATION
from killswitch.stores import Put, Store, keys
from killswitch.timestamps import to_iso

GENERATION = re.compile(r"[0-9]{1,12}\Z")
_MAX_COUNTER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Lives:
    """What is kept of a rollout beyond the end of its flag.

    ``generation``: the newest counted, 0 where none or nonsense is. ``unpinned_at``: when a person last lifted a pin of
    an ended life, Unix seconds. ``revision``: of the key in the store, 0 if it is absent.
    """

    generation: int = 0
    unpinned_at: float | None = None
    revision: int = 0


def lives_of(store: Store, rollout: str) -> Lives:
    item = store.get(keys.generation(rollout))
    if item is None:
        return Lives()
    try:
        fields = parse_object(item.value, f"generation of {rollout}", max_bytes=_MAX_COUNTER_BYTES)
        last, unpinned_at = fields.integer("generation"), fields.optional_time("unpinned_at")
    except BadDocument:
        # incidents count as well, and a verdict names its arming besides its generation
        return Lives(revision=item.mod_revision)
    return Lives(last if 0 < last < MAX_GENERATION else 0, unpinned_at, item.mod_revision)


def counter(rollout: str, generation: int, unpinned_at: float | None = None) -> Put:
    """The write that counts this generation."""
    document: dict[str, Any] = {"rollout": rollout, "generation": generation}
    if unpinned_at is not None:
        document["unpinned_at"] = to_iso(unpinned_at)
    return Put(keys.generation(rollout), json.dumps(document).encode())


def newest_incident(store: Store, rollout: str) -> int:
    """The newest generation with an incident, 0 for none."""
    newest = 0
    for item in store.list(keys.incidents(rollout)).items:
        tail = item.key.rpartition("/")[2].partition(".")[0]
        newest = max(newest, int(tail) if GENERATION.match(tail) else 0)
    return newest
