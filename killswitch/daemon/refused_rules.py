"""The page about new rule files that are refused: one a day for one set, whichever replica saw it first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from killswitch.errors import KillswitchError
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.delivery import PageDelivery
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import FLEET
from killswitch.stores import Compare, Put, Store, keys
from killswitch.timestamps import to_iso


def page_refused_rules(
    problems: Sequence[str], store: Store, delivery: PageDelivery, settings: PageSettings, *, at: float
) -> None:
    """Page, also where the flag store does not answer. ``at``: Unix seconds. The same mistake may be made again."""
    digest = hashlib.sha256("\n".join(problems).encode()).hexdigest()[:12]
    mistake = f"{digest}.{to_iso(at)[:10]}"
    page = events.rules_refused(problems, at=at, digest=mistake, settings=settings)
    notice = keys.notice(FLEET, 0, f"rules_refused.{mistake}")
    try:
        store.commit((Compare(notice, 0),), (Put(notice, b"{}"), into_outbox(page, at=at)))
    except KillswitchError:
        delivery.send_directly(page)
