"""How long a model has given no good answer: a provider that is away for long ends the run, and is no evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from killswitch.wording import plain, span_in_words


@dataclass(slots=True)
class _Outage:
    """``since``: monotonic seconds from which a good answer is missing, None while no call waits for one.

    ``rows``: those that have failed since. ``failure``: the newest of these, in words.
    """

    since: float | None = None
    failure: str = ""
    under_way: int = 0
    rows: set[str] = field(default_factory=set)


class Outages:
    """Safe from any thread. ``patience``: seconds that a model may be without a good answer."""

    def __init__(self, models: Iterable[str], patience: float, monotonic: Callable[[], float]) -> None:
        self._models = {model: _Outage() for model in models}
        self._patience = patience
        self._monotonic = monotonic
        self._guard = threading.Lock()

    def asked(self, model: str) -> None:
        """A call is made. The clock of a model runs while it is asked."""
        with self._guard:
            outage = self._models[model]
            outage.under_way += 1
            if outage.since is None:
                outage.since = self._monotonic()

    def answered(self, model: str, row: str, *, failure: str | None) -> None:
        """A call has ended, of the row with this hash; ``failure`` is None for a good answer."""
        with self._guard:
            outage = self._models[model]
            outage.under_way -= 1
            if failure is None:
                outage.since = self._monotonic() if outage.under_way else None
                outage.rows.clear()
            else:
                outage.rows.add(row)
                outage.failure = failure

    def over_patience(self) -> str | None:
        """In words, which model has been silent for too long; None if none has."""
        now = self._monotonic()
        with self._guard:
            for model, outage in self._models.items():
                if outage.since is not None and now - outage.since >= self._patience:
                    last = f" ({plain(outage.failure, 300)})" if outage.failure else ""
                    return (
                        f"{plain(model, 200)} has given no answer for {span_in_words(now - outage.since)}{last}; run "
                        "it again when its provider is well, or with a longer --patience"
                    )
        return None

    def rows_lost(self) -> set[str]:
        """The hashes of rows whose calls failed in an outage that has not ended."""
        with self._guard:
            return {row for outage in self._models.values() for row in outage.rows}
