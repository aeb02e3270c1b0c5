"""How much of the traffic is shadowed: a percent of requests, and other percents by prompt class. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_CLASSES = 50
MAX_CLASS_NAME = 64


@dataclass(frozen=True, slots=True)
class ShadowShare:
    """``percent`` (0 to 100) of requests; ``classes`` are percents by prompt class, sorted, instead of ``percent``.

    A class at 0 is never shadowed. Make it with `shadow_share`, which checks and sorts.
    """

    percent: float = 0.0
    classes: Mapping[str, float] = field(default_factory=dict, hash=False)

    def of(self, prompt_class: str) -> float:
        """Percent of this class's requests, 0 to 100."""
        return self.classes.get(prompt_class, self.percent)

    @property
    def nothing(self) -> bool:
        """Whether no request at all is shadowed."""
        return self.percent == 0.0 and not any(self.classes.values())

    def exceeds(self, other: ShadowShare) -> bool:
        """Whether any class, named or not, gets more than under ``other``."""
        named = (*self.classes, *other.classes)
        return self.percent > other.percent or any(self.of(name) > other.of(name) for name in named)

    def times(self, factor: float) -> ShadowShare:
        """Each percent times ``factor``, 0 to 1, in ten thousandths of a percent."""
        return shadow_share(
            round(self.percent * factor, 4),
            {name: round(percent * factor, 4) for name, percent in self.classes.items()},
        )

    def at_most(self, other: ShadowShare) -> ShadowShare:
        """The lower of both percents in each class, so it exceeds neither."""
        named = sorted({*self.classes, *other.classes})
        return shadow_share(
            min(self.percent, other.percent), {name: min(self.of(name), other.of(name)) for name in named}
        )

    def __str__(self) -> str:
        """For people: ``20 % (billing 100 %, legal 0 %)``."""
        classes = ", ".join(f"{name} {percent:g}%" for name, percent in self.classes.items())
        return f"{self.percent:g}%" + (f" ({classes})" if classes else "")


NO_SHADOW = ShadowShare()


def shadow_share(percent: object, classes: object) -> ShadowShare:
    """The share, sorted; `NO_SHADOW` where all percents are 0.

    Raises ValueError, naming the field of the flag's document, for what is no percent, too many classes, or a class
    whose name is empty, longer than `MAX_CLASS_NAME` characters, or not printable.
    """
    of_requests = _percent("shadow_percent", percent)
    if not isinstance(classes, Mapping):
        raise ValueError(f"shadow_classes must map prompt classes to percents, got {classes!r:.80}")  # noqa: TRY004  # one error for all of it
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"shadow_classes has {len(classes)} classes; use at most {MAX_CLASSES}")
    for name in classes:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_CLASS_NAME or not name.isprintable():
            raise ValueError(
                f"shadow_classes: {name!r:.80} is no class name; use 1 to {MAX_CLASS_NAME} printable characters"
            )
    share = ShadowShare(
        of_requests, {name: _percent(f"shadow_classes: {name}", classes[name]) for name in sorted(classes)}
    )
    return NO_SHADOW if share.nothing else share


def _percent(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, got {value!r:.80}")  # noqa: TRY004  # one error for all of it
    if not 0.0 <= value <= 100.0 or not math.isfinite(value):
        raise ValueError(f"{name} must be from 0 to 100, got {value!r:.80}")
    return float(value)


def shadowed_of(status: Mapping[str, Any]) -> str:
    """``20% (billing 100%) of requests shadowed`` from a rollout's status document; empty where nothing is."""
    share = ShadowShare(status.get("shadow_percent") or 0.0, status.get("shadow_classes") or {})
    return "" if share.nothing else f"{share} of requests shadowed"
