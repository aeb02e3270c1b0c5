"""Reads what the weather of a drill is made of, from the flag store and from this replica's newest cycle."""

from __future__ import annotations

from killswitch.drill.keeping import drill_called, open_drill
from killswitch.drill.routers import look_at_routers
from killswitch.drill.weather import NewestCycle, Weather
from killswitch.errors import BadDocument
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.flag import Flag
from killswitch.fleet.stored_outages import StoredOutages
from killswitch.model import Rollout
from killswitch.ramps.next_step import Move
from killswitch.ramps.standing import PlanLook
from killswitch.roles.pairs import role_pair
from killswitch.status.reports import CycleReport
from killswitch.stores import Item, Store, keys
from killswitch.trips.stored_flags import StoredFlags
from killswitch.wording import date_and_time


def look_at_weather(
    store: Store,
    rollout: str,
    rules: Rollout | None,
    item: Item | None,
    *,
    latest: tuple[CycleReport, float] | None,
    trips: tuple[str, ...],
    live: bool,
    now: float,
    interval: float,
) -> Weather:
    """``item``: the flag as it was just read. Raises what reading the store raises."""
    flag, unreadable = _understood(rollout, item)
    good, _ = StoredFlags(store).everything()
    judged = None if latest is None else _judged(latest[0], latest[1], rollout, trips)
    outages = [one for one in StoredOutages(store, wall=lambda: now).read().outages if one.ended is None]
    return Weather(
        rollout=rollout,
        rules=rules,
        flag=flag,
        now=now,
        interval=interval,
        live=live,
        unreadable=unreadable,
        flags={name: one.flag for name, one in good.items() if one.flag is not None},
        judged=judged,
        outages=tuple(
            f"{', '.join(sorted(one.members)[:3])} blind since {date_and_time(one.since)}" for one in outages
        ),
        other=another_drill(store, rollout),
        replicas=len(store.list(keys.CONTROLLERS).items),
        routers=look_at_routers(store, rollout),
        revision=0 if item is None else item.mod_revision,
        by_role=rules is not None and role_pair(rules.control, rules.canary) is not None,
    )


def another_drill(store: Store, rollout: str) -> str | None:
    """The drill of this rollout that is under way, in words; None if none is. Raises what the store raises."""
    under_way = open_drill(store, rollout)
    if under_way is None:
        return None
    try:
        found = drill_called(store, rollout, under_way.number)
    except BadDocument:
        found = None
    if found is None:
        return "a drill of it is under way"
    record = found[0]
    return (
        f"drill {record.number} of it is under way since {date_and_time(record.began_at)}, by {record.by}; "
        f"it ends by itself within two minutes: `killswitch drill {rollout} --last`"
    )


def _understood(rollout: str, item: Item | None) -> tuple[Flag | None, str | None]:
    if item is None:
        return None, None
    try:
        return flag_from_document(item.value, rollout=rollout), None
    except BadDocument as error:
        return None, str(error)


def _judged(report: CycleReport, age: float, rollout: str, trips: tuple[str, ...]) -> NewestCycle | None:
    one = report.reports.get(rollout)
    if one is None:
        return None
    plan = one.plan
    step_due = isinstance(plan, PlanLook) and plan.standing.step.move is Move.ADVANCE
    return NewestCycle(
        age,
        one.action,
        {finding.rule: finding.verdict for finding in one.findings},
        problem=report.store_problem or report.source_problem,
        step_due=step_due,
        trips=trips,
    )
