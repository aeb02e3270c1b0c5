"""What the chart's schema lets a setting be: made from the daemon's own types, so that `helm` refuses what it would."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from killswitch.daemon.setting_values import Seconds
from killswitch.daemon.settings import Settings

# The chart sets these from other values, and a wrong one would be a daemon that no one reaches.
OF_THE_CHART = ("rules", "roles", "listen", "host_names", "controller_id")
_NO_SECRET = ("scrape_file",)

_TEXT = {"type": ["string", "boolean", "integer"]}
_KEY = {"type": "string", "pattern": "^[A-Za-z0-9._-]+$"}
_DURATION = {"type": "string", "pattern": r"^ *([0-9]*\.?[0-9]+ ?(ms|s|m|h|d) ?){1,5}$"}
# One file for each pod would be a flag for each pod. Empty where the chart makes the etcd.
_STORE = {"type": "string", "pattern": "^(etcds?://.+)?$"}
_SOURCE = {"type": "string"}


def secret_settings() -> list[str]:
    """The settings that name the file of a secret or of a certificate."""
    return [name for name in Settings.model_fields if name.endswith("_file") and name not in _NO_SECRET]


def plain_settings() -> list[str]:
    """The settings that a user of the chart may give as they are."""
    return [name for name in Settings.model_fields if name not in {*OF_THE_CHART, *secret_settings()}]


def settings_schema() -> dict[str, Any]:
    """Of `settings`. helm takes a ``null`` away before it looks here."""
    return _object({name: _allowed(name) for name in plain_settings()})


def secret_files_schema() -> dict[str, Any]:
    """Of `secretFiles`: each value is a key of a Secret."""
    return _object(dict.fromkeys(secret_settings(), _KEY))


def _object(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    fields = Settings.model_fields
    described = {
        name: {"description": fields[name].description or "", **properties[name]} for name in sorted(properties)
    }
    return {"type": "object", "properties": described, "additionalProperties": False}


def _allowed(name: str) -> dict[str, Any]:
    if name in ("store", "source"):
        return _STORE if name == "store" else _SOURCE
    field = Settings.model_fields[name]
    if field.annotation is float and get_args(Seconds)[1] in field.metadata:
        return _DURATION
    if field.annotation is bool:
        return {"enum": [True, False, "true", "false"]}
    choices = _choices(field.annotation)
    return {"enum": choices} if choices else _TEXT


def _choices(annotation: Any) -> list[str]:
    """The words of a ``Literal``, also of one that may be left out."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [word for part in get_args(annotation) for word in _choices(part)]
    return []
