"""Evidence as plain JSON values, for storing it instead of replaying history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from killswitch.errors import BadDocument
from killswitch.verdicts.evidence.detector import ALTERNATIVES, DetectorSpec, Evidence, start
from killswitch.verdicts.evidence.dispersion import History, Past
from killswitch.verdicts.evidence.evariables import Array

FORMAT = 1
_HISTORIES = tuple(field.name for field in fields(Past))
# the state besides the past, and the value that null means
_STATE = {"log_sums": -np.inf, "excursions": 0.0, "since": np.nan}


def to_document(evidence: Evidence) -> dict[str, Any]:
    """The state as plain JSON values. Numbers that are not finite become null; specs become their keys, as texts."""
    past = {
        name: {field.name: _plain(getattr(getattr(evidence.past, name), field.name)) for field in fields(History)}
        for name in _HISTORIES
    }
    return {
        "format": FORMAT,
        "alternatives": list(ALTERNATIVES),
        "rules": [str(spec.key) for spec in evidence.specs],
        "past": past,
        **{name: _plain(getattr(evidence, name)) for name in _STATE},
    }


def from_document(document: Mapping[str, Any], specs: Sequence[DetectorSpec]) -> Evidence:
    """The inverse of `to_document`, for the same specs. Raises BadDocument for anything else."""
    fresh = start(specs)
    expected = {"format": FORMAT, "alternatives": list(ALTERNATIVES), "rules": [str(spec.key) for spec in specs]}
    for name, value in expected.items():
        if document.get(name) != value:
            found = f"{document.get(name)!r:.80}"
            raise BadDocument(f"stored evidence: {name} is {found}, need {value!r:.80}; replay instead")
    past = document.get("past")
    histories = (
        _history(past.get(name) if isinstance(past, Mapping) else None, getattr(fresh.past, name))
        for name in _HISTORIES
    )
    log_sums, excursions, since = (
        _array(document, name, getattr(fresh, name), missing) for name, missing in _STATE.items()
    )
    return replace(fresh, past=Past(*histories), log_sums=log_sums, excursions=excursions, since=since)


def _plain(array: Array) -> list[Any]:
    values: Any = array.astype(object)
    values[~np.isfinite(array)] = None
    plain: list[Any] = values.tolist()
    return plain


def _history(document: object, like: History) -> History:
    if not isinstance(document, Mapping):
        raise BadDocument("stored evidence: a history is missing; replay instead")
    return History(*(_array(document, field.name, getattr(like, field.name), 0.0) for field in fields(History)))


def _array(document: Mapping[str, Any], name: str, like: Array, missing: float) -> Array:
    try:
        values = np.array(document[name], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BadDocument(f"stored evidence: {name} cannot be read ({error}); replay instead") from error
    if values.shape != like.shape:
        raise BadDocument(f"stored evidence: {name} has shape {values.shape}, need {like.shape}; replay instead")
    return np.where(np.isnan(values), missing, values)
