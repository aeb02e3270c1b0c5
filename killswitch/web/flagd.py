"""Flags in flagd's own file format, for flagd and its in-process providers (``https://flagd.dev/schema/v0``).

flagd splits by its own hash (murmur3), and its rules cannot express SHA-256. So the rendered rule takes two ways,
and says which is which:

- a context that carries ``killswitchBucket`` (the bucket of the formula, 0 to 99.99, computed by the
  caller with ten lines in any language) is split exactly as by every other router;
- any other is split by flagd's ``fractional`` over the same salt and ``targetingKey``: as sticky, as monotonic
  in the percent, and **of other users**. One service must not mix the two.

A flag that is not armed has no rule and no canary variant at all: no evaluation of it can reach the canary.

A role is a flag ``role:<name>`` with a variant for each slot that has a model; the context's ``slot`` names one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from killswitch.flags.bucketing import obeyed_percent
from killswitch.flags.flag import Flag
from killswitch.roles.references import PREFIX
from killswitch.roles.role import Slot
from killswitch.web.ofrep import SLOT, Models, OfrepAnswer, etag_of, matches

SCHEMA = "https://flagd.dev/schema/v0/flags.json"
BUCKET = "killswitchBucket"  # the context attribute that carries the formula's bucket
_WEIGHTS = 10_000  # of fractional; a hundredth of a percent each


def render(
    flags: Mapping[str, Flag],
    *,
    if_none_match: str | None = None,
    stale: bool = False,
    roles: Models | None = None,
) -> OfrepAnswer:
    """The flag file; 304 when the client has it. ``stale``: the flags could not be read of late: control for all.

    ``roles``: those without a model in prod are left out, because flagd wants a variant for those who name none.
    """
    pins = {PREFIX + name: _pins(models) for name, models in sorted((roles or {}).items()) if Slot.PROD in models}
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "flags": {name: _definition(flags[name], stale=stale) for name in sorted(flags)} | pins,
        "metadata": {"flagSetId": "killswitch"},
    }
    etag = etag_of(document)
    return OfrepAnswer(304, None, etag) if matches(if_none_match, etag) else OfrepAnswer(200, document, etag)


def _definition(flag: Flag, *, stale: bool) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "state": "ENABLED",  # flagd treats a disabled flag as absent, and the caller's default would win
        "variants": {"control": flag.control},
        "defaultVariant": "control",
        "metadata": {
            "generation": flag.generation,
            "state": flag.state.value,
            "stage": flag.stage,
            "canaryPercent": 0.0 if stale else obeyed_percent(flag),
        },
    }
    percent = obeyed_percent(flag)
    if percent > 0.0 and not stale:
        definition["variants"]["canary"] = flag.canary
        definition["targeting"] = _targeting(flag, percent)
    return definition


def _pins(models: Mapping[str, str]) -> dict[str, Any]:
    """A slot that has no variant is an error to flagd, so that the caller's default wins: a typo chooses no model."""
    slot = {"var": SLOT}
    return {
        "state": "ENABLED",
        "variants": dict(models),
        "defaultVariant": Slot.PROD.value,
        "targeting": {"if": [{"===": [slot, None]}, Slot.PROD.value, slot]},
    }


def _targeting(flag: Flag, percent: float) -> dict[str, Any]:
    weight = round(percent * _WEIGHTS / 100)
    user = {"var": "targetingKey"}
    fractional = {
        "fractional": [
            {"cat": [flag.salt, user]},
            # the canary first: its share grows at its far end only, so raising the percent moves no one out
            ["canary", weight],
            ["control", _WEIGHTS - weight],
        ]
    }
    if weight in (0, _WEIGHTS):  # some evaluators refuse a weight of 0
        by_flagd: object = "canary" if weight else "control"
    else:
        by_flagd = fractional
    exactly = {"if": [{"<": [{"var": BUCKET}, percent]}, "canary", "control"]}
    # a user without a key never gets the canary
    otherwise = {"if": [{"!!": [user]}, by_flagd, "control"]}
    return {"if": [{"===": [{"var": BUCKET}, None]}, otherwise, exactly]}
