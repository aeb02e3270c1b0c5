"""The incident: what a post-mortem needs to know about one trip, written with the flip itself.

It holds the findings of *all* rules, not only of the tripping one, with the queries a person can ask
again; later it learns who was paged when, and how far the routers had followed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from enum import StrEnum
from typing import Any, TypeVar

from killswitch.documents import Fields, finite, parse_object
from killswitch.errors import BadDocument
from killswitch.flags.cited_alert import CitedAlert, alert_from_json, alert_to_json
from killswitch.flags.flag import Flag, StageEntry
from killswitch.model import Decide, Excursion, Finding, Mode, Reason, Unit, Verdict
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_DOCUMENT_BYTES = 512 * 1024
_MAX_PAGES = 200
_CUT_QUERY = 300
_ChosenWord = TypeVar("_ChosenWord", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Paged:
    """One receiver took one page: when, and under which reference of its own (Slack: ``channel/ts``)."""

    receiver: str
    kind: str
    at: float
    reference: str
    possible_repeat: bool = False


@dataclass(frozen=True, slots=True)
class RoutersFollowed:
    """``followed`` of ``known`` routers had acted on the trip at ``at`` (Unix seconds)."""

    followed: int
    known: int
    at: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Who has said, from where, that they look after the incident; ``at`` is Unix seconds."""

    by: str
    origin: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What is known of a trip before its flag is read.

    ``by`` is the controller's id or the person's name; ``rules`` are those that tripped (none for a
    trip by hand or by blindness). ``tick`` and ``decided_at`` are Unix seconds; ``latency`` is seconds
    from the tick to the answered commit, None until the controller has noted it. ``window`` is in
    seconds. ``alert``: what another system raised, where that tripped it.
    """

    rollout: str
    automatic: bool
    by: str
    reason: str
    rules: tuple[str, ...]
    findings: tuple[Finding, ...]
    decided_at: float
    tick: float | None = None
    latency: float | None = None
    decide: Decide = Decide.THRESHOLD
    mode: Mode = Mode.ENFORCE
    window: float | None = None
    min_requests: int | None = None
    rules_file: str = ""
    rules_digest: str = ""
    controller: str = ""
    version: str = ""
    alert: CitedAlert | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident(_Decided):
    """One trip of one generation. ``percent_before`` (0 to 100) and ``stage_before`` say where the ramp was.

    ``salt`` and ``stages``, the flag's, say which users had had the canary since when.
    """

    generation: int
    control: str
    canary: str
    percent_before: float
    stage_before: str
    salt: str = ""
    stages: tuple[StageEntry, ...] = ()
    pages: tuple[Paged, ...] = ()
    routers: RoutersFollowed | None = None
    acknowledged: Acknowledged | None = None

    @property
    def id(self) -> str:
        return incident_id(self.rollout, self.generation)

    @property
    def who(self) -> str:
        """As `who_tripped` says it."""
        alert = None if self.alert is None else self.alert.name
        return who_tripped(automatic=self.automatic, by=self.by, alert=alert)

    @property
    def tripping(self) -> tuple[Finding, ...]:
        """The findings of the rules that tripped, in the order of `findings`."""
        return tuple(finding for finding in self.findings if finding.rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDraft(_Decided):
    """An incident without what only the tripped flag knows; `on` adds that."""

    def on(self, flag: Flag) -> Incident:
        """The incident of tripping this flag."""
        return Incident(
            **{field.name: getattr(self, field.name) for field in fields_of(self)},
            generation=flag.generation,
            control=flag.control,
            canary=flag.rollout_canary,
            percent_before=flag.canary_percent,
            stage_before=flag.stage,
            salt=flag.salt,
            stages=flag.stages,
        )

    def after(self, seconds: float) -> IncidentDraft:
        """The same, flipped this much later: an incident tells when users were taken away, not when that was wanted."""
        latency = None if self.latency is None else self.latency + seconds
        return replace(self, decided_at=self.decided_at + seconds, latency=latency)


def who_tripped(*, automatic: bool | None, by: str, alert: str | None) -> str:
    """Who tripped, for people: the rules by themselves, an alert of another system by its name, or a person."""
    if alert is not None:
        return f"by alert {alert}"
    return "by itself" if automatic else f"by {by}"


def incident_id(rollout: str, generation: int) -> str:
    return f"{rollout}.{generation}"


def with_page(incident: Incident, paged: Paged) -> Incident:
    """The incident with one more line in ``pages``; the newest 200 are kept."""
    return replace(incident, pages=(*incident.pages, paged)[-_MAX_PAGES:])


# --- the document -------------------------------------------------------------------------------


def to_document(incident: Incident) -> bytes:
    """The incident as stored: JSON, UTF-8. Never longer than `MAX_DOCUMENT_BYTES`.

    The trip must not fail because its record is long: the texts of queries, then sentences, are cut
    where they are too many.
    """
    for shorter in (tuple, _with_cut_queries, _bare):
        findings = shorter(incident.findings)
        value = json.dumps(_to_json(replace(incident, findings=findings)), ensure_ascii=False).encode(errors="replace")
        if len(value) <= MAX_DOCUMENT_BYTES:
            return value
    shortest = replace(incident, findings=_bare(incident.tripping)[:50], reason=incident.reason[:2000], rules=())
    return json.dumps(_to_json(shortest), ensure_ascii=False).encode(errors="replace")


def from_document(value: bytes, *, rollout: str) -> Incident:
    """The inverse of `to_document`, for a document that claims to be of ``rollout``.

    Unknown fields are ignored. Raises BadDocument, naming the field, for anything else.
    """
    fields = parse_object(value, f"incident of {rollout}", max_bytes=MAX_DOCUMENT_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['rollout']!r:.80}")
    return Incident(
        rollout=rollout,
        generation=fields.integer("generation"),
        automatic=fields.flag("automatic"),
        by=fields.text("by", empty=True),
        reason=fields.text("reason", empty=True),
        rules=fields.texts("rules"),
        findings=tuple(_finding(entry) for entry in fields.objects("findings")),
        tick=fields.optional_time("tick"),
        decided_at=fields.time("decided_at"),
        latency=fields.optional_number("latency_seconds"),
        control=fields.text("control"),
        canary=fields.text("canary"),
        percent_before=fields.number("percent_before"),
        stage_before=fields.text("stage_before"),
        salt=fields.text("salt", empty=True),
        stages=tuple(
            StageEntry(one.text("stage"), one.number("percent"), one.time("at")) for one in fields.objects("stages")
        ),
        decide=_word(fields, "decide", Decide),
        mode=_word(fields, "mode", Mode),
        window=fields.optional_number("window_seconds"),
        min_requests=None if fields.raw.get("min_requests") is None else fields.integer("min_requests"),
        rules_file=fields.text("rules_file", empty=True),
        rules_digest=fields.text("rules_digest", empty=True),
        controller=fields.text("controller", empty=True),
        version=fields.text("version", empty=True),
        alert=alert_from_json(fields.raw.get("alert"), f"{fields.where}, alert"),
        pages=tuple(_paged(entry) for entry in fields.objects("pages")),
        routers=_routers(fields),
        acknowledged=_acknowledged(fields),
    )


def _to_json(incident: Incident) -> dict[str, Any]:
    routers, taken = incident.routers, incident.acknowledged
    return {
        "format": FORMAT,
        "id": incident.id,
        "rollout": incident.rollout,
        "generation": incident.generation,
        "automatic": incident.automatic,
        "by": incident.by,
        "reason": incident.reason,
        "rules": list(incident.rules),
        "tick": _iso(incident.tick),
        "decided_at": to_iso(incident.decided_at),
        "latency_seconds": finite(incident.latency),
        "control": incident.control,
        "canary": incident.canary,
        "percent_before": incident.percent_before,
        "stage_before": incident.stage_before,
        "salt": incident.salt,
        "stages": [{"stage": one.stage, "percent": one.percent, "at": to_iso(one.at)} for one in incident.stages],
        "decide": incident.decide.value,
        "mode": incident.mode.value,
        "window_seconds": finite(incident.window),
        "min_requests": incident.min_requests,
        "rules_file": incident.rules_file,
        "rules_digest": incident.rules_digest,
        "controller": incident.controller,
        "version": incident.version,
        "alert": alert_to_json(incident.alert),
        "findings": [finding_to_json(finding) for finding in incident.findings],
        "pages": [
            {
                "receiver": paged.receiver,
                "kind": paged.kind,
                "at": to_iso(paged.at),
                "reference": paged.reference,
                "possible_repeat": paged.possible_repeat,
            }
            for paged in incident.pages
        ],
        "routers": None
        if routers is None
        else {"followed": routers.followed, "known": routers.known, "at": to_iso(routers.at)},
        "acknowledged": None if taken is None else {"by": taken.by, "origin": taken.origin, "at": to_iso(taken.at)},
    }


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """One finding with plain numbers in the rule's unit; what is not finite is null."""
    return {
        "rule": finding.rule,
        "verdict": finding.verdict.value,
        "reason": None if finding.reason is None else finding.reason.value,
        "sentence": finding.sentence,
        "unit": finding.unit.value,
        "canary": finite(finding.canary),
        "control": finite(finding.control),
        "limit": finite(finding.limit),
        "samples_canary": finite(finding.samples_canary),
        "samples_control": finite(finding.samples_control),
        "over": finding.over,
        "since": _iso(finding.since),
        "evidence": finite(finding.evidence),
        "needed": finite(finding.needed),
        "excursion": excursion_to_json(finding.excursion),
        "proven_in_seconds": finite(finding.proven_in),
        "raw_canary": finite(finding.raw_canary),
        "raw_control": finite(finding.raw_control),
        "raw_samples_canary": finite(finding.raw_samples_canary),
        "raw_samples_control": finite(finding.raw_samples_control),
        "queries": list(finding.queries),
    }


