"""Models that answered for pins, as services report them: each (role, pin, answered model) is paged once.

Reports are what processes of services have written under their own leases, so they are read as hostile: only a pin that
a slot of a stored role has now is believed, and one pin of a role gets `MAX_PAGES` pages of this kind at most.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from killswitch.errors import BadDocument, KillswitchError
from killswitch.model import PageSettings
from killswitch.pages.notices import Notice, Notices
from killswitch.pages.role_events import model_mismatch
from killswitch.registry.stored_roles import StoredRole, StoredRoles
from killswitch.roles.role import Role, Slot
from killswitch.router.pinned.mismatch_report import from_document
from killswitch.stores import Store, keys

log = logging.getLogger(__name__)
MAX_PAGES = (
    20  # of one pin of a role: a gateway that names another model in each answer, or someone who lies, pages no more
)
_NOTICE = "mismatch-"
_MOST_BOUNDED = 10_000  # pins remembered as being over the bound


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """``answered`` has answered ``number`` times where ``pinned`` was asked, in ``processes`` processes that live."""

    pinned: str
    answered: str
    number: int
    processes: int

    @property
    def notice(self) -> str:
        """Names the pin and the model: a new pin that is not answered by itself is paged again."""
        return f"{_of_pin(self.pinned)}{_digest(self.answered)}"


def _of_pin(pinned: str) -> str:
    """What the names of all notices of this pin begin with."""
    return f"{_NOTICE}{_digest(pinned)}-"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]


def reported(store: Store) -> Mapping[str, tuple[AnsweredBy, ...]]:
    """What the living processes report, by role. A report that cannot be read is left out. Raises as the store does."""
    numbers: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for item in store.list(keys.ROLE_REPORTS).items:
        try:
            report = from_document(item.value)
        except BadDocument as error:
            log.warning("%.200s is left out: %s", item.key, error)
            continue
        for one in set(report.mismatches):
            numbers[one.role, one.pinned, one.answered].append(max(one.number, 0))
    found: dict[str, list[AnsweredBy]] = defaultdict(list)
    for (role, pinned, answered), counts in sorted(numbers.items()):
        found[role].append(AnsweredBy(pinned, answered, sum(counts), len(counts)))
    return {role: tuple(ones) for role, ones in found.items()}


class MismatchPages:
    """Looks at the reports, and pages what is new. ``settings`` gives a role's page settings; ``wall`` Unix seconds.

    Any replica may look: the notice is written in the transaction of the page, so that one of them sends it.
    """

    def __init__(self, store: Store, *, settings: Callable[[str], PageSettings], wall: Callable[[], float]) -> None:
        self._store = store
        self._roles = StoredRoles(store)
        self._notices = Notices(store, wall=wall)
        self._settings = settings
        self._wall = wall
        self._failing = False
        self._bounded: set[tuple[str, str]] = set()  # pins of roles that are over the bound

    def look(self) -> None:
        """To be called each minute or so. Raises nothing that the store raises; the next look tries again."""
        try:
            self._look()
        except KillswitchError as error:
            if not self._failing:
                log.warning("reports of models that do not match their pins cannot be read or paged: %s", error)
            self._failing = True
        else:
            self._failing = False

    def _look(self) -> None:
        for role, ones in reported(self._store).items():
            fresh = [one for one in ones if not self._notices.has_told(keys.role_notice(role, one.notice))]
            if not fresh:
                continue
            stored = self._stored(role)
            if stored is None or stored.role is None:
                continue
            self._page(stored.role, fresh)

    def _stored(self, role: str) -> StoredRole | None:
        try:
            return self._roles.stored(role)
        except BadDocument:
            return None  # it has a page and a row of its own

    def _page(self, role: Role, fresh: list[AnsweredBy]) -> None:
        pinned = {role.model(slot): slot for slot in reversed(Slot)}
        told: dict[str, set[str]] = {}
        notices = []
        for one in fresh:
            key, slot = keys.role_notice(role.name, one.notice), pinned.get(one.pinned)
            if slot is None:
                continue
            if one.pinned not in told:  # notices of earlier pins must not use up the pages of this one
                prefix = keys.role_notice(role.name, _of_pin(one.pinned))
                told[one.pinned] = {item.key for item in self._store.list(prefix).items}
            if key in told[one.pinned]:
                continue
            if len(told[one.pinned]) >= MAX_PAGES:
                self._say_bound(role.name, one.pinned)
                continue
            told[one.pinned].add(key)
            page = model_mismatch(
                role, slot, one.answered,
                number=one.number, processes=one.processes, identity=one.notice.removeprefix(_NOTICE),
                at=self._wall(), settings=self._settings(role.name),
            )  # fmt: skip
            notices.append(Notice(key, page))
        self._notices.tell(notices)

    def _say_bound(self, role: str, pinned: str) -> None:
        """Once for each pin: a gateway may name another model in each answer, and is looked at each minute."""
        if (role, pinned) not in self._bounded:
            log.error("role %s: %d other models have answered for %s; no more are paged", role, MAX_PAGES, pinned)
        if len(self._bounded) < _MOST_BOUNDED:
            self._bounded.add((role, pinned))
