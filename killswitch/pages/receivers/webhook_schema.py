"""Writes what is derived from `killswitch.pages.payload`: ``docs/webhook.schema.json`` and ``docs/webhook.md``.

Run ``python -m killswitch.pages.receivers.webhook_schema`` in the repository's root to write both. With ``--check`` it
says whether they are current (exit 1 if not); a test runs that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from killswitch.flags.incident import Incident
from killswitch.generated_files import write_or_check
from killswitch.model import Excursion, Finding, PageSettings, Reason, Unit, Verdict
from killswitch.pages import events
from killswitch.pages.page import SEVERITIES, Page, PageKind
from killswitch.pages.payload import (
    ExcursionPayload,
    ExposurePayload,
    MismatchPayload,
    PagePayload,
    PlanPayload,
    RolePayload,
    RulePayload,
    SpendPayload,
    StagePayload,
)
from killswitch.pages.receivers.webhook import short_document
from killswitch.roles.role import RoleChange, Slot
from killswitch.spend.caps import Period

SCHEMA = Path("docs/webhook.schema.json")
DOCS = Path("docs/webhook.md")
_PRIMITIVES: Mapping[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

# What each name means. A test fails if one is missing.
MEANINGS: Mapping[type, Mapping[str, str]] = {
    PagePayload: {
        "alert": "what happened, in a few words that are the same for every page of this kind",
        "reason": "`rule=value vs baseline value` of each rule that tripped, else the sentence; for a breach by "
        "evidence the values are those counted since it began",
        "stage": "the rollout's stage, of a trip the one before it; null where the page is about several rollouts",
        "ts": "when, in UTC to the second",
        "samples_new": "the canary's requests that `reason` rests on; null where unknown",
        "samples_old": "control's requests that `reason` rests on; null where unknown",
        "auto_action": "what the kill switch has done by itself, or `none: …`",
        "page": "the page's id; the same in every copy, and in the header `Idempotency-Key`",
        "kind": "what the page is about",
        "rollout": "the rollout, `role:NAME` of a page about a role, empty where it is about several or none",
        "generation": "the rollout's generation, of a role the number of its change, 0 where the page is about none",
        "severity": "as the rule file says; `info` for good news",
        "good_news": "true where no one has to act: recovered, re-armed, routers have followed",
        "headline": "what was done, in one line",
        "sentence": "why, in one sentence",
        "link": "the incident, or the rollout, on the daemon's own pages; null without `public_url`",
        "runbook": "the rule file's link",
        "dashboard": "the rule file's link",
        "control": "the model that all others get",
        "canary": "the model that is being tried",
        "rollouts": "the rollouts that the page is about, up to 1,000; not on pages of an incident",
        "rollouts_count": "how many they are",
        "incident": "the incident's id",
        "percent_before": "the canary's share of users before the trip, 0 to 100",
        "exposed": "how many users and requests the canary had",
        "drill": "true on pages of a drill: what the page says was rehearsed, with a made-up breach",
        "automatic": "whether a controller tripped; false for a person",
        "by": "the controller or the person",
        "window_seconds": "how many seconds the values under `rules` cover; null where nothing was judged",
        "rules": "the rules, up to 40, those that tripped first where there are more",
        "spend": "the money that the page is about",
        "role": "the change of a role that the page is about",
        "mismatch": "the model that answered for another one",
        "plan": "where the rollout is in its plan, on pages about plans",
        "controller": "the replica that cannot act",
        "count": "of a digest: how many pages it stands for",
        "pages": "of a digest: the pages, up to 100",
        "possible_repeat": "true where an earlier copy of this page may have arrived; always there in a webhook's post",
    },
    RulePayload: {
        "rule": "the rule's name",
        "verdict": "what the rule says",
        "reason": "why the verdict is what it is, where the numbers alone do not say it",
        "tripping": "whether it is one of the rules that tripped",
        "unit": "of `canary`, `control` and `limit`: a fraction (0.02 is 2 %), seconds, or a number",
        "canary": "the canary's value in the window",
        "control": "control's value in the window",
        "limit": "what the canary must not exceed, given control's value",
        "samples_new": "the canary's requests in the window",
        "samples_old": "control's requests in the window",
        "since": "when the breach began",
        "excursion": "what was counted since the breach began; null without evidence",
        "sentence": "the rule in words",
    },
    ExcursionPayload: {
        "since": "when counting began",
        "canary": "the canary's share of events; of a latency rule, of requests that were too slow",
        "control": "control's share",
        "limit": "what the canary's share must not exceed; null for a latency rule",
        "events_canary": "the canary's events",
        "trials_canary": "the canary's requests",
        "events_control": "control's events",
        "trials_control": "control's requests",
    },
    ExposurePayload: {
        "percent_of_users": "the canary's share of users before the trip, 0 to 100",
        "since": "when the first rule that tripped began to be over its limit; null for a trip by hand",
        "seconds": "from then until the trip was decided",
        "requests": "the canary's requests that were counted since then; null where none were",
        "bad_requests": "how many of them were bad for `rule`",
        "rule": "the rule that counted most of them",
        "first_requests": "true where only each user's first request in five minutes is counted",
        "users": "about how many users had those requests; null where that cannot be said",
    },
    PlanPayload: {
        "stages": "the stages of the plan, in their order",
        "why": "why it is not moving, or what comes next",
    },
    StagePayload: {
        "stage": "its name",
        "percent": "the canary's share of users, 0 to 100",
        "for_seconds": "how long it must be judged",
        "standing": "whether it is over, was skipped, is the one now, or lies ahead",
        "begins": "when it began, or the earliest that it can; null where no one can say",
        "ends": "when it ended, or the earliest that it can; null where no one can say",
    },
    RolePayload: {
        "role": "the role's name",
        "number": "the number of the change in the role's history",
        "change": "what was done",
        "prod": "the model that users get now",
        "candidate": "the model that may come next",
        "previous": "the model that a rollback brings back",
        "prod_before": "the model that users had before; null before the first",
        "by": "who has changed it",
        "reason": "why, as a person typed it or a controller found it",
        "gate_run": "the gate run that it rests on; null where it rests on none",
        "waiver": "whose waiver it rests on instead, until when and why; null where there is none",
        "incident": "the trip that a rollback follows; null where there is none",
    },
    MismatchPayload: {
        "role": "the role's name",
        "slot": "the slot that holds the pin",
        "pinned": "the model that was asked",
        "answered": "the model that the answers name",
        "number": "how many answers named it, as far as the processes that live have counted",
        "processes": "how many processes report it",
    },
    SpendPayload: {
        "scope": "what spends, such as `shadow:ROLLOUT` or `project:NAME`",
        "period": "what the caps are counted over",
        "start": "when the period began",
        "end": "when it ends, and the next one begins",
        "used_micros": "what is spent or may have been by now, in micro-dollars",
        "soft_micros": "over it a person is paged; null without",
        "hard_micros": "the cap; null without",
    },
}
_WORDS: Mapping[tuple[type, str], list[str]] = {
    (PagePayload, "kind"): [kind.value for kind in PageKind],
    (PagePayload, "severity"): list(SEVERITIES),
    (RulePayload, "verdict"): [verdict.value for verdict in Verdict],
    (RulePayload, "reason"): [reason.value for reason in Reason],
    (RulePayload, "unit"): [unit.value for unit in Unit],
    (StagePayload, "standing"): ["done", "skipped", "now", "to come"],
    (RolePayload, "change"): [change.value for change in RoleChange],
    (MismatchPayload, "slot"): [slot.value for slot in Slot],
    (SpendPayload, "period"): [period.value for period in Period],
}
_TIMES = frozenset({"ts", "since", "start", "end", "begins", "ends"})


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a webhook's body."""
    definitions = {model.__name__: _object(model) for model in MEANINGS}
    page = definitions.pop(PagePayload.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kill switch page",
        "$defs": {**definitions, PagePayload.__name__: page},
        "$ref": f"#/$defs/{PagePayload.__name__}",
    }


