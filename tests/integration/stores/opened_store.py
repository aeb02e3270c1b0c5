"""Opens a store for a test, and closes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from killswitch.rules.loading import load_text
from killswitch.stores import Store
from killswitch.stores.opening import open_store

ROLLOUT = load_text(b"{rollout: copilot, control: a, canary: b, metrics: cohort-labels}").rollouts[0]
PATIENT = 30.0  # seconds; for calls that are to succeed, however slow the machine


@contextmanager
def opened(url: str, **how: object) -> Iterator[Store]:
    store = open_store(url, **how)  # type: ignore[arg-type]  # the keywords of open_store
    try:
        yield store
    finally:
        store.close()
