"""How many users and requests a bad canary had, as numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from killswitch.documents import finite
from killswitch.flags.incident import Incident
from killswitch.pages.page import MAX_NAME
from killswitch.pages.rule_payloads import whole
from killswitch.timestamps import to_iso
from killswitch.wording import duration_in_words, plain

_ONE_REQUEST_SECONDS = 300.0  # a per-user signal counts each user's first request in this time


def exposure_of(incident: Incident) -> dict[str, Any]:
    """How many users and requests the canary had since the breach began, as far as that was counted.

    ``since``: when the first rule that tripped went over its limit; None for a trip by hand, or if nothing was
    counted. ``requests`` and ``bad_requests``: the canary's since then, of the rule with the most requests; None if the
    plain comparison tripped, whose numbers are of the window. ``first_requests``: only each user's first request in
    five minutes was counted. ``users``: how many users that is, as long as five minutes have not passed.
    """
    tripping = incident.tripping
    begun = [one.since for one in tripping if finite(one.since) is not None and one.since is not None]
    since = min(begun, default=None)
    seconds = None if since is None else max(0.0, incident.decided_at - since)
    counted = max(
        (one for one in tripping if one.excursion is not None),
        key=lambda one: one.excursion.trials_canary if one.excursion is not None else 0.0,
        default=None,
    )
    excursion = None if counted is None else counted.excursion
    first_requests = counted is not None and counted.raw_canary is not None
    requests = None if excursion is None else whole(excursion.trials_canary)
    one_each = first_requests and seconds is not None and seconds <= _ONE_REQUEST_SECONDS
    return {
        "percent_of_users": incident.percent_before,
        "since": None if since is None else to_iso(math.floor(since)),
        "seconds": None if seconds is None else round(seconds),
        "requests": requests,
        "bad_requests": None if excursion is None else whole(excursion.events_canary),
        "rule": None if counted is None else plain(counted.rule, MAX_NAME),
        "first_requests": first_requests,
        "users": requests if one_each else None,
    }


def exposure_in_words(exposure: Mapping[str, Any], *, shadow: bool = False) -> str:
    """``5% of users, since 20:10:30 UTC (1m41s): 53 of 189 canary requests were bad (refusal_rate)``.

    ``shadow``: the requests were shadow requests, whose answers no user got.
    """
    words = "no user" if shadow else f"{exposure['percent_of_users']:g}% of users"
    if exposure["since"] is not None and not shadow:
        lasted = f" ({duration_in_words(exposure['seconds'])})" if exposure["seconds"] else ""
        words += f", since {exposure['since'][11:19]} UTC{lasted}"
    if exposure["requests"] is None:
        return words
    users = exposure["users"]
    whose = (
        f" of about {users:,} users"
        if users is not None
        else ", each user's first in five minutes" * exposure["first_requests"]
    )
    bad, requests = exposure["bad_requests"], exposure["requests"]
    kind = "shadow" if shadow else "canary"
    return f"{words}: {bad:,} of {requests:,} {kind} requests were bad ({exposure['rule']}){whose}"
