"""What the routers of one rollout report: which revision they act on, what they obey, and since when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from killswitch.errors import BadDocument
from killswitch.router.presence import Report, from_document
from killswitch.stores import Store, keys

MOST: Final = 0.99  # of the routers that report


@dataclass(frozen=True, slots=True)
class RouterLook:
    """Reports by router id, as one read found them; None for one that cannot be understood or is misplaced."""

    reports: Mapping[str, Report | None] = field(default_factory=dict)

    @property
    def known(self) -> int:
        return len(self.reports)

    def behind(self, revision: int) -> int:
        """How many do not report this revision of the flag, or a newer one."""
        return sum(report is None or report.revision < revision for report in self.reports.values())


def look_at_routers(store: Store, rollout: str) -> RouterLook:
    """Raises what reading the store raises."""
    prefix = keys.routers(rollout)
    found: dict[str, Report | None] = {}
    for item in store.list(prefix).items:
        try:
            report: Report | None = from_document(item.value)
        except BadDocument:  # anybody's router, anybody's bytes
            report = None
        name = item.key.removeprefix(prefix)
        good = report is not None and report.id == name and report.rollout == rollout
        found[name] = report if good else None
    return RouterLook(found)


class RouterTimes:
    """When each router acted on a revision, in seconds since it was committed.

    ``expected``: the routers that reported before. Only they are waited for: one that starts during the drill reads
    the newest flag at once and proves nothing. One that ends during the drill is waited for no longer.
    """

    def __init__(self, expected: RouterLook, revision: int, *, control: bool) -> None:
        self._percents = {
            name: None if report is None else report.canary_percent for name, report in expected.reports.items()
        }
        self._revision = revision
        self._control = control
        self._acted: dict[str, float] = {}
        self._gone: set[str] = set()
        self.rerouted: set[str] = set()

    def take(self, seen: RouterLook, since: float) -> None:
        """Note what one read found, ``since`` seconds after the commit.

        A router says how long it has acted on the revision, so its time is the read's less that: at most a read's
        distance too late, and no two clocks are compared.
        """
        self._gone = self._percents.keys() - seen.reports.keys()
        for name, report in seen.reports.items():
            if name not in self._percents or name in self._acted or report is None:
                continue
            if report.revision < self._revision or (self._control and not report.on_control):
                continue
            self._acted[name] = max(since - report.acted_for, 0.0)
            same = report.revision == self._revision  # a later one is a change that someone else has made
            if not self._control and same and report.canary_percent != self._percents[name]:
                self.rerouted.add(name)

    @property
    def expected(self) -> int:
        return len(self._percents.keys() - (self._gone - self._acted.keys()))

    @property
    def followed(self) -> int:
        return len(self._acted)

    @property
    def all_followed(self) -> bool:
        return self.followed >= self.expected > 0

    @property
    def first(self) -> float | None:
        return min(self._acted.values(), default=None)

    @property
    def nearly_all(self) -> float | None:
        """When 99 % of the routers had acted; None if fewer have."""
        needed = math.ceil(MOST * self.expected)
        times = sorted(self._acted.values())
        return times[needed - 1] if 0 < needed <= len(times) else None

    @property
    def late(self) -> list[str]:
        """Those that have not acted, by name."""
        return sorted(self._percents.keys() - self._acted.keys() - self._gone)