def _object(model: type) -> dict[str, Any]:
    hints = get_type_hints(model, include_extras=True)
    required = [name for name, hint in hints.items() if get_origin(hint) is not NotRequired]
    properties = {
        name: {**_property(model, name, hint), "description": MEANINGS[model][name]} for name, hint in hints.items()
    }
    return {
        "type": "object",
        "description": (model.__doc__ or "").strip(),
        "properties": properties,
        "required": required,
    }


def _property(model: type, name: str, hint: Any) -> dict[str, Any]:
    schema = _type(get_args(hint)[0] if get_origin(hint) is NotRequired else hint)
    words = _WORDS.get((model, name))
    if words is not None:
        nullable = "null" in schema["type"]
        return {"enum": [*words, *([None] if nullable else [])]}
    return {**schema, "format": "date-time"} if name in _TIMES else schema


def _type(hint: Any) -> dict[str, Any]:
    if is_typeddict(hint):
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if get_origin(hint) is list:
        return {"type": "array", "items": _type(get_args(hint)[0])}
    if get_origin(hint) in (Union, UnionType):
        parts = [_type(part) for part in get_args(hint)]
        if all(part.keys() == {"type"} for part in parts):
            return {"type": [part["type"] for part in parts]}
        return {"anyOf": parts}
    return {"type": _PRIMITIVES[hint]}


