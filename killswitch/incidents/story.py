"""One incident told in order: from the first bad request, as far as evidence knows, to the last router and the re-arm.

It is made of what the flag store keeps, each with its own clock. What is missing is said, and never guessed. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from killswitch.flags.change import Deed, FlagChange
from killswitch.flags.flag import AA, Flag, state_of
from killswitch.flags.incident import Incident, Paged
from killswitch.pages.exposure import exposure_in_words, exposure_of
from killswitch.pages.outbox_entry import DeliveryState, OutboxEntry
from killswitch.trends.trend import Trend
from killswitch.wording import counted, date_and_time, duration_in_words, plain

MOST_STEPS = 10  # of the ramp before the trip
MOST_DEEDS = 40  # of people after it
_NOT_REACHED = frozenset({DeliveryState.EXPIRED, DeliveryState.UNCERTAIN})
# what the incident itself says with more detail
_IN_THE_INCIDENT = frozenset({Deed.TRIP, Deed.ACKNOWLEDGE})


class MomentKind(StrEnum):
    """What kind of moment an entry of the timeline is."""

    RAMP = "ramp"
    BEGAN = "began"
    TRIP = "trip"
    PAGE = "page"
    ROUTERS = "routers"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the timeline. ``at``: Unix seconds; ``said`` is one line, and may hold texts of others."""

    at: float
    moment: MomentKind
    said: str


@dataclass(frozen=True, slots=True)
class Sources:
    """What the store has of an incident called ``id``.

    ``history``: of the rollout, the oldest first. ``flag``: as it is now, None for none. ``page``: the outbox entry of
    the trip's page, None once it was delivered and removed. ``problems``: what could not be read, in words.
    """

    id: str
    incident: Incident
    history: Sequence[FlagChange] = ()
    flag: Flag | None = None
    trend: Trend | None = None
    page: OutboxEntry | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Took:
    """How long one leg took. ``seconds`` is None where it is not known or has not happened."""

    leg: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class IncidentStory:
    """``took``: the legs in their order. ``unknown``: what is not known, in words. ``exposed``: who had the canary."""

    id: str
    incident: Incident
    timeline: tuple[TimelineEntry, ...]
    took: tuple[Took, ...]
    exposed: str
    unknown: tuple[str, ...]
    trend: Trend | None


def story_of(sources: Sources) -> IncidentStory:
    """The incident in order."""
    incident = sources.incident
    after = tuple(_after_the_trip(sources))
    entries = [
        *_ramp(incident),
        *_beginnings(incident),
        TimelineEntry(incident.decided_at, MomentKind.TRIP, _tripped(incident)),
        *(TimelineEntry(page.at, MomentKind.PAGE, _paged(page)) for page in incident.pages),
        *_routers(incident),
        *_acknowledged(incident),
        *(TimelineEntry(change.at, MomentKind.PERSON, _deed(change)) for change in after[:MOST_DEEDS]),
    ]
    entries.sort(key=lambda entry: entry.at)
    return IncidentStory(
        id=sources.id,
        incident=incident,
        timeline=tuple(entries),
        took=_took(incident, after),
        exposed=exposure_in_words(exposure_of(incident), shadow=incident.stage_before == "shadow"),
        unknown=tuple(_unknown(sources, after)),
        trend=sources.trend,
    )


def first_bad(incident: Incident) -> float | None:
    """When the evidence that tripped begins, Unix seconds; None where the bare comparison of a window tripped."""
    return min((one.excursion.since for one in incident.tripping if one.excursion is not None), default=None)


def rearmed(after: Sequence[FlagChange]) -> FlagChange | None:
    """The re-arm that ended the incident's generation."""
    return next((change for change in after if change.deed is Deed.REARM), None)


# --- the timeline -------------------------------------------------------------------------------


def _ramp(incident: Incident) -> Iterator[TimelineEntry]:
    left_out = len(incident.stages) - MOST_STEPS
    for number, step in enumerate(incident.stages):
        if 0 < number <= left_out:
            continue
        done = "armed" if number == 0 else "went"
        more = f" ({counted(left_out, 'further step')} before this one)" if number == left_out + 1 > 1 else ""
        get, model = ("still get", incident.control) if step.stage == AA else ("get", incident.canary)
        share = f"{step.percent:g}% of users {get} {plain(model, 120)}"
        yield TimelineEntry(step.at, MomentKind.RAMP, f"{done} to {plain(step.stage, 60)}: {share}{more}")


def _beginnings(incident: Incident) -> Iterator[TimelineEntry]:
    for finding in incident.tripping:
        excursion, rule = finding.excursion, plain(finding.rule, 60)
        if excursion is not None:
            counts = f"{excursion.events_canary:,.0f} of {excursion.trials_canary:,.0f} canary requests until the trip"
            said = f"{rule} goes over its limit, by its evidence: {counts}"
            yield TimelineEntry(excursion.since, MomentKind.BEGAN, said)
        elif finding.since is not None:
            window = "" if incident.window is None else f" of {duration_in_words(incident.window)}"
            said = f"{rule} is over its limit in the window{window} until here"
            yield TimelineEntry(finding.since, MomentKind.BEGAN, said)
    if incident.alert is not None:
        yield TimelineEntry(
            incident.alert.starts_at, MomentKind.BEGAN, f"alert {plain(incident.alert.name, 120)} begins to fire"
        )


