"""What one commit may hold, in every store alike, so that what works embedded works in etcd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from killswitch.errors import Refused
from killswitch.stores import Compare, Delete, Put

# etcd's own defaults are 128 operations and 1.5 MiB for the request, base64 included
MAX_OPERATIONS: Final = 128
MAX_COMMIT_BYTES: Final = 1024 * 1024


def check_commit(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> None:
    """Raises Refused, before anything is sent, for a commit that no store would take."""
    keys = [write.key for write in writes]
    if len(set(keys)) < len(keys):
        raise Refused("a commit writes one key twice; write each key once")
    if not all(keys) or not all(compare.key for compare in compares):
        raise Refused("a commit names an empty key")
    if max(len(compares), len(writes)) > MAX_OPERATIONS:
        raise Refused(f"a commit has more than {MAX_OPERATIONS} operations; divide it")
    size = sum(len(write.key) + (len(write.value) if isinstance(write, Put) else 0) for write in writes)
    if size > MAX_COMMIT_BYTES:
        raise Refused(f"a commit of {size} bytes is over the limit of {MAX_COMMIT_BYTES}; shorten the documents")
