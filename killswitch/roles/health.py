"""What daily probes and providers' lists have found about the models of a role, as the store keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.roles.absence import Absence
from killswitch.roles.role import Slot, check_model, check_role_name
from killswitch.timestamps import DAY, HOUR, to_iso
from killswitch.wording import counted, plain

FORMAT = 1
MAX_BYTES = 64 * 1024
MAX_MODELS = 20  # a role has three slots; what a slot held before is forgotten
MAX_DETAIL = 300
# two unclear answers count as two days if this much lies between them: a daily job is not on time to the second
APART: Final = DAY / 2
UNKNOWN_AFTER: Final = 3 * DAY


class Lifecycle(StrEnum):
    """What a provider's list says of a model. GONE: it was listed before, and is not any more."""

    LISTED = "LISTED"
    DEPRECATED = "DEPRECATED"
    RETIRED = "RETIRED"
    NEVER_LISTED = "NEVER_LISTED"
    GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one probe of a model came to, at ``at`` (Unix seconds).

    ``failure`` is None for an answer. ``absence``: whether the provider says that there is no such model.
    ``answered_by``: the id in the response. ``cost``: micro-dollars, None where it is not known.
    """

    at: float
    failure: str | None = None
    absence: Absence | None = None
    answered_by: str | None = None
    cost: int | None = None


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """What is known of one model. Times are Unix seconds, None for never.

    ``missing_since``: the first of an unbroken run of probes that found no such model, ``missing_at`` the newest of
    them, ``absence`` the clearest. ``failing_since``: the first of an unbroken run of probes without any usable
    answer. ``failure``: what the newest failed probe said. ``retires_at``: as the provider's list says; ``dated_at``:
    as the file of dates says that the role's file names, at the newest look of the daily job.
    """

    model: str
    probed_at: float | None = None
    answered_at: float | None = None
    missing_since: float | None = None
    missing_at: float | None = None
    absence: Absence | None = None
    failing_since: float | None = None
    failure: str | None = None
    lifecycle: Lifecycle | None = None
    listed_at: float | None = None
    retires_at: float | None = None
    dated_at: float | None = None

    def answered_since(self, at: float) -> bool:
        """Whether it has answered a probe at or after ``at``, and nothing has been missing since."""
        return self.answered_at is not None and self.answered_at >= at

    @property
    def gone(self) -> str | None:
        """Why it counts as gone, in one sentence; None if it does not. See `killswitch.roles.retirement`."""
        name = plain(self.model, 80)
        if self.missing_since is not None and self.missing_at is not None:
            days = self.missing_at - self.missing_since >= APART
            if self.absence is Absence.CLEAR or days:
                return f"{name} does not exist for our key, its provider said on {_when(self.missing_at)}: {self._said}"
        if self.lifecycle is Lifecycle.RETIRED and not self._answers:
            return f"{name} is retired, the list of its provider says"
        return None

    @property
    def _answers(self) -> bool:
        """Whether the newest probe was answered: a list that says otherwise is behind."""
        return self.answered_at is not None and self.answered_at == self.probed_at

    @property
    def _said(self) -> str:
        return plain(self.failure or "not found", MAX_DETAIL)

    def unknown(self, now: float) -> str | None:
        """Why it is not known whether it still answers: days of failures that say nothing of the model itself."""
        if self.failing_since is None or self.gone is not None or now - self.failing_since < UNKNOWN_AFTER:
            return None
        days = counted(math.floor((now - self.failing_since) / DAY), "day")
        return f"{plain(self.model, 80)} has not answered a probe for {days}: {self._said}"

    def after(self, probe: Probe) -> ModelHealth:
        """The health after one more probe. One that is somewhat older than the newest changes nothing.

        Where the newest is from over an hour later, a clock was ahead then: it must not silence all probes until that
        time has come.
        """
        if self.probed_at is not None and probe.at <= self.probed_at:
            if self.probed_at - probe.at <= HOUR:
                return self
            return self._not_after(probe.at).after(probe)
        if probe.failure is None:
            return replace(
                self,
                probed_at=probe.at, answered_at=probe.at, missing_since=None, missing_at=None, absence=None,
                failing_since=None, failure=None,
            )  # fmt: skip
        failed = replace(
            self,
            probed_at=probe.at,
            failing_since=probe.at if self.failing_since is None else self.failing_since,
            failure=plain(probe.failure, MAX_DETAIL),
        )
        if probe.absence is None:
            return failed  # it says nothing of the model, neither that it is there nor that it is not
        clear = Absence.CLEAR in (probe.absence, self.absence)
        return replace(
            failed,
            missing_since=probe.at if self.missing_since is None else self.missing_since,
            missing_at=probe.at,
            absence=Absence.CLEAR if clear else Absence.UNCLEAR,
        )

    def _not_after(self, now: float) -> ModelHealth:
        """The health with ``now`` for the times of probes that are later."""
        return replace(
            self,
            probed_at=None,
            answered_at=_earlier(self.answered_at, now),
            missing_since=_earlier(self.missing_since, now),
            missing_at=_earlier(self.missing_at, now),
            failing_since=_earlier(self.failing_since, now),
        )

    def after_list(self, at: float, lifecycle: Lifecycle | None, retires_at: float | None) -> ModelHealth:
        """The health after a whole list of the provider was read. ``lifecycle`` None: the list does not have it."""
        if lifecycle is not None:
            return replace(self, lifecycle=lifecycle, listed_at=at, retires_at=retires_at)
        absent = Lifecycle.NEVER_LISTED if self.listed_at is None else Lifecycle.GONE
        return replace(self, lifecycle=absent)


@dataclass(frozen=True, slots=True)
class RoleHealth:
    """What is known of the models in a role's slots. ``looked_at``: when the daily job looked, Unix seconds.

    ``told``: which pages have been sent, each as ``kind/model/step``, so that each is sent once.
    """

    role: str
    looked_at: float
    models: Mapping[str, ModelHealth] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def of(self, model: str) -> ModelHealth:
        return self.models.get(model, ModelHealth(model))

    def retry_at(self, slots: Mapping[Slot, str], *, daily: float = DAY, again: float = HOUR) -> float:
        """When the job looks again: a day after the last look, or within the hour if a probe said nothing."""
        unsure = any(
            self.of(model).failing_since is not None and self.of(model).gone is None for model in slots.values()
        )
        return self.looked_at + (again if unsure else daily)

    def ahead_of(self, now: float) -> bool:
        """Whether the job looked later than ``now``: the clock of its machine was ahead, and nothing waits for that."""
        return self.looked_at > now + HOUR


def to_document(health: RoleHealth) -> bytes:
    """As stored: JSON, UTF-8."""
    models = [_model_to_json(one) for one in list(health.models.values())[:MAX_MODELS]]
    document = {
        "format": FORMAT,
        "role": health.role,
        "looked_at": to_iso(health.looked_at),
        "models": models,
        "told": list(health.told),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode(errors="replace")


def from_document(value: bytes, *, role: str) -> RoleHealth:
    """The inverse of `to_document`. Raises BadDocument, naming the field."""
    fields = parse_object(value, f"health of role {role}", max_bytes=MAX_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("role") != check_role_name(role):
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['role']!r:.80}")
    models = [_model(one) for one in fields.objects("models")]
    return RoleHealth(role, fields.time("looked_at"), {one.model: one for one in models}, fields.texts("told"))


_TIMES = (
    "probed_at",
    "answered_at",
    "missing_since",
    "missing_at",
    "failing_since",
    "listed_at",
    "retires_at",
    "dated_at",
)


def _model_to_json(health: ModelHealth) -> dict[str, Any]:
    times = {name: getattr(health, name) for name in _TIMES}
    return {
        "model": health.model,
        **{name: None if at is None else to_iso(at) for name, at in times.items()},
        "absence": health.absence,
        "failure": health.failure,
        "lifecycle": health.lifecycle,
    }


def _model(fields: Fields) -> ModelHealth:
    absence, lifecycle = fields.optional_text("absence"), fields.optional_text("lifecycle")
    if absence is not None and absence not in set(Absence):
        raise BadDocument(f"{fields.where}: absence {absence!r:.80} is none of {', '.join(Absence)}")
    if lifecycle is not None and lifecycle not in set(Lifecycle):
        raise BadDocument(f"{fields.where}: lifecycle {lifecycle!r:.80} is none of {', '.join(Lifecycle)}")
    return ModelHealth(
        check_model(fields.text("model")),
        **{name: fields.optional_time(name) for name in _TIMES},
        absence=None if absence is None else Absence(absence),
        failure=fields.optional_text("failure"),
        lifecycle=None if lifecycle is None else Lifecycle(lifecycle),
    )


def _earlier(at: float | None, now: float) -> float | None:
    return None if at is None else min(at, now)


def _when(at: float) -> str:
    return to_iso(math.floor(at))[:10]
