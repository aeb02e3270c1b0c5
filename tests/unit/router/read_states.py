"""What a router has read of the store: flags, changes and heartbeats, each at its time."""

from __future__ import annotations

from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.router import failsafe
from killswitch.router.failsafe import Memory, StalePolicy
from killswitch.router.snapshot import ObeyedFlag, build
from killswitch.stores import Item, keys
from killswitch.stores.reader import Change
from tests.doubles.flags import ROLLOUT

POLICY = StalePolicy(spread=0.5)  # of a jitter of 30 s: 15 s


def item(flag: Flag, revision: int) -> Item:
    return Item(keys.flag(ROLLOUT), flag_document(flag), revision)


def change(memory: Memory, found: Item | None, revision: int) -> Memory:
    return failsafe.after_change(memory, Change(keys.flag(ROLLOUT), found, revision))


def at(memory: Memory, now: float, policy: StalePolicy = POLICY) -> ObeyedFlag:
    return build(memory, policy, now)


NEW = Memory(ROLLOUT, "model-old")
