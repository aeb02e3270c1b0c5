"""The OpenFeature Remote Evaluation Protocol (OFREP 0.1 to 0.3), server side: from flags to its documents.

``POST /ofrep/v1/evaluate/flags/{key}`` is `evaluate`, ``POST /ofrep/v1/evaluate/flags`` is `evaluate_all`. A
flag's key is the rollout's name and its value the model that serves the context's ``targetingKey``; its
variants are ``control`` and ``canary``. A role is ``role:<name>``, its value the model of slot ``prod``, or of the
context's ``slot``. Pure: the code that mounts them reads the store, and says when it cannot.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from killswitch.errors import BadDocument
from killswitch.flags.bucketing import bucket, obeyed_percent, serves_canary
from killswitch.flags.flag import Flag
from killswitch.roles.references import PREFIX
from killswitch.roles.role import Slot
from killswitch.wording import plain

MAX_BODY_BYTES = 64 * 1024
PIN = "cohort"  # the context attribute that pins a session while the flag is armed
SLOT = "slot"  # the context attribute that asks for another slot of a role than prod
Models = Mapping[str, Mapping[str, str]]  # by role and slot


@dataclass(frozen=True, slots=True)
class OfrepAnswer:
    """One HTTP answer. ``document`` is its JSON, None for 304; ``etag`` is a header's value, quotes included."""

    status: int
    document: dict[str, Any] | None
    etag: str | None = None

    @property
    def body(self) -> bytes:
        return b"" if self.document is None else _canonical(self.document)


def context_of(body: bytes) -> dict[str, Any]:
    """The evaluation context of a request's body. Raises BadDocument, with the code that OFREP has for it in front."""
    if len(body) > MAX_BODY_BYTES:
        raise BadDocument(f"INVALID_CONTEXT: the body has {len(body)} bytes, over {MAX_BODY_BYTES}")
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"PARSE_ERROR: the body is not JSON ({error})") from error
    context = document.get("context", {}) if isinstance(document, dict) else None
    if not isinstance(context, dict):
        raise BadDocument("INVALID_CONTEXT: give a JSON object with a context object")
    return context


def evaluate(flags: Mapping[str, Flag], key: str, body: bytes, *, stale: bool = False) -> OfrepAnswer:
    """One flag for one user. ``stale``: the flags could not be read of late; then everyone is sent to control."""
    flag = flags.get(key)
    if flag is None:
        known = ", ".join(sorted(flags)) or "none"
        details = f"no rollout is called {key!r:.80}; known: {known:.500}"
        return OfrepAnswer(404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": details})
    try:
        context = context_of(body)
        return OfrepAnswer(200, _evaluation(flag, context, _targeting_key(context), stale=stale))
    except BadDocument as error:
        return OfrepAnswer(400, {"key": key, **_failure(error)})


def evaluate_role(roles: Models, key: str, body: bytes, *, stale: bool = False) -> OfrepAnswer:
    """The model of one slot of a role, the same for every user. ``key``: ``role:<name>``. A typo gives no model."""
    try:
        slot = context_of(body).get(SLOT, Slot.PROD.value)
    except BadDocument as error:
        return OfrepAnswer(400, {"key": key, **_failure(error)})
    name = key.removeprefix(PREFIX)
    models = roles.get(name)
    if models is not None and isinstance(slot, str) and slot in models:
        return OfrepAnswer(200, _role_evaluation(name, slot, models[slot], stale=stale))
    if models is None:
        details = f"no role is called {plain(name, 80)!r}; known: {', '.join(sorted(roles))[:500] or 'none'}"
    else:
        details = f"slot {plain(str(slot), 80)!r} of role {name} has no model; slots with one: {', '.join(models)}"
    return OfrepAnswer(404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": details})


def _role_evaluation(role: str, slot: str, model: str, *, stale: bool) -> dict[str, Any]:
    return {
        "key": PREFIX + role,
        "value": model,
        "variant": slot,
        "reason": "STALE" if stale else "STATIC",
        "metadata": {"role": role, "slot": slot},
    }


def evaluate_all(
    flags: Mapping[str, Flag],
    body: bytes,
    *,
    if_none_match: str | None = None,
    stale: bool = False,
    roles: Models | None = None,
    roles_stale: bool = False,
) -> OfrepAnswer:
    """Every flag for one user, and the context's ``slot`` of every role that has a model there.

    304 when the client's ``If-None-Match`` names what would be answered.
    """
    try:
        context = context_of(body)
        user = _targeting_key(context)
    except BadDocument as error:
        return OfrepAnswer(400, _failure(error))
    evaluations = [_evaluation(flags[key], context, user, stale=stale) for key in sorted(flags)]
    slot = context.get(SLOT, Slot.PROD.value)
    evaluations += [
        _role_evaluation(name, slot, models[slot], stale=roles_stale)
        for name, models in sorted((roles or {}).items())
        if isinstance(slot, str) and slot in models
    ]
    document: dict[str, Any] = {"flags": evaluations}
    etag = etag_of(document)
    if matches(if_none_match, etag):
        return OfrepAnswer(304, None, etag)
    return OfrepAnswer(200, document, etag)


def etag_of(document: object) -> str:
    """A strong entity tag (RFC 9110, 8.8.3) of a JSON document."""
    return f'"{hashlib.sha256(_canonical(document)).hexdigest()[:32]}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names ``etag``, by the weak comparison that RFC 9110, 13.1.2 asks for."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")]
    return "*" in candidates or etag in candidates


def _targeting_key(context: Mapping[str, Any]) -> str:
    user = context.get("targetingKey")
    if not isinstance(user, str):
        raise BadDocument("TARGETING_KEY_MISSING: set the context's targetingKey to the user's routing key, a text")
    return user


def _evaluation(flag: Flag, context: Mapping[str, Any], user: str, *, stale: bool) -> dict[str, Any]:
    pin = context.get(PIN)
    if stale or not flag.armed:
        done = flag.completion is not None
        canary, reason = False, "STATIC" if done else "STALE" if stale else "DISABLED"
    elif serves_canary(flag) and pin in ("control", "canary"):
        canary, reason = pin == "canary", "TARGETING_MATCH"
    else:
        canary, reason = bucket(flag.salt, user) < obeyed_percent(flag), "SPLIT"
    return {
        "key": flag.rollout,
        "value": flag.canary if canary else flag.control,
        "variant": "canary" if canary else "control",
        "reason": reason,
        "metadata": {"generation": flag.generation, "state": flag.state.value, "stage": flag.stage},
    }


def _failure(error: BadDocument) -> dict[str, Any]:
    code, _, details = str(error).partition(": ")
    return {"errorCode": code, "errorDetails": details}


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
