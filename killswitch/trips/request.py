"""The words of a trip: what is asked of the switch, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.model import PageSettings
from killswitch.stores import Compare
from killswitch.trips.stored_flags import StoredFlag


class TripOutcome(StrEnum):
    TRIPPED = "tripped"
    ALREADY_TRIPPED = "already tripped"
    SUPERSEDED = "superseded"  # another arming, no flag, or guards that cannot hold: it was about something else
    EXPIRED = "expired"  # the evidence grew too old before the store could take it


@dataclass(frozen=True, slots=True)
class TripResult:
    """``revision`` is the store's revision of the flip where this call made it, else 0."""

    outcome: TripOutcome
    incident: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class TripRequest:
    """Everything a trip is made of.

    ``draft``: the incident, but for what only the flag knows; ``page``: whom to page of it.
    ``generation``: the one the verdict is about; None for a person, who means whatever is there.
    ``at``: the tick of the verdict, or the time of a person's command, Unix seconds.
    ``armed_at``: the flag's, where a verdict is about one arming; None: any arming of that generation.
    ``pin``: no one may arm it again before a person has unpinned it.
    ``stored``: the flag as it was read a moment ago; the first attempt is made on it, and the store compares. None:
    it is read first.
    ``still_valid``: asked before every attempt, after its guards are made; False ends the request as EXPIRED.
    ``guards``: further comparisons, made again for every attempt, None when they cannot hold any more; ``lost`` is
    called when one has failed, as far as can be seen: the flag itself was as it had been read.
    """

    draft: IncidentDraft
    generation: int | None
    actor: Actor
    at: float
    page: PageSettings
    armed_at: float | None = None
    pin: bool = False
    stored: StoredFlag | None = None
    still_valid: Callable[[], bool] = lambda: True
    guards: Callable[[], Sequence[Compare] | None] = tuple
    lost: Callable[[], None] = lambda: None

    @property
    def rollout(self) -> str:
        return self.draft.rollout


@dataclass(frozen=True, slots=True)
class Alone:
    """A trip that is to be tried by itself. ``sent``: it may have been applied, or may be still."""

    sent: bool = False
