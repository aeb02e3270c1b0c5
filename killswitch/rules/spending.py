"""Reads the section `spend`: what several keys of a cap say together, and what is set aside of a refused cap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from killswitch.model import Matcher, SpendSettings, TokenCounters
from killswitch.rules.document import Path
from killswitch.rules.metrics import Complaint
from killswitch.rules.schema import MAX_CAPS, SpendCapSpec, SpendSpec
from killswitch.spend_cap import SpendCap

RefusedCaps = dict[int, set[str]]  # the refused keys of each cap, by its place in the list
_PATH: Path = ("spend", "caps")
_LIMITS = frozenset({"soft", "hard"})


def read_spend(
    spec: SpendSpec,
    match: tuple[Matcher, ...],
    tokens: TokenCounters | None,
    refused: Mapping[int, AbstractSet[str]],
) -> tuple[SpendSettings, list[Complaint]]:
    """The section, and what is wrong with it. ``tokens``: the counters of the preset."""
    complaints = list(_complaints(spec, refused))
    caps = tuple(SpendCap(cap.scope, cap.per, cap.soft, cap.hard, cap.on_hard) for cap in spec.caps)
    if spec.prices is None:
        return SpendSettings(None, caps), complaints
    return SpendSettings(spec.prices, caps, match, tokens), complaints


def set_cap_aside(data: dict[str, Any], path: Path, refused: RefusedCaps) -> None:
    """Put a stand-in for what is refused at ``path``, one entry of `spend.caps` or a key of it; the rest is checked.

    The entry gets a scope that no other has, since it may not be compared with others.
    """
    place = int(path[2])
    caps = data["spend"]["caps"] = list(data["spend"]["caps"])
    stand_in = {"scope": f"project:refused-{place}", "per": "day"}
    entry = caps[place]
    if len(path) == 3 or not isinstance(entry, dict):
        refused.setdefault(place, set()).update(SpendCapSpec.model_fields)
        caps[place] = stand_in
        return
    key = str(path[3])
    refused.setdefault(place, set()).add(key)
    kept = {name: value for name, value in entry.items() if name != key}
    caps[place] = {**kept, **stand_in} if key in stand_in else kept


def _complaints(spec: SpendSpec, refused: Mapping[int, AbstractSet[str]]) -> Iterator[Complaint]:
    if len(spec.caps) > MAX_CAPS:
        yield Complaint(_PATH, f"{len(spec.caps)} caps", f"state at most {MAX_CAPS}")
    first: dict[tuple[str, str], int] = {}
    for place, cap in enumerate(spec.caps):
        here, wrong = (*_PATH, place), refused.get(place, frozenset())
        yield from _of_one(cap, here, wrong)
        before = first.setdefault((cap.scope, cap.per), place)
        if before != place:
            yield Complaint(here, f"a second cap of {cap.scope} per {cap.per}", "keep one of them")
        # the others are counted by processes that have prices of their own
        if cap.scope == "rollout" and spec.prices is None:
            yield Complaint(
                here, "the canary's spend cannot be counted without prices", "add `prices: prices.json` under `spend`"
            )


def _of_one(cap: SpendCapSpec, here: Path, wrong: AbstractSet[str]) -> Iterator[Complaint]:
    if cap.soft is None and cap.hard is None and not wrong & _LIMITS:
        yield Complaint(here, "a cap without a limit", "add `hard: $…`, `soft: $…`, or both")
    if cap.soft is not None and cap.hard is not None and cap.soft >= cap.hard:
        yield Complaint(
            (*here, "soft"), "soft is not under hard, so it would be no warning", "lower soft, or raise hard"
        )
    if "on_hard" not in cap.model_fields_set or "scope" in wrong or "per" in wrong:
        return
    if cap.scope != "rollout":
        off = "is off" if cap.scope in ("shadow", "judge") else "spends nothing more"
        yield Complaint(
            (*here, "on_hard"), f"on_hard is only for the canary (`scope: rollout`); at its hard cap {cap.scope} {off}",
            "remove it",
        )  # fmt: skip
    elif cap.hard is None and "hard" not in wrong:
        yield Complaint((*here, "on_hard"), "on_hard has no meaning without hard", "add `hard: $…`, or remove it")
