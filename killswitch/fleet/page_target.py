"""Whom the pages of a rule file reach: rollouts with one target share a page about all of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass

from killswitch.model import PageSettings
from killswitch.page_addresses import NO_ADDRESSES


@dataclass(frozen=True, slots=True)
class Target:
    """Who is paged: one page an outage for each target."""

    slack: str | None = None
    mention: str | None = None
    others: str = ""  # stands for all that a rule file says of other receivers; "" where it says nothing

    @classmethod
    def of(cls, settings: PageSettings) -> Target:
        """Whom these settings page. Two rollouts with one target share a page, so nothing of it may differ."""
        rest = (settings.pagerduty, *astuple(settings.addresses))
        digest = hashlib.sha256(json.dumps(rest).encode()).hexdigest()[:16]
        nothing = settings.pagerduty is None and settings.addresses == NO_ADDRESSES
        return cls(settings.slack, settings.mention, "" if nothing else digest)

    def digest(self, *more: str) -> str:
        """What names this target in keys and ids."""
        others = (self.others,) if self.others else ()
        return hashlib.sha256(json.dumps([self.slack, self.mention, *others, *more]).encode()).hexdigest()


NO_TARGET = Target()
