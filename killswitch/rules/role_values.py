"""The kinds of value that a role file alone holds: one reader each, with the JSON Schema an editor checks it by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import PlainValidator, WithJsonSchema

from killswitch.errors import BadDocument
from killswitch.roles.label_path import label_path
from killswitch.roles.role import check_model, check_role_name
from killswitch.rules import patterns
from killswitch.rules.units import Kind, format_percent, format_ratio, parse_as, parse_quantity, shown
from killswitch.rules.values import Wrong, duration_between, integer_between, one_of, text_of, words_schema
from killswitch.timestamps import DAY

PROVIDERS = ("openai", "anthropic", "gemini", "litellm")
OWN_FUNCTION = r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"
LONGEST_SYSTEM = 256 * 1024  # characters of a system prompt
MAX_PARAMETERS = 50
MAX_ANSWERED_NAMES = 20
# The names by which people write a key down. A key belongs in a file: role files are in git, and problems are logged.
SECRET_NAMES = frozenset(
    {"api_key", "apikey", "key", "token", "api_token", "auth_token", "secret", "password", "authorization", "x_api_key"}
)
# What the gate sends itself; a second value of it would make the two models' calls differ from what is recorded.
_OURS: Mapping[str, str] = {
    "model": "remove it; the role's slots name the models",
    "messages": "remove it; the golden set has the messages",
    "system": "write `system:` at the top of the file",
    "system_instruction": "write `system:` at the top of the file",
    "stream": "remove it; the gate takes whole answers",
    "stream_options": "remove it; the gate takes whole answers",
    "n": "remove it; one answer is compared",
    "timeout": "write `timeout:` at the top of the file",
    "max_tokens": "write `max_output_tokens:` at the top of the file",
    "max_completion_tokens": "write `max_output_tokens:` at the top of the file",
    "max_output_tokens": "write `max_output_tokens:` at the top of the file",
    "extra_headers": "remove it; headers may hold secrets, and the key belongs in a file named by `key_file`",
    "default_headers": "remove it; headers may hold secrets, and the key belongs in a file named by `key_file`",
    "api_base": "write `url:`",
    "base_url": "write `url:`",
    "num_retries": "remove it; the gate retries by itself",
    "max_retries": "remove it; the gate retries by itself",
}
_KEY_ITSELF = re.compile(r"(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}|AIza[A-Za-z0-9_-]{20,}|[A-Za-z0-9_-]{60,}")


def is_secret_name(name: str) -> bool:
    return name.lower().replace("-", "_") in SECRET_NAMES


def _role_name(value: object) -> str:
    text = text_of(value)
    try:
        return check_role_name(text)
    except BadDocument:
        fix = "use at most 63 of a-z, 0-9, _ and -, as in review_triage"
        raise Wrong(f"{shown(text)} is no name of a role", fix) from None


def _provider(value: object) -> str:
    text = text_of(value)
    if re.fullmatch(OWN_FUNCTION, text, re.ASCII):
        return text
    try:
        return str(one_of(*PROVIDERS)(text))
    except Wrong as wrong:
        fix = f"{wrong.fix.replace(' or ', ', ')}, or module:function for a function of your own"
        raise Wrong(f"{shown(text)} is no provider that is known", fix) from None


def _endpoint_url(value: object) -> str:
    text = text_of(value, 2000)
    try:
        parts = urlsplit(text)
        has_user = parts.username is not None or parts.password is not None
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_user, is_url = False, False
    if has_user or "@" in text.partition("://")[2].partition("/")[0]:
        raise Wrong("the address holds a user or a password", "name the file of the key with `key_file`")
    if not is_url or re.search(r"[\s<>|\"`]", text):
        raise Wrong(f"{shown(text)} is not an address", "write the API's base, such as https://api.openai.com/v1")
    if parts.query or parts.fragment:
        raise Wrong("the address has a query or a fragment", "write the API's base alone; keys belong in `key_file`")
    return text


def _file(value: object) -> str:
    return text_of(value, 500)


def _key_file(value: object) -> str:
    text = text_of(value, 500)
    if _KEY_ITSELF.fullmatch(text) or text.lower().startswith("bearer "):
        raise Wrong("this looks like the key itself", "write the key into a file, and the file's name here")
    return text


def _parameters(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("must be a mapping of parameters", "write its keys indented under it, for example `temperature: 0`")
    if len(value) > MAX_PARAMETERS:
        raise Wrong(f"{len(value)} parameters", f"name at most {MAX_PARAMETERS}")
    for name in value:
        if is_secret_name(name):
            raise Wrong(f"{shown(name)} would put a secret into this file", "name the file of the key with `key_file`")
        if name in _OURS:
            raise Wrong(f"{shown(name)} is not set here", _OURS[name])
    return value


def _answered_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ANSWERED_NAMES:
        raise Wrong(
            f"must be a list of 1 to {MAX_ANSWERED_NAMES} model ids", "write it like [gpt-5-2025-08-07], as answers say"
        )
    try:
        return tuple(check_model(text_of(name)) for name in value)
    except BadDocument as error:
        raise Wrong("it holds what is no model's id", "write each id as the answers name it") from error


def _system(value: object) -> str | Mapping[str, str]:
    if isinstance(value, dict):
        return _file_of(value, "system")
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_SYSTEM:
        raise Wrong("neither a text nor {file: …}", "write the prompt as a text (`|`), or `{file: prompt.txt}`")
    return value


def _schema(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("neither a JSON Schema nor {file: …}", "write the schema as a mapping, or `{file: answer.json}`")
    return _file_of(value, "schema") if "file" in value and len(value) == 1 else value


def _file_of(value: Mapping[str, Any], key: str) -> Mapping[str, str]:
    if list(value) != ["file"]:
        raise Wrong("neither a text nor {file: …}", f"write `{key}: {{file: …}}` with that key alone")
    return {"file": text_of(value["file"], 500)}


def _label(value: object) -> str:
    text = text_of(value)
    try:
        label_path(text)
    except BadDocument:
        fix = "write $ (the whole answer), $.label or $.labels[0]"
        raise Wrong(f"{shown(text)} is no path to a label", fix) from None
    return text


def _share(value: object) -> float:
    quantity = parse_quantity(value)
    if quantity.kind not in (Kind.RATIO, Kind.PERCENT) or not 0.0 < quantity.value <= 1.0:
        number = quantity.text.rstrip("%px ")
        fix = (
            f"write {number}% or {format_ratio(quantity.value / 100)}"
            if quantity.kind is Kind.RATIO and 1.0 < quantity.value <= 100.0
            else ("write a share above 0 and at most 1, such as 99% or 0.99")
        )
        raise Wrong(f"{shown(value)} is not a share", fix)
    return quantity.value


def _percent_between(least: float, most: float) -> Any:
    def read(value: object) -> float:
        share = parse_as(Kind.PERCENT, value).value
        if not least <= share <= most:
            raise Wrong(f"{shown(value)} is out of range", f"use {format_percent(least)} to {format_percent(most)}")
        return share

    return read


def _times(value: object) -> float:
    ratio = parse_as(Kind.RATIO, value).value
    if not 0.1 <= ratio <= 100.0:
        raise Wrong(f"{shown(value)} is out of range", "use 0.1 to 100; 1.3 allows a candidate 30 % more than prod has")
    return ratio


RoleName = Annotated[
    str,
    PlainValidator(_role_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"}),
]
Provider = Annotated[
    str,
    PlainValidator(_provider),
    WithJsonSchema({"anyOf": [{"enum": list(PROVIDERS)}, {"type": "string", "pattern": f"^{OWN_FUNCTION}$"}]}),
]
EndpointUrl = Annotated[
    str | None,
    PlainValidator(_endpoint_url),
    WithJsonSchema({"type": "string", "pattern": r"^https?://[^\s<>|\"`@?#]+$", "maxLength": 2000}),
]
_FILE_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"\S", "maxLength": 500})
FileName = Annotated[str | None, PlainValidator(_file), _FILE_SCHEMA]
KeyFile = Annotated[str | None, PlainValidator(_key_file), _FILE_SCHEMA]
_FILE_REFERENCE: Mapping[str, Any] = {
    "type": "object",
    "properties": {"file": {"type": "string"}},
    "required": ["file"],
    "additionalProperties": False,
}
SystemPrompt = Annotated[
    str | Mapping[str, str] | None,
    PlainValidator(_system),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"\S"}, _FILE_REFERENCE]}),
]
AnswerSchema = Annotated[
    Mapping[str, Any] | None, PlainValidator(_schema), WithJsonSchema({"anyOf": [_FILE_REFERENCE, {"type": "object"}]})
]
LabelPlace = Annotated[str, PlainValidator(_label), WithJsonSchema({"type": "string", "pattern": r"^\$"})]
Parameters = Annotated[
    Mapping[str, Any],
    PlainValidator(_parameters),
    WithJsonSchema({"type": "object", "maxProperties": MAX_PARAMETERS}),
]
AnsweredNames = Annotated[
    tuple[str, ...],
    PlainValidator(_answered_names),
    WithJsonSchema(
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_ANSWERED_NAMES},
    ),
]
Share = Annotated[
    float,
    PlainValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^[0-9.]+ ?%?$"},
            ]
        }
    ),
]
Times = Annotated[
    float,
    PlainValidator(_times),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0.1, "maximum": 100}),
]
Wrongness = Annotated[
    float,
    PlainValidator(_percent_between(0.001, 0.2)),
    WithJsonSchema({"type": "string", "pattern": patterns.percent(zero=False)}),
]
UserShare = Annotated[
    float,
    PlainValidator(lambda value: 100.0 * _percent_between(0.0001, 1.0)(value)),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ ?%$"}),
]
CallTimeout = Annotated[
    float,
    PlainValidator(duration_between(1.0, 600.0)),
    WithJsonSchema({"type": "string", "pattern": patterns.duration(longest=600, zero=False, from_a_second=True)}),
]
EvidenceAge = Annotated[
    float,
    PlainValidator(duration_between(60.0, 90 * DAY)),
    WithJsonSchema({"type": "string", "pattern": patterns.duration(longest=90 * 86_400, zero=False)}),
]
OutputTokens = Annotated[
    int,
    PlainValidator(integer_between(1, 1_000_000)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1_000_000}),
]
Fence = Annotated[
    Literal["refused", "allowed"], PlainValidator(one_of("refused", "allowed")), words_schema("refused", "allowed")
]
