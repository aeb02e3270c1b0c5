"""The generations of a rollout: counted beyond the end of its flag, so that none comes twice."""

from __future__ import annotations

import json
import re

from killswitch.documents import parse_object
from killswitch.errors import BadDocument
from killswitch.flags.flag import MAX_GENERATION
from killswitch.stores import Put, Store, keys

GENERATION = re.compile(r"[0-9]{1,12}\Z")
_MAX_COUNTER_BYTES = 1024


def last_generation(store: Store, rollout: str) -> tuple[int, int]:
    """The newest generation counted, 0 where none or nonsense is, and the revision of its key."""
    item = store.get(keys.generation(rollout))
    if item is None:
        return 0, 0
    try:
        fields = parse_object(item.value, f"generation of {rollout}", max_bytes=_MAX_COUNTER_BYTES)
        last = fields.integer("generation")
    except BadDocument:
        last = 0  # incidents count as well, and a verdict names its arming besides its generation
    return (last if 0 < last < MAX_GENERATION else 0), item.mod_revision


def counter(rollout: str, generation: int) -> Put:
    """The write that counts this generation."""
    return Put(keys.generation(rollout), json.dumps({"rollout": rollout, "generation": generation}).encode())


def newest_incident(store: Store, rollout: str) -> int:
    """The newest generation with an incident, 0 for none."""
    newest = 0
    for item in store.list(keys.incidents(rollout)).items:
        tail = item.key.rpartition("/")[2].partition(".")[0]
        newest = max(newest, int(tail) if GENERATION.match(tail) else 0)
    return newest
