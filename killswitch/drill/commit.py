"""The drill's transaction: it writes what a trip writes, and the flag that is already there.

A trip puts three documents into one transaction: the flag, the incident, the page. So does a rehearsal. But the flag
that it puts is the document that was read, byte for byte, on the condition that it is still the newest. So the store
gives it a new revision, every router's watch delivers it, and every router reports that revision, as after a trip.
What any reader finds in it is what was in it before: no user can get another answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from killswitch.drill import record as records
from killswitch.drill.keeping import OpenDrill, open_document
from killswitch.drill.record import DrillRecord
from killswitch.errors import OutcomeUnknown
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.flags.incident import to_document as incident_document
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Put, Store, keys


@dataclass(frozen=True, slots=True)
class DrillTransaction:
    """What a drill begins with. ``flag``: as it was read; ``live``: the tripped flag of a live drill, else None.

    ``lease``: of the process that runs it. ``guards``: what must hold besides; ``ends``: the request that it answers;
    ``more``: what is written as well, such as its line in the flag's history.
    """

    record: DrillRecord
    flag: Item
    incident: Incident
    page: Page
    lease: Lease
    guards: Sequence[Compare] = ()
    ends: Item | None = None
    live: Flag | None = None
    more: Sequence[Put] = ()

    def compares(self) -> list[Compare]:
        rollout, number = self.record.rollout, self.record.number
        return [
            Compare(self.flag.key, self.flag.mod_revision),
            Compare(keys.drill(rollout, number), 0),
            Compare(keys.drill_open(rollout), 0),
            Compare(keys.drill_runner(rollout), 0),
            *self.guards,
            *([] if self.ends is None else [Compare(self.ends.key, self.ends.mod_revision)]),
        ]

    def writes(self, *, at: float) -> list[Put | Delete]:
        """``at``: Unix seconds. The flag comes first; of a rehearsal it is what was read."""
        rollout, number = self.record.rollout, self.record.number
        return [
            Put(self.flag.key, self.flag.value if self.live is None else flag_document(self.live)),
            Put(keys.drill_incident(rollout, number), incident_document(self.incident)),
            into_outbox(self.page, at=at),
            Put(keys.drill(rollout, number), records.to_document(self.record)),
            Put(keys.drill_open(rollout), open_document(number)),
            Put(keys.drill_runner(rollout), self.record.controller.encode(errors="replace"), self.lease),
            *self.more,
            *([] if self.ends is None else [Delete(self.ends.key)]),
        ]


def begin(store: Store, drill: DrillTransaction, *, at: float) -> OpenDrill | None:
    """Commit it; the drill that is under way then, whose revision is the flag's as well. None: a comparison failed.

    Raises what the store raises, and OutcomeUnknown only if it could not be read again either.
    """
    try:
        outcome = store.commit(drill.compares(), drill.writes(at=at))
    except OutcomeUnknown:
        item = store.get(keys.drill_open(drill.record.rollout))
        stored = store.get(keys.drill(drill.record.rollout, drill.record.number))
        ours = stored is not None and stored.value == records.to_document(drill.record)
        if item is None or stored is None or not ours or stored.mod_revision != item.mod_revision:
            raise
        return OpenDrill(drill.record.rollout, drill.record.number, item.mod_revision)
    if not isinstance(outcome, Committed):
        return None
    return OpenDrill(drill.record.rollout, drill.record.number, outcome.revision)
