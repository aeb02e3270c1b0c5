"""A judge's settings: a YAML or JSON file with a `judge:` section, checked, all problems at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from killswitch.errors import BadSettings
from killswitch.refused_value import refused_value
from killswitch.rules.document import read_document
from killswitch.shadow.judge.endpoint import Api, TokensField, endpoint_url
from killswitch.shadow.judge.opinions import JudgedBy
from killswitch.shadow.judge.prompt import DEFAULT_RUBRIC, RUBRIC_BYTES, VERSION, rubric_hash
from killswitch.wording import plain


class JudgeSettings(BaseModel):
    """Which model judges, by which rubric, how much of the traffic, and for how much."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="The judge's model, of another family than the canary's.")
    url: str = Field(description="The API's base, such as https://api.openai.com/v1.")
    protocol: Api = Field("openai", description="openai (chat completions) or anthropic (messages).")
    key_file: Path | None = Field(None, description="A file with the judge's own API key, read again with each call.")
    ca_file: Path | None = Field(None, description="PEM file of the authorities that sign the endpoint's certificate.")
    proxy: str | None = Field(None, description="URL of an HTTP proxy; the environment's is not used.")
    rubric: str = Field(DEFAULT_RUBRIC, min_length=1, description="What makes an answer the better one.")
    share: float = Field(0.05, ge=0, le=1, description="Share of the recorded pairs that `--kept` judges, 0 to 1.")
    repeat_share: float = Field(0.1, ge=0, le=1, description="Share of the judged pairs that is asked twice, 0 to 1.")
    max_pairs_a_day: int | None = Field(500, ge=1, description="Pairs judged in a day (UTC); null: as a cap allows.")
    max_dollars_a_day: Decimal | None = Field(
        None, gt=0, le=100_000, description="A hard cap in the spend ledger, for all processes; needs `prices_file`."
    )
    prices_file: Path | None = Field(None, description="The spend ledger's file of prices.")
    max_output_tokens: int = Field(400, ge=16, le=32_000, description="Tokens of a reply; reasoning models need more.")
    temperature: float | None = Field(0.0, ge=0, le=2, description="null: not sent, for models that refuse it.")
    tokens_field: TokensField = Field("max_tokens", description="What the API calls the limit of a reply.")
    timeout_seconds: float = Field(60.0, gt=0, le=600, description="For one call, in total.")
    call_seconds: float = Field(120.0, gt=0, le=3600, description="For one question with its retries.")
    wait_hours: float = Field(24.0, gt=0, le=720, description="How long a pair's texts wait to be judged, at most.")
    keep_reasons: bool = Field(False, description="Keep the judge's own words. They may quote the answers.")
    insist: bool = Field(False, description="Judge a canary of the judge's own family all the same.")

    @property
    def by(self) -> JudgedBy:
        """Under which the verdicts stand: another model or rubric judges from the start."""
        return JudgedBy(self.model, rubric_hash(self.rubric), VERSION)


MAX_BYTES = 256 * 1024


def load_judge_settings(path: Path | None, **given: Any) -> JudgeSettings:
    """The file's `judge:` section, or the whole file if it has none, under what was ``given`` and is not None.

    Raises BadSettings with every problem.
    """
    section: dict[str, Any] = {}
    if path is not None:
        section = _section(path)
    return judge_settings({**section, **{name: value for name, value in given.items() if value is not None}})


def judge_settings(section: Mapping[str, Any]) -> JudgeSettings:
    """Raises BadSettings with every problem."""
    try:
        settings = JudgeSettings.model_validate(dict(section))
    except ValidationError as error:
        raise BadSettings([_in_words(detail) for detail in error.errors(include_url=False)]) from None
    problems = []
    if len(settings.rubric.encode(errors="replace")) > RUBRIC_BYTES:
        problems.append(f"judge, rubric: it has more than {RUBRIC_BYTES:,} bytes; shorten it")
    if settings.max_dollars_a_day is not None and settings.prices_file is None:
        problems.append(
            "judge, prices_file: it is missing; write it, because `max_dollars_a_day` needs the judge's price"
        )
    try:
        endpoint_url(settings.url, settings.protocol)
    except BadSettings as error:
        problems += error.problems
    if problems:
        raise BadSettings(problems)
    return settings


def _section(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadSettings([f"{path} cannot be read ({error.strerror}); name the judge's settings"]) from error
    document = read_document(content)
    if document.problems:
        raise BadSettings([f"{path}:{problem.line}: {problem.what}; {problem.fix}" for problem in document.problems])
    value = document.value
    section = value.get("judge", value) if isinstance(value, dict) else value
    if not isinstance(section, dict):
        raise BadSettings([f"{path}: write a `judge:` section with `model:` and `url:` in it"])
    return section


def _in_words(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"judge, {name}: it is missing; write `{name}:` in the judge's settings, or give --{name}"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, JudgeSettings.model_fields, 1)
        fix = f"did you mean {near[0]}?" if near else "see docs/shadow-judge.md"
        return f"judge, {plain(name, 60)}: unknown; {fix}"
    return f"judge, {name}: {plain(refused_value(detail), 300)}"
