"""Holds an answer against its role's schema, and finds the label in it."""

from __future__ import annotations

import re
from typing import Final

from killswitch.gate.answers import Answer, ScoredAnswer
from killswitch.gate.golden import Label
from killswitch.roles.config import RoleConfig
from killswitch.roles.label_path import MISSING, label_path, value_at
from killswitch.rules.answer_schema import AnswerSchema
from killswitch.rules.strict_json import NotJson, canonical, strict_json

MAX_TEXT: Final = 1_000_000  # characters of an answer that is read
MAX_LABEL: Final = 2_000  # characters of a label as JSON
_FENCE: Final = re.compile(r"```[A-Za-z0-9_-]{0,20}[ \t]*\r?\n(.*)\r?\n?```", re.DOTALL)


class Scorer:
    """``scored`` is pure and safe from several threads. The config's schema and label were checked as it was read.

    With a schema, an answer is JSON alone that keeps it; a Markdown fence around it counts only with ``fences:
    allowed``. An answer that breaks the schema has no label: production code cannot use it, so it agrees with nothing.
    Without a schema any text but an empty one will do, and the label is the trimmed text.
    """

    def __init__(self, config: RoleConfig) -> None:
        self._schema = None if config.schema is None else AnswerSchema(config.schema)
        self._path = label_path(config.label)
        self._place = config.label
        self._fenced = config.fenced

    def scored(self, answer: Answer) -> ScoredAnswer:
        """Whether the answer keeps the schema, and its label as canonical JSON; else the problem, in words."""
        if answer.text is None:
            return ScoredAnswer(answer, schema_ok=False, label=None, problem=answer.failure)
        if len(answer.text) > MAX_TEXT:
            said = f"the answer has over {MAX_TEXT:,} characters"
            return ScoredAnswer(answer, schema_ok=False, label=None, problem=said)
        text = answer.text.strip()
        if not text:
            return ScoredAnswer(answer, schema_ok=False, label=None, problem="the answer is empty")
        if self._schema is None:
            return self._labelled(answer, canonical(text))
        return self._held_against(self._schema, answer, text)

    def _held_against(self, schema: AnswerSchema, answer: Answer, text: str) -> ScoredAnswer:
        fence = _FENCE.fullmatch(text)
        if fence is not None and not self._fenced:
            said = "the answer is inside a Markdown fence; write `fences: allowed` if your code removes it"
            return ScoredAnswer(answer, schema_ok=False, label=None, problem=said)
        try:
            value = strict_json(fence[1] if fence is not None else text)
        except NotJson as error:
            return ScoredAnswer(answer, schema_ok=False, label=None, problem=f"the answer is not JSON: {error}")
        problem = schema.problem(value)
        if problem is not None:
            return ScoredAnswer(answer, schema_ok=False, label=None, problem=f"breaks the schema: {problem}")
        found = value_at(value, self._path)
        if found is MISSING:
            said = f"no label at {self._place}; the schema does not require it"
            return ScoredAnswer(answer, schema_ok=True, label=None, problem=said)
        return self._labelled(answer, canonical(found))

    def _labelled(self, answer: Answer, label: Label) -> ScoredAnswer:
        if len(label) > MAX_LABEL:
            said = f"the label has over {MAX_LABEL:,} characters; name its place with `label:`"
            return ScoredAnswer(answer, schema_ok=True, label=None, problem=said)
        return ScoredAnswer(answer, schema_ok=True, label=label, problem=None)
