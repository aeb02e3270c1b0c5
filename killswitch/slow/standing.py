"""What the newest evaluation of a rollout's slow signals has found, as stored; and when the next one is due. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from killswitch.documents import Fields, finite, parse_object
from killswitch.errors import BadDocument
from killswitch.model import Reason, Verdict
from killswitch.slow.days import evaluated_at
from killswitch.slow.findings import SlowFinding
from killswitch.slow_settings import SlowSettings
from killswitch.timestamps import to_iso

FORMAT: Final = 1
RETRY_AFTER: Final = 3600.0  # seconds
PAGE_AFTER: Final = 2 * 86_400.0 - 3600.0  # seconds without a verdict; two days may have 47 hours
_CLOCKS_APART: Final = 3600.0  # seconds; replicas' clocks differ by less
_MAX_BYTES: Final = 256 * 1024
_MAX_SENTENCE: Final = 1000
# what another question a little later may answer otherwise
_PASSING: Final = frozenset(
    {
        *(Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT, Reason.SOURCE_REFUSED, Reason.GARBAGE, Reason.PARTIAL_ANSWER),
        *(Reason.NO_DATA, Reason.STALE, Reason.INTERNAL_ERROR),
    }
)


@dataclass(frozen=True, slots=True)
class SignalStanding:
    """One signal. ``unknown_since``: the first evaluation in a row without a verdict (Unix seconds), None with one.

    While its values settle, no verdict is due: that does not count.

    ``canary`` and ``control``: means of the days that count; ``worse``: by how much the canary is worse, and ``limit``
    by how much it may be. All in the column's unit, as a fraction where ``as_share``; None where nothing was counted.
    """

    signal: str
    verdict: Verdict
    reason: Reason | None
    sentence: str
    unknown_since: float | None = None
    canary: float | None = None
    control: float | None = None
    worse: float | None = None
    limit: float | None = None
    as_share: bool = False


@dataclass(frozen=True, slots=True)
class SlowStanding:
    """Of one generation. ``evaluated_at``: the instant that was evaluated; ``asked_at``: when the warehouse was asked.

    Both in Unix seconds. A retry evaluates the same instant again.
    """

    rollout: str
    generation: int
    evaluated_at: float
    asked_at: float
    signals: tuple[SignalStanding, ...]

    @property
    def breaches(self) -> tuple[SignalStanding, ...]:
        return tuple(one for one in self.signals if one.verdict is Verdict.BREACH)

    def unheard(self, at: float) -> tuple[SignalStanding, ...]:
        """The signals that have been without a verdict for so long that a person is told."""
        return tuple(
            one for one in self.signals if one.unknown_since is not None and at - one.unknown_since >= PAGE_AFTER
        )


def is_due(settings: SlowSettings, standing: SlowStanding | None, generation: int, now: float) -> bool:
    """Whether the warehouse is to be asked: once a day, hourly while it failed, and at once if a signal is new."""
    if standing is None or standing.generation != generation:
        return True
    # a replica that still has the rule file of before must not ask because a signal is gone there
    if {one.name for one in settings.signals} - {one.signal for one in standing.signals}:
        return True
    newest = evaluated_at(now, settings.at, ZoneInfo(settings.time_zone))
    # one of days to come was written by a clock that was ahead: until then nothing would be judged
    if newest > standing.evaluated_at or standing.evaluated_at > now + _CLOCKS_APART:
        return True
    return any(one.reason in _PASSING for one in standing.signals) and abs(now - standing.asked_at) >= RETRY_AFTER


def standing_of(
    rollout: str, generation: int, findings: Iterable[SlowFinding], before: SlowStanding | None, now: float
) -> SlowStanding:
    """The standing after an evaluation. ``before``: the one that it replaces, of this generation or an earlier one."""
    known = {} if before is None or before.generation != generation else {one.signal: one for one in before.signals}
    found = tuple(_standing(finding, known.get(finding.signal)) for finding in findings)
    evaluated = max((finding.evaluated_at for finding in findings), default=now)
    return SlowStanding(rollout, generation, evaluated, now, found)


def _standing(finding: SlowFinding, before: SignalStanding | None) -> SignalStanding:
    since = None
    if finding.verdict is Verdict.UNKNOWN and finding.reason is not Reason.SETTLING:  # which is as it should be
        since = finding.evaluated_at if before is None or before.unknown_since is None else before.unknown_since
    return SignalStanding(
        finding.signal,
        finding.verdict,
        finding.reason,
        finding.sentence[:_MAX_SENTENCE],
        since,
        *(finding.canary, finding.control, finding.worse, finding.limit, finding.as_share),
    )


def to_document(standing: SlowStanding) -> bytes:
    """As stored: JSON."""
    signals = [
        {
            "signal": one.signal,
            "verdict": one.verdict.value,
            "reason": None if one.reason is None else one.reason.value,
            "sentence": one.sentence,
            "unknown_since": None if one.unknown_since is None else to_iso(one.unknown_since),
            "canary": finite(one.canary),
            "control": finite(one.control),
            "worse": finite(one.worse),
            "limit": finite(one.limit),
            "as_share": one.as_share,
        }
        for one in standing.signals
    ]
    document = {
        "format": FORMAT,
        "rollout": standing.rollout,
        "generation": standing.generation,
        "evaluated_at": to_iso(standing.evaluated_at),
        "asked_at": to_iso(standing.asked_at),
        "signals": signals,
    }
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def from_document(value: bytes, *, rollout: str) -> SlowStanding:
    """The inverse of `to_document`. Raises BadDocument."""
    fields = parse_object(value, f"slow standing of {rollout}", max_bytes=_MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['rollout']!r:.80}")
    return SlowStanding(
        rollout,
        fields.integer("generation"),
        fields.time("evaluated_at"),
        fields.time("asked_at"),
        tuple(_signal(one) for one in fields.objects("signals")),
    )


def _signal(fields: Fields) -> SignalStanding:
    try:
        verdict = Verdict(fields.text("verdict"))
        said = fields.optional_text("reason")
        reason = None if said is None else Reason(said)
    except ValueError as error:
        raise BadDocument(f"{fields.where}: {error}") from error
    sentence, since = fields.text("sentence", empty=True), fields.optional_time("unknown_since")
    canary, control, worse, limit = (
        fields.optional_number(name) for name in ("canary", "control", "worse", "limit")
    )  # fmt: skip
    return SignalStanding(
        fields.text("signal"), verdict, reason, sentence, since, canary, control, worse, limit, fields.flag("as_share")
    )  # fmt: skip
