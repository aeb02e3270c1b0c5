"""What pydantic refuses in a rule file, in words: where, what is wrong, and a fix."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, ValidationError

from killswitch.refused_value import refused_value
from killswitch.rules.document import Path
from killswitch.rules.drill_keys import DrillSpec
from killswitch.rules.plan_keys import PlanSpec, PlanStageSpec
from killswitch.rules.schema import (
    DEFAULT_RULES,
    CohortQueries,
    CohortsSpec,
    MetricsSpec,
    PageSpec,
    RuleFile,
    RuleSpec,
    ShadowSpec,
    SpendCapSpec,
    SpendSpec,
)
from killswitch.rules.selectors import SelectorError
from killswitch.rules.slow_schema import SlowScheduleSpec, SlowSignalSpec, SlowSpec, SlowUsersSpec
from killswitch.rules.units import UnitError, shown
from killswitch.rules.values import Wrong


def problems_of(
    error: ValidationError,
    *,
    known: Callable[[Path], tuple[str, ...]] | None = None,
    unknown: Callable[[Path], str] | None = None,
    docs: str = "docs/rules.md",
) -> Iterator[tuple[Path, str, str]]:
    """Each error of a `RuleFile`, or of another kind of file, as (path, what is wrong, fix).

    ``known``: the keys under a path. ``unknown``: the fix for an unknown key.
    """
    known, unknown = known or keys_at, unknown or _fix_of_unknown
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        cause = detail.get("ctx", {}).get("error")
        where = in_words(path)
        if isinstance(cause, Wrong | UnitError | SelectorError):
            yield path, f"{where}: {cause.what}", cause.fix
        elif detail["type"] == "missing":
            yield path, f"{where} is missing", f"add `{path[-1]}: …`"
        elif detail["type"] == "extra_forbidden":
            yield path, f"unknown key {where}", unknown(path)
        elif detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
            yield path, f"{where}: must be a mapping", f"write its keys indented under it: {_some(known(path))}"
        elif detail["type"] == "tuple_type":
            yield path, f"{where}: must be a list", "write one entry a line, each beginning with `- `"
        else:
            yield path, f"{where}: {refused_value(detail)}", f"see {docs}"


def in_words(path: Path) -> str:
    """``rules.error_rate.max``: where in the file, on one printable line."""
    return ".".join(
        part if str(part).isprintable() and len(str(part)) <= 60 else shown(part) for part in map(str, path)
    )


def keys_at(path: Path) -> tuple[str, ...]:
    """The known keys under a path."""
    if path == ("rules",):
        return tuple(DEFAULT_RULES)
    nested: Mapping[str, type[BaseModel]] = {
        "metrics": MetricsSpec,
        "page": PageSpec,
        "cohorts": CohortsSpec,
        "query": CohortQueries,
        "shadow": ShadowSpec,
        "spend": SpendSpec,
        "plan": PlanSpec,
        "slow": SlowSpec,
        "drill": DrillSpec,
        "users": SlowUsersSpec,
        "every": SlowScheduleSpec,
    }
    if len(path) == 3 and path[:2] == ("spend", "caps"):
        return tuple(SpendCapSpec.model_fields)
    if len(path) == 3 and path[:2] == ("plan", "stages"):
        return tuple(known.alias or name for name, known in PlanStageSpec.model_fields.items())
    if len(path) == 3 and path[:2] == ("slow", "signals"):
        return tuple(SlowSignalSpec.model_fields)
    model = RuleFile if not path else RuleSpec if path[0] == "rules" and len(path) == 2 else nested.get(str(path[-1]))
    return tuple(known.alias or name for name, known in model.model_fields.items()) if model is not None else ()


def _fix_of_unknown(path: Path) -> str:
    known, word = keys_at(path[:-1]), str(path[-1])
    section = _belongs_under(word) if len(path) == 1 else None
    if section is None:
        return did_you_mean(word, known)
    # `metric` is a key of `metrics:`, and more often a misspelling of it
    return f"did you mean {word}s? Or {section}" if f"{word}s" in known else section


def _belongs_under(key: str) -> str | None:
    """A fix for a key at the top of the file that belongs in a section."""
    sections = {"rules": keys_at(("rules",)), "page": keys_at(("page",)), "metrics": keys_at(("metrics",))}
    found = next((section for section, known in sections.items() if key in known), None)
    return f"indent it under `{found}:`" if found is not None else None


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """A fix for a misspelled word."""
    close = difflib.get_close_matches(word[:80].lower().replace("-", "_"), known, 1, 0.6)
    return f"did you mean {close[0]}?" if close else f"remove it; known here: {_some(known)}"


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(words) if words else "nothing"
