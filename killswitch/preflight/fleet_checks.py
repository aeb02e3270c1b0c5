"""Checks of who else is there: routers that follow, controllers that are alive, and whether their clocks agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from killswitch.flags.flag import Flag
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.fleet_seen import FleetSeen
from killswitch.router.presence import Report
from killswitch.wording import counted, duration_in_words

TOLERANCE = 5.0
"""Seconds that two clocks may differ: the store's is read to a second, and answers take a moment."""
_BAD_SKEW = 60.0
_SILENT = 120.0
"""Seconds without a heartbeat after which a controller whose lease still lives is called stuck."""
_MOST_NAMED = 3


def examine_routers(flags: Mapping[str, Flag], seen: FleetSeen, version: str) -> Iterator[Check]:
    """Of each armed rollout: does a router follow its flag, and have all acted on its newest change?"""
    for name, flag in flags.items():
        reports = seen.routers.get(name, ())
        if not reports:
            if flag.armed and flag.canary_percent > 0:
                found = f"armed at {flag.canary_percent:g}%, and no router has reported that it follows the flag"
                fix = "start the service with `Router(…)` on this store; flagd and OFREP clients do not report"
                yield Check(name, Status.WARNING, found, fix)
            continue
        late = [report for report in reports if report.revision < seen.revisions.get(name, 0)]
        if late:
            found = (
                f"{len(late)} of {counted(len(reports), 'router')} have not followed the newest change: {_names(late)}"
            )
            fix = "run the doctor again in a minute; if they are still behind, look at the log of that process"
            yield Check(name, Status.WARNING, found, fix)
        else:
            yield Check(name, Status.OK, f"{counted(len(reports), 'router')} at its flag's newest change")
        others = sorted({report.version for report in reports if report.version != version})
        if others:
            found = f"routers run version {', '.join(others)}; this is {version}"
            yield Check(name, Status.NOTE, found)
    if seen.unread:
        found = f"{counted(seen.unread, 'report')} of routers cannot be understood"
        yield Check("routers", Status.WARNING, found, "look for services with a much older or newer SDK")


def _names(reports: Sequence[Report]) -> str:
    names = ", ".join(report.id for report in reports[:_MOST_NAMED])
    return names if len(reports) <= _MOST_NAMED else f"{names} and {len(reports) - _MOST_NAMED} more"


def examine_replicas(seen: FleetSeen, wall: float, version: str) -> Iterator[Check]:
    """Do controllers run one version and one set of rules, and does each write its heartbeats?"""
    alive = seen.controllers
    if not alive:
        return
    yield from _one_value("version", {beat.id: beat.version for beat in alive}, "update all of them")
    yield from _one_value(
        "rule set", {beat.id: beat.rules_digest[:12] for beat in alive}, "give all the same rule files"
    )
    if all(beat.version != version for beat in alive):
        yield Check("controllers", Status.NOTE, f"they run version {alive[0].version}; this command is {version}")
    for beat in alive:
        silent = wall - beat.at
        if silent > _SILENT:
            silence = duration_in_words(silent)
            found = f"{beat.id} has written no heartbeat for {silence}: it is stuck, or its clock is wrong"
            yield Check("controllers", Status.WARNING, found, "look at its log and its clock (NTP)")
        elif silent < -TOLERANCE:
            found = f"the clock of {beat.id} is at least {duration_in_words(-silent)} ahead of this machine's"
            yield Check("controllers", Status.WARNING, found, "run NTP on both")
    if len(alive) == 1:
        found = f"one is alive ({alive[0].id}): while it restarts, no one notices a bad canary"
        yield Check("controllers", Status.NOTE, found, "run two in production")


def _one_value(what: str, values: Mapping[str, str], fix: str) -> Iterator[Check]:
    different = sorted(set(values.values()))
    if len(different) > 1:
        said = ", ".join(f"{value} ({next(name for name in values if values[name] == value)})" for value in different)
        yield Check("controllers", Status.WARNING, f"they differ in their {what}: {said}", fix)


def examine_store_clock(seen: FleetSeen, metrics_ahead: float | None) -> Iterator[Check]:
    """``metrics_ahead``: seconds that the metric store's clock is ahead of this machine's; None for a recording."""
    ahead = seen.store_ahead
    if ahead is None:
        return
    if abs(ahead) > TOLERANCE:
        side = "ahead of" if ahead > 0 else "behind"
        status = Status.WRONG if abs(ahead) > _BAD_SKEW else Status.WARNING
        found = f"its clock is {duration_in_words(abs(ahead))} {side} this machine's"
        yield Check("flag store", status, found, "run NTP on both")
    elif metrics_ahead is not None and abs(metrics_ahead - ahead) > TOLERANCE:
        found = f"its clock and the metric store's differ by {duration_in_words(abs(metrics_ahead - ahead))}"
        yield Check("flag store", Status.WARNING, found, "run NTP on both")
    else:
        yield Check("flag store", Status.OK, "its clock agrees with this machine's within 5 s")
