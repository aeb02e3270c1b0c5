"""A process that promotes and rolls back one role as fast as it can, and writes down what it was told.

``python -m tests.integration.registry.changer URL ROLE NAME TIMES FILE``
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from killswitch.errors import KillswitchError, Refused, Unavailable
from killswitch.model import PageSettings
from killswitch.registry.registry import Registry
from killswitch.registry.role_transaction import ChangedRole
from killswitch.stores.opening import open_store


def main(url: str, role: str, name: str, times: int, file: Path) -> None:
    store = open_store(url)
    registry = Registry(store, wall=time.time, by=name)
    dice = random.Random(name)
    with file.open("a") as told:
        for number in range(times):
            try:
                made = _change(registry, role, dice.choice(("candidate", "promote", "rollback")), f"{name}-{number}")
            except (Refused, Unavailable):
                continue
            except KillswitchError as error:
                told.write(json.dumps({"unknown": str(error)}) + "\n")
                continue
            told.write(json.dumps({"number": made.role.number, "by": name, "prod": made.role.prod}) + "\n")
            told.flush()
    store.close()


def _change(registry: Registry, role: str, what: str, reason: str) -> ChangedRole:
    if what == "rollback":
        return registry.rollback(role, reason=reason, settings=PageSettings())
    if what == "candidate":
        return registry.set_candidate(role, reason, reason=reason)
    registry.waive(role, owner="ann", reason=reason, expires_at=time.time() + 3600.0)
    return registry.promote(role, reason=reason, config=None, settings=PageSettings())


if __name__ == "__main__":
    _, given_url, given_role, given_name, given_times, given_file = sys.argv
    main(given_url, given_role, given_name, int(given_times), Path(given_file))