# --- the documented example ----------------------------------------------------------------------

_AT = 1_776_629_531.0  # 2026-04-19T20:12:11Z
_EXAMPLE = Finding(
    rule="refusal_rate",
    verdict=Verdict.BREACH,
    reason=None,
    sentence="refusal_rate 28.0% (canary, 53 of 189 since 20:10:30) over control 1.2% + 5.0 pp; chance of this by luck "
    "under 1 in 410",
    unit=Unit.FRACTION,
    canary=0.054,
    control=0.012,
    limit=0.062,
    samples_canary=1842.0,
    samples_control=35160.0,
    over=False,
    since=_AT - 101,
    evidence=412.0,
    needed=400.0,
    excursion=Excursion(_AT - 101, 53.0, 189.0, 41.0, 3410.0, 0.062),
)


def example() -> Page:
    """A trip by evidence: what the documentation shows."""
    incident = Incident(
        rollout="support-copilot", generation=7, automatic=True, by="killswitch-0", reason=_EXAMPLE.sentence,
        rules=("refusal_rate",), findings=(_EXAMPLE,), decided_at=_AT, control="model-old", canary="model-new",
        percent_before=5.0, stage_before="ramp_5", tick=_AT - 5, window=300.0,
    )  # fmt: skip
    settings = PageSettings(
        slack="#llm-oncall",
        mention="<!here>",
        runbook="https://wiki.example.org/llm-canary",
        public_url="https://killswitch.example.org",
    )
    return events.tripped(incident, settings)


def reference() -> str:
    """The text of ``docs/webhook.md``."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    page = example()
    yield "# Pages as JSON"
    yield ""
    yield "<!-- Generated: `python -m killswitch.pages.receivers.webhook_schema`. Change that, not this file. -->"
    yield ""
    yield "`KILLSWITCH_WEBHOOK_URL_FILE` names a file with an address. Each page is posted there as JSON. An answer of"
    yield "2xx counts as taken. After anything else the page is tried again, so it may arrive twice."
    yield ""
    yield "| header | what it says |"
    yield "|---|---|"
    yield "| `Idempotency-Key` | the page's id, the same for every copy; drop what you have seen |"
    yield "| `X-Killswitch-Possible-Repeat` | `true` where an earlier copy may have arrived |"
    yield "| `webhook-id`, `webhook-timestamp`, `webhook-signature` | [signature](receivers.md#webhook) |"
    yield ""
    yield "[webhook.schema.json](webhook.schema.json) is the JSON Schema. The first seven names and their meanings are"
    yield "fixed. Names may be added: ignore those you do not know."
    yield ""
    yield "## An example"
    yield ""
    yield from _fenced({**page.payload, "possible_repeat": False})
    for model in MEANINGS:
        yield f"## {model.__name__.removesuffix('Payload')}"
        yield ""
        yield (model.__doc__ or "").strip()
        yield ""
        yield "| name | type | what it is |"
        yield "|---|---|---|"
        for name, schema in _object(model)["properties"].items():
            yield f"| `{name}` | {_in_words(schema)} | {schema['description']} |"
        yield ""
    yield "## A receiver that refuses the document"
    yield ""
    yield "After an answer of 400, 413, 415 or 422 a short document follows at once, under the same key. It has no"
    yield "nested objects. It has some of the fields above. `text` holds the page in words, escaped for Slack, the"
    yield "mention first. So the address of a Slack incoming webhook works as well."
    yield ""
    yield from _fenced(short_document(page, possible_repeat=False))


def _fenced(document: Mapping[str, Any]) -> Iterator[str]:
    yield "```json"
    yield json.dumps(document, indent=2, ensure_ascii=False)
    yield "```"
    yield ""


def _in_words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{word}`" if word is not None else "null" for word in schema["enum"][:3]) + (
            ", …" if len(schema["enum"]) > 3 else ""
        )
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].removesuffix("Payload")
    if "anyOf" in schema:
        return " or ".join(_in_words(part) for part in schema["anyOf"])
    if schema["type"] == "array":
        return f"list of {_in_words(schema['items'])}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join("time" if kind == "string" and "format" in schema else kind for kind in kinds)


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; the exit code."""
    current = {SCHEMA: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", DOCS: reference()}
    return write_or_check(
        current, command="python -m killswitch.pages.receivers.webhook_schema", check="--check" in arguments
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
