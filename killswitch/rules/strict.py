"""The base of every section of a rule file: unknown keys are refused, and nothing changes once it is read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A mapping with known keys alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)
