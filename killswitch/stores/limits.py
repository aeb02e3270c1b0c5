"""What one commit may hold, in every store alike, so that what works embedded works in etcd.

Every transaction of this package has a fixed size or is divided with `portions`:

| transaction | comparisons | writes | bound |
|---|---|---|---|
| a change of a flag by a person (`trips/switch.py`) | 2; with a role's slots 5 | 5 | fixed |
| a flag's end: what its life left behind | 1 a portion | the rest | `portions` |
| a trip (`trips/flips.py`) | 2 + guards | 4 | guards: the session and `fleet/sight.py`'s `MOST_GUARDED` heartbeats |
| several trips at once | 2 a trip + guards | 4 a trip | `portions` |
| a change of a role, with its evidence and page (`registry/role_transaction.py`) | 2 + 2 | 3 | fixed |
| a gate run; an approval of one, a waiver (`registry/`) | 1; 3 | 2; 1 | fixed |
| the history of an imported role (`registry/importing.py`) | 1 an entry + 1 | 1 an entry | `portions` |
| a hold by an alert, what a dry run would do (`alerts/acting.py`) | 3 | 4 | fixed |
| what is old of histories (`trips/history_pruning.py`) | 0 | 1 a line, 1 a trip | `portions` |
| a baseline | 1 | 1 | fixed |
| a session, a heartbeat | 1 | 1 | fixed; the heartbeat's size is `MAX_DOCUMENT_BYTES` at most |
| outages and their pages (`fleet/stored_outages.py`) | 1 a team + guards | 1 a team + its pages | `portions` |
| what plans have watched (`controller/ramping.py`) | 1 a rollout | 1 a rollout | `portions` |
| a step of a plan (`controller/ramping.py`) | 5; with a role's candidate 8 | 6 | fixed |
| the end of a plan (`cli/complete.py`) | 4; with a promotion 8 | 5; with a promotion 8 | fixed |
| a role that is not rolled back (`controller/role_rollbacks.py`) | 1 | 2 | fixed |
| notices (`pages/notices.py`) | 1 a notice | 2 a notice | `portions` |
| claims, releases, attempts, marks, old entries (`pages/store_ledger.py`) | 2 an entry | 2 an entry | `portions` |
| live spend (`spend/live_counting.py`) | 4 a scope | 4 a scope | `portions` |
| caps of rule files (`spend/ruling.py`) | 1 a cap | 1 a cap | `portions` |
| a drill's begin (`drill/commit.py`), its end (`drill/keeping.py`) | 6 + 3; 3 | 7; 5 + 20 old ones | fixed |
| how far routers have followed (`trips/propagation.py`), refused rules (`daemon/daemon.py`) | 1 | 2 | fixed |
| what probes have found (`gate/daily_probes.py`) | 1 a role | 1 a role + its pages | `portions` |
| both cohorts around a trip (`controller/trip_trends.py`) | 1 | 1 | fixed; 64 KiB at most |
| a router's presence, a service's mismatches (`router/presence.py`) | 0 | 1 | fixed |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from killswitch.errors import BadTransaction
from killswitch.stores import Compare, Delete, Put

# etcd's own defaults are 128 operations and 1.5 MiB for the request, base64 included
MAX_OPERATIONS: Final = 128
MAX_COMMIT_BYTES: Final = 1024 * 1024
# A portion stays below the limits: others share the store, and a lost comparison repeats less.
PORTION_BYTES: Final = 600_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What concerns ``subject`` and is committed together or not at all."""

    subject: T
    compares: Sequence[Compare] = ()
    writes: Sequence[Put | Delete] = ()


def commit_bytes(writes: Iterable[Put | Delete]) -> int:
    """Bytes of keys and values, as `check_commit` counts them."""
    return sum(len(write.key.encode()) + (len(write.value) if isinstance(write, Put) else 0) for write in writes)


def portions(
    parts: Iterable[Part[T]], *, guards: Sequence[Compare] = (), most: int = MAX_OPERATIONS
) -> Iterator[list[Part[T]]]:
    """The parts in their order, in runs that each fit into one commit together with ``guards``.

    At most ``most`` parts a run. A part that is too large for any commit gets a run of its own, so that the store
    refuses only that part.
    """
    run: list[Part[T]] = []
    compares, writes, size = len(guards), 0, 0
    for part in parts:
        bytes_of_part = commit_bytes(part.writes)
        full = (
            len(run) >= most
            or compares + len(part.compares) > MAX_OPERATIONS
            or writes + len(part.writes) > MAX_OPERATIONS
            or size + bytes_of_part > PORTION_BYTES
        )
        if run and full:
            yield run
            run, compares, writes, size = [], len(guards), 0, 0
        run.append(part)
        compares += len(part.compares)
        writes += len(part.writes)
        size += bytes_of_part
    if run:
        yield run


def check_commit(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> None:
    """Raises BadTransaction, before anything is sent, for a commit that no store accepts."""
    keys = [write.key for write in writes]
    if len(set(keys)) < len(keys):
        raise BadTransaction("a commit writes one key twice; write each key once")
    if not all(keys) or not all(compare.key for compare in compares):
        raise BadTransaction("a commit names an empty key")
    if max(len(compares), len(writes)) > MAX_OPERATIONS:
        raise BadTransaction(f"a commit has more than {MAX_OPERATIONS} operations; divide it")
    size = commit_bytes(writes)
    if size > MAX_COMMIT_BYTES:
        raise BadTransaction(f"a commit of {size} bytes is over the limit of {MAX_COMMIT_BYTES}; shorten the documents")