def _tripped(incident: Incident) -> str:
    by = f"tripped by {plain(incident.by, 120)}" if incident.by else "tripped"
    latency = "" if incident.latency is None else f", {duration_in_words(incident.latency)} after its tick"
    return f"{by}{latency}: all traffic to {plain(incident.control, 120)}"


def _paged(page: Paged) -> str:
    repeat = ", possibly a repeat" if page.possible_repeat else ""
    return f"{plain(page.receiver, 60)} took the page {plain(page.kind, 60)}{repeat}"


def _routers(incident: Incident) -> Iterator[TimelineEntry]:
    routers = incident.routers
    if routers is None:
        return
    done = "all routers have followed" if routers.followed >= routers.known else "routers have followed"
    yield TimelineEntry(routers.at, MomentKind.ROUTERS, f"{done}: {routers.followed} of {routers.known}")


def _acknowledged(incident: Incident) -> Iterator[TimelineEntry]:
    taken = incident.acknowledged
    if taken is not None:
        yield TimelineEntry(taken.at, MomentKind.PERSON, f"acknowledged by {_who(taken.by, taken.origin)}")


def _after_the_trip(sources: Sources) -> Iterator[FlagChange]:
    """What was done to the tripped generation, until another one was armed or the flag ended."""
    generation = sources.incident.generation
    for change in sources.history:
        before = change.before
        if before is None or before.generation != generation or change.deed in _IN_THE_INCIDENT:
            continue
        if change.at >= sources.incident.decided_at or change.deed in (Deed.REARM, Deed.END):
            yield change


def _deed(change: FlagChange) -> str:
    done = {
        Deed.REARM: "re-armed", Deed.PIN: "pinned", Deed.UNPIN: "unpinned", Deed.END: "ended", Deed.HOLD: "held",
        Deed.RESUME: "resumed", Deed.APPROVE: "approved",
    }.get(change.deed, change.deed.value)  # fmt: skip
    why = f": {plain(change.reason, 500)}" if change.reason else ""
    return f"{done} by {_who(change.by, change.origin)}{why}"


def _who(by: str, origin: str) -> str:
    return f"{plain(by, 120)} ({plain(origin, 120)})" if origin else plain(by, 120)


# --- how long it took, and what is not known ----------------------------------------------------


def _took(incident: Incident, after: Sequence[FlagChange]) -> tuple[Took, ...]:
    begun, tripped = first_bad(incident), incident.decided_at
    paged = min((page.at for page in incident.pages), default=None)
    routers, taken, again = incident.routers, incident.acknowledged, rearmed(after)
    followed = routers.at if routers is not None and routers.followed >= routers.known else None

    def since(start: float | None, end: float | None) -> float | None:
        """Two clocks may disagree by a little; a negative time would say nothing."""
        return None if start is None or end is None else max(0.0, end - start)

    return (
        Took("first bad request to trip", since(begun, tripped)),
        Took("trip to first page", since(tripped, paged)),
        Took("trip to last router", since(tripped, followed)),
        Took("trip to acknowledged", since(tripped, None if taken is None else taken.at)),
        Took("trip to re-armed", since(tripped, None if again is None else again.at)),
    )


def _unknown(sources: Sources, after: Sequence[FlagChange]) -> Iterator[str]:
    incident = sources.incident
    yield from sources.problems
    if first_bad(incident) is None:
        tripped_by = "the bare comparison of a window" if incident.rules else "no rule"
        yield f"when the first bad request came: {tripped_by} tripped it"
    if not incident.findings:
        yield "what our rules said at the trip: none was judged for it"
    if sources.trend is None:
        yield "how both cohorts went around the trip: it was not kept"
    yield from _unknown_of_pages(sources)
    routers = incident.routers
    if routers is None:
        yield "how many routers have followed: none was counted"
    elif routers.followed < routers.known:
        yield f"when the other {routers.known - routers.followed} of {routers.known} routers followed"
    if incident.acknowledged is None:
        yield "who looks after it: no one has acknowledged it"
    if not any(change.deed in (Deed.REARM, Deed.END) for change in after):
        yield from _unknown_of_the_end(sources)


def _unknown_of_pages(sources: Sources) -> Iterator[str]:
    if sources.page is not None:
        for receiver, delivery in sorted(sources.page.deliveries.items()):
            if delivery.state is not DeliveryState.DELIVERED:
                given_up = "given up" if delivery.state in _NOT_REACHED else "still tried"
                why = f": {plain(delivery.error, 200)}" if delivery.error else ""
                yield f"whether {plain(receiver, 60)} has the page ({given_up}){why}"
    if not sources.incident.pages:
        yield "who was paged: no receiver has taken a page, or none was noted"


def _unknown_of_the_end(sources: Sources) -> Iterator[str]:
    flag, generation = sources.flag, sources.incident.generation
    if flag is not None and flag.generation == generation:
        if not flag.armed:
            yield f"when it will be re-armed: it is {state_of(flag).value} now"
        return
    now = "it has no flag now" if flag is None else f"generation {flag.generation} is {state_of(flag).value} now"
    yield f"who ended this generation, and when: the history of that time is not kept; {now}"


def headline(story: IncidentStory) -> str:
    """``support-copilot.7: canary model-new tripped 2026-04-19 14:22:11 UTC``."""
    incident = story.incident
    return f"{story.id}: canary {plain(incident.canary, 120)} tripped {date_and_time(incident.decided_at)}"
