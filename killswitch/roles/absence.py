"""Whether an answer of a provider says that a model is gone. Down, slow, busy or refused is not gone."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any

# codes of OpenAI, Azure OpenAI and Bedrock that say nothing but this
_CODES = frozenset({"model_not_found", "deploymentnotfound", "modeldeprecated", "model_deprecated"})
_GONE = (404, 410)
_ROUTE = re.compile(r"(?i)\b(?:route|url|path|endpoint)\b|/v\d")
_MAX_BODY = 20_000  # characters of a body that are looked at


class Absence(StrEnum):
    """How clearly a provider says it. CLEAR: its error names the model, or has a code for it. UNCLEAR: a bare 404."""

    CLEAR = "CLEAR"
    UNCLEAR = "UNCLEAR"


def absence_of(status: int, body: str, model: str) -> Absence | None:
    """What a response with this HTTP status and body says about ``model``; None where it says nothing about it.

    A 404 with a page of HTML comes from a wrong address or a proxy as often as from a model that is gone: UNCLEAR.
    """
    if status not in _GONE:
        return None
    try:
        document = json.loads(body[:_MAX_BODY])
    except (ValueError, RecursionError):
        return Absence.UNCLEAR
    for error in _errors(document):
        code = error.get("code")
        if isinstance(code, str) and code.lower() in _CODES:
            return Absence.CLEAR
        if _names(str(error.get("message", "")), model):
            return Absence.CLEAR
    return Absence.UNCLEAR


def _errors(document: Any) -> list[dict[str, Any]]:
    """The error objects of a body: some providers wrap it in ``error``, some in a list, some in nothing."""
    found = document[:1] if isinstance(document, list) else [document]
    wrapped = [one.get("error") for one in found if isinstance(one, dict)]
    return [one for one in (*wrapped, *found) if isinstance(one, dict)]


def _names(message: str, model: str) -> bool:
    """Whether the message is about the model: its id, with or without the provider's prefix, as a whole word.

    A proxy without the route repeats the path that was asked, and some paths have the model in them.
    """
    if _ROUTE.search(message):
        return False
    names = {model, model.rpartition("/")[2]}
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", message) for name in names if name)