def _finding(fields: Fields) -> Finding:
    return Finding(
        rule=fields.text("rule"),
        verdict=_word(fields, "verdict", Verdict),
        reason=None if fields.raw.get("reason") is None else _word(fields, "reason", Reason),
        sentence=fields.text("sentence", empty=True),
        unit=_word(fields, "unit", Unit),
        canary=fields.optional_number("canary"),
        control=fields.optional_number("control"),
        limit=fields.optional_number("limit"),
        samples_canary=fields.optional_number("samples_canary"),
        samples_control=fields.optional_number("samples_control"),
        over=fields.flag("over"),
        since=fields.optional_time("since"),
        evidence=fields.optional_number("evidence"),
        needed=fields.optional_number("needed"),
        excursion=_excursion(fields),
        proven_in=fields.optional_number("proven_in_seconds"),
        raw_canary=fields.optional_number("raw_canary"),
        raw_control=fields.optional_number("raw_control"),
        raw_samples_canary=fields.optional_number("raw_samples_canary"),
        raw_samples_control=fields.optional_number("raw_samples_control"),
        queries=fields.texts("queries"),
    )


def excursion_to_json(excursion: Excursion | None) -> dict[str, Any] | None:
    if excursion is None:
        return None
    return {
        "since": to_iso(excursion.since),
        "canary": finite(excursion.canary),
        "control": finite(excursion.control),
        "limit": finite(excursion.limit),
        "events_canary": finite(excursion.events_canary),
        "trials_canary": finite(excursion.trials_canary),
        "events_control": finite(excursion.events_control),
        "trials_control": finite(excursion.trials_control),
    }


