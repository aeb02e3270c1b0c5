"""What one firing alert may do to one rollout now, and why. No I/O, no clock.

An alert acts on the arming in which it began, once. It began before the arming: then it is about other requests than
the canary's, or a person knew of it and armed. It has been seen in an earlier generation: the same, whatever two clocks
say. Where the order of two clocks is not certain it holds at most: a hold takes no user's answer away.
"""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.alert_settings import AlertAction, AlertSettings
from killswitch.alerts.message import Alert
from killswitch.alerts.seen import CLOCKS, Did, SeenAlert
from killswitch.flags.flag import Flag, state_of
from killswitch.timestamps import to_iso
from killswitch.wording import duration_in_words


@dataclass(frozen=True, slots=True)
class Choice:
    """``do``: what the alert is to do now. ``why``: why no more than that, "" where the rule file asks for no more."""

    do: Did
    why: str = ""


def choose(alert: Alert, flag: Flag | None, settings: AlertSettings, seen: SeenAlert | None, *, now: float) -> Choice:
    """``seen``: what is remembered of this alert's fingerprint. ``now``: Unix seconds."""
    if flag is None or not flag.armed:
        return Choice(Did.NOTHING, f"the rollout is {state_of(flag).value}, and alerts act only on armed ones")
    most = Did.TRIPPED if settings.action is AlertAction.TRIP else Did.HELD
    why = ""
    since = alert.starts_at - flag.armed_at
    if since < -CLOCKS:
        began, armed = to_iso(alert.starts_at), to_iso(flag.armed_at)
        return Choice(Did.NOTHING, f"it began {began}, before this generation was armed ({armed})")
    if most is Did.TRIPPED and since < 0:
        most, why = Did.HELD, "it began less than a minute before the arming, and clocks may differ, so it only holds"
    elif most is Did.TRIPPED and since < settings.looks_back:
        shown = duration_in_words(settings.looks_back)
        most, why = Did.HELD, f"it began less than {shown} after the arming (`looks_back`), so it only holds"
    if seen is not None and seen.covers(alert.starts_at, now=now):
        if seen.generation != flag.generation:
            return Choice(Did.NOTHING, f"it was seen in generation {seen.generation} already")
        if seen.did >= most:
            return Choice(Did.NOTHING, "it has acted on this generation already")
    return Choice(most, why)
