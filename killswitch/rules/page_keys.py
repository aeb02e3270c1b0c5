"""The values of section `page` that name receivers: their addresses, and which of them get which severity."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from killswitch.page_addresses import RECEIVERS, SILENT, Routes
from killswitch.rules.units import shown
from killswitch.rules.values import KEY_NAME_PATTERN, Wrong, text_of

SEVERITIES = ("critical", "error", "warning", "info")
MAX_ADDRESSES = 20
NAME_SOMEONE = "name a receiver that pages people under that severity, or remove the severity: then all get such pages"
# an address that needs no quoting in a mail's header, as every mail server takes it
MAIL_PATTERN = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


def _mail(value: object) -> str:
    text = text_of(value, 320)
    if not re.fullmatch(MAIL_PATTERN, text, re.ASCII):
        raise Wrong(f"{shown(text)} is not a mail address", "write it like oncall@example.org, without a name")
    return text


def _mails(value: object) -> tuple[str, ...]:
    addresses = tuple(_mail(one) for one in (value if isinstance(value, list) else [value]))
    if not 1 <= len(addresses) <= MAX_ADDRESSES:
        raise Wrong(f"{len(addresses)} mail addresses", f"write 1 to {MAX_ADDRESSES}, or remove the key")
    return tuple(dict.fromkeys(addresses))


def _secret_name(what: str, setting: str) -> PlainValidator:
    def read(value: object) -> str:
        text = text_of(value, 100)
        if not re.fullmatch(_NAME, text, re.ASCII) or not re.match(KEY_NAME_PATTERN, text):
            raise Wrong(f"not the name of {what}", f"write a name such as `search`, as in the file of {setting}")
        return text

    return PlainValidator(read)


def _routes(value: object) -> Routes:
    if not isinstance(value, dict) or not value:
        raise Wrong("must be a mapping of severities", "write it like `{critical: [slack, pagerduty], info: []}`")
    unknown = [severity for severity in value if severity not in SEVERITIES]
    if unknown:
        raise Wrong(f"{shown(str(unknown[0]))} is not a severity", f"use {', '.join(SEVERITIES)}")
    routes = {severity: _receivers(severity, value[severity]) for severity in SEVERITIES if severity in value}
    if "critical" in routes and not {*routes["critical"]} - SILENT:
        raise Wrong(
            "critical pages would reach no one",
            "name a receiver that pages people under `critical`, such as `critical: [slack, pagerduty]`, "
            "or remove `critical`: then all receivers get such pages",
        )
    return tuple(routes.items())


def _receivers(severity: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong(f"{severity} must be a list of receivers", f"write it like `{severity}: [slack]`, or `[]` for none")
    for name in value:
        if name not in RECEIVERS:
            close = difflib.get_close_matches(str(name).lower(), RECEIVERS, 1, 0.5)
            known = ", ".join(RECEIVERS)
            fix = f"did you mean {close[0]}? It is one of {known}" if close else f"use {known}"
            raise Wrong(f"{severity}: {shown(str(name))} is not a receiver", fix)
    return tuple(dict.fromkeys(str(name) for name in value))


_MAIL_SCHEMA = {"type": "string", "pattern": f"^{MAIL_PATTERN}$", "maxLength": 320}
_NAME_SCHEMA = WithJsonSchema({"type": "string", "pattern": KEY_NAME_PATTERN})
MailAddresses = Annotated[
    tuple[str, ...],
    PlainValidator(_mails),
    WithJsonSchema(
        {"anyOf": [_MAIL_SCHEMA, {"type": "array", "items": _MAIL_SCHEMA, "minItems": 1, "maxItems": MAX_ADDRESSES}]}
    ),
]
TeamsName = Annotated[str | None, _secret_name("a Teams channel", "KILLSWITCH_TEAMS_URLS_FILE"), _NAME_SCHEMA]
OpsgenieName = Annotated[
    str | None, _secret_name("an Opsgenie key", "KILLSWITCH_OPSGENIE_TEAM_KEYS_FILE"), _NAME_SCHEMA
]
_NAMES_SCHEMA: Mapping[str, object] = {"type": "array", "items": {"type": "string", "enum": list(RECEIVERS)}}
Receivers = Annotated[
    Routes,
    PlainValidator(_routes),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                severity: {**_NAMES_SCHEMA, **({"minItems": 1} if severity == "critical" else {})}
                for severity in SEVERITIES
            },
            "additionalProperties": False,
            "minProperties": 1,
        }
    ),
]