def _excursion(fields: Fields) -> Excursion | None:
    if fields.raw.get("excursion") is None:
        return None
    counted = Fields(fields.raw["excursion"], f"{fields.where}, excursion")
    return Excursion(
        counted.time("since"),
        counted.number("events_canary"),
        counted.number("trials_canary"),
        counted.number("events_control"),
        counted.number("trials_control"),
        counted.optional_number("limit"),
    )


def _paged(fields: Fields) -> Paged:
    return Paged(
        receiver=fields.text("receiver"),
        kind=fields.text("kind"),
        at=fields.time("at"),
        reference=fields.text("reference", empty=True),
        possible_repeat=fields.flag("possible_repeat"),
    )


def _routers(fields: Fields) -> RoutersFollowed | None:
    if fields.raw.get("routers") is None:
        return None
    routers = Fields(fields.raw["routers"], f"{fields.where}, routers")
    return RoutersFollowed(routers.integer("followed"), routers.integer("known"), routers.time("at"))


def _acknowledged(fields: Fields) -> Acknowledged | None:
    if fields.raw.get("acknowledged") is None:
        return None
    taken = Fields(fields.raw["acknowledged"], f"{fields.where}, acknowledged")
    return Acknowledged(taken.text("by"), taken.text("origin", empty=True), taken.time("at"))


def _word(fields: Fields, name: str, words: type[_ChosenWord]) -> _ChosenWord:
    text = fields.text(name)
    try:
        return words(text)
    except ValueError as error:
        raise BadDocument(f"{fields.where}: {name} {text!r:.80} is none of {', '.join(words)}") from error


def _iso(at: float | None) -> str | None:
    return None if finite(at) is None or at is None else to_iso(at)


def _with_cut_queries(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(replace(f, queries=tuple(query[:_CUT_QUERY] for query in f.queries[:4])) for f in findings)


def _bare(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(replace(f, queries=(), sentence=f.sentence[:_CUT_QUERY]) for f in findings)
