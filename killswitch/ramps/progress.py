"""Progress: what one stage has been watched so far, as one small document.

Time counts only in ticks that were judged. A blind tick, a gap and a tick that was counted before add nothing, and no
tick adds more than the interval between ticks. So the watched time never falls, and never runs ahead of the ticks,
whatever clocks do. Another generation or stage begins again at zero.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.flags.flag import SHADOW, Flag
from killswitch.model import Counts, Verdict
from killswitch.timestamps import from_iso, to_iso

FORMAT = 1
MAX_BYTES = 64 * 1024
_NOTHING = Counts(0.0, 0.0)
_ROUNDING = 0.01  # seconds: times are stored in milliseconds


@dataclass(frozen=True, slots=True)
class RuleTick:
    """What one rule was at one tick.

    ``canary`` and ``control`` were counted in the interval that ends at the tick; None where nothing was counted.
    ``phi``: how much its events clump more than independent ones, as the evidence knows it.
    """

    verdict: Verdict
    canary: Counts | None = None
    control: Counts | None = None
    phi: float = 1.0


@dataclass(frozen=True, slots=True)
class RuleWatch:
    """One rule in the watched time. ``known`` and ``healthy`` in seconds; the counts are sums of both cohorts."""

    known: float = 0.0
    healthy: float = 0.0
    canary: Counts = _NOTHING
    control: Counts = _NOTHING
    phi: float = 1.0


@dataclass(frozen=True, slots=True)
class StageProgress:
    """What has been watched of the stage that began at ``began_at`` in this generation.

    ``tick``: the newest that was taken in (Unix seconds, the metric store's clock). ``watched``: seconds that were
    judged. ``served``: the newest tick at which the canary, and control, had requests; None: none yet.
    """

    rollout: str
    generation: int
    stage: str
    percent: float
    began_at: float
    tick: float
    watched: float = 0.0
    rules: Mapping[str, RuleWatch] = field(default_factory=dict)
    served: tuple[float | None, float | None] = (None, None)

    @property
    def requests(self) -> tuple[float, float]:
        """Requests of the canary and of control: those of the rule that counted most."""
        return (
            max((rule.canary.trials for rule in self.rules.values()), default=0.0),
            max((rule.control.trials for rule in self.rules.values()), default=0.0),
        )

    def is_of(self, flag: Flag) -> bool:
        """Whether it is about the stage that the flag is in."""
        return self._identity == _identity(flag)

    @property
    def _identity(self) -> tuple[str, int, str, float, float]:
        return (self.rollout, self.generation, self.stage, self.percent, round(self.began_at, 3))


def observed(
    progress: StageProgress | None, flag: Flag, tick: float, interval: float, rules: Mapping[str, RuleTick]
) -> StageProgress:
    """The progress after one more tick; ``interval``: seconds between ticks.

    ``rules``: those that can be judged in the stage. In stage `shadow` there may be none, because the report of pairs
    decides there. A flag older than the progress changes nothing.
    """
    began_at = flag.stages[-1].at
    if progress is not None and (flag.generation, began_at) < (progress.generation, progress.began_at - _ROUNDING):
        return progress
    if progress is None or not progress.is_of(flag):
        progress = StageProgress(
            flag.rollout, flag.generation, flag.stage, flag.canary_percent, round(began_at, 3), round(began_at, 3)
        )
    if tick <= progress.tick:
        return progress
    seconds = min(interval, tick - progress.tick)
    judged = any(rule.verdict is not Verdict.UNKNOWN for rule in rules.values())
    served = _served(progress, rules.values(), tick)
    if not judged and (rules or flag.stage != SHADOW):
        return replace(progress, tick=tick, served=served)
    watches = {**progress.rules}
    for name, rule in rules.items():
        watches[name] = _watched(watches.get(name, RuleWatch()), rule, seconds, interval)
    return replace(progress, tick=tick, watched=progress.watched + seconds, rules=watches, served=served)


def _served(progress: StageProgress, rules: Collection[RuleTick], tick: float) -> tuple[float | None, float | None]:
    canary, control = progress.served
    if any(rule.canary is not None and rule.canary.trials > 0 for rule in rules):
        canary = tick
    if any(rule.control is not None and rule.control.trials > 0 for rule in rules):
        control = tick
    return canary, control


def _watched(watch: RuleWatch, rule: RuleTick, seconds: float, interval: float) -> RuleWatch:
    known = seconds if rule.verdict is not Verdict.UNKNOWN else 0.0
    healthy = seconds if rule.verdict is Verdict.HEALTHY else 0.0
    # an interval that was counted in part before adds the rest
    part = seconds / interval
    return RuleWatch(
        watch.known + known,
        watch.healthy + healthy,
        _sum(watch.canary, rule.canary, part),
        _sum(watch.control, rule.control, part),
        rule.phi if rule.canary is not None else watch.phi,
    )


def _sum(before: Counts, more: Counts | None, part: float) -> Counts:
    if more is None:
        return before
    return Counts(before.events + part * more.events, before.trials + part * more.trials)


def _identity(flag: Flag) -> tuple[str, int, str, float, float]:
    entry = flag.stages[-1]
    return (flag.rollout, flag.generation, flag.stage, flag.canary_percent, round(entry.at, 3))


# --- the document -------------------------------------------------------------------------------


def to_document(progress: StageProgress) -> bytes:
    """As stored: JSON, UTF-8."""
    return json.dumps(as_json(progress), ensure_ascii=False, allow_nan=False).encode(errors="replace")


def as_json(progress: StageProgress) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "rollout": progress.rollout,
        "generation": progress.generation,
        "stage": progress.stage,
        "percent": progress.percent,
        "began_at": to_iso(progress.began_at),
        "tick": to_iso(progress.tick),
        "watched_seconds": round(progress.watched, 3),
        "canary_served_at": _iso(progress.served[0]),
        "control_served_at": _iso(progress.served[1]),
        "rules": {name: _rule_as_json(rule) for name, rule in progress.rules.items()},
    }


def _iso(at: float | None) -> str | None:
    return None if at is None else to_iso(at)


def _rule_as_json(rule: RuleWatch) -> dict[str, float]:
    return {
        "known_seconds": round(rule.known, 3),
        "healthy_seconds": round(rule.healthy, 3),
        "canary_events": round(rule.canary.events, 6),
        "canary_requests": round(rule.canary.trials, 6),
        "control_events": round(rule.control.events, 6),
        "control_requests": round(rule.control.trials, 6),
        "dispersion": round(rule.phi, 6),
    }


def from_document(value: bytes, *, rollout: str) -> StageProgress:
    """The inverse of `to_document`, for a document that claims to be of ``rollout``.

    Raises BadDocument for anything else, also for more watched time than has passed.
    """
    fields = parse_object(value, f"progress of {rollout}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['rollout']!r:.80}")
    rules = Fields(fields.raw.get("rules"), f"{fields.where}, rules")
    progress = StageProgress(
        rollout,
        fields.integer("generation"),
        fields.text("stage"),
        _amount(fields, "percent"),
        from_iso(fields.text("began_at")),
        from_iso(fields.text("tick")),
        _amount(fields, "watched_seconds"),
        {name: _rule(Fields(rules.raw[name], f"{rules.where}, {name}")) for name in rules.raw},
        (fields.optional_time("canary_served_at"), fields.optional_time("control_served_at")),
    )
    if progress.watched > max(progress.tick - progress.began_at, 0.0) + _ROUNDING:
        raise BadDocument(f"{fields.where}: watched_seconds is more than has passed since began_at")
    return progress


def _rule(fields: Fields) -> RuleWatch:
    return RuleWatch(
        _amount(fields, "known_seconds"),
        _amount(fields, "healthy_seconds"),
        Counts(_amount(fields, "canary_events"), _amount(fields, "canary_requests")),
        Counts(_amount(fields, "control_events"), _amount(fields, "control_requests")),
        _amount(fields, "dispersion"),
    )


def _amount(fields: Fields, name: str) -> float:
    amount = fields.number(name)
    if amount < 0:
        raise BadDocument(f"{fields.where}: {name} is negative")
    return amount
