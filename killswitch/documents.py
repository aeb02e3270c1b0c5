"""Reading stored JSON documents field by field, so that a refusal names the document and the field."""

from __future__ import annotations

import json
import math
from typing import Any

from killswitch.errors import BadDocument
from killswitch.timestamps import from_iso


def finite(value: float | None) -> float | None:
    """The number as JSON can hold it: None for what is not finite."""
    return value if value is not None and math.isfinite(value) else None


def parse_object(value: bytes, where: str, *, max_bytes: int) -> Fields:
    """The JSON object in ``value``. Raises BadDocument for anything else, or for more than ``max_bytes``."""
    if len(value) > max_bytes:
        raise BadDocument(f"{where}: {len(value)} bytes, over {max_bytes}")
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"{where}: not JSON ({error})") from error
    return Fields(document, where)


class Fields:
    """Typed access to one JSON object. Every method raises BadDocument when the field is not what it says."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise BadDocument(f"{where}: not a JSON object")
        self.raw: dict[str, Any] = document
        self.where = where

    def text(self, name: str, *, empty: bool = False) -> str:
        value = self.raw.get(name)
        if not isinstance(value, str) or (not value and not empty):
            raise self._refusal(name, "a text")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self.raw.get(name) is None else self.text(name, empty=True)

    def integer(self, name: str) -> int:
        value = self.raw.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._refusal(name, "a whole number")
        return value

    def number(self, name: str) -> float:
        value = self.raw.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._refusal(name, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._refusal(name, "a finite number")
        return number

    def optional_number(self, name: str) -> float | None:
        return None if self.raw.get(name) is None else self.number(name)

    def flag(self, name: str) -> bool:
        value = self.raw.get(name)
        if not isinstance(value, bool):
            raise self._refusal(name, "true or false")
        return value

    def time(self, name: str) -> float:
        """Unix seconds of an ISO 8601 time."""
        text = self.text(name)
        try:
            return from_iso(text)
        except BadDocument as error:
            raise BadDocument(f"{self.where}: {name}: {error}") from error

    def optional_time(self, name: str) -> float | None:
        return None if self.raw.get(name) is None else self.time(name)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.raw.get(name)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self._refusal(name, "a list of texts")
        return tuple(value)

    def objects(self, name: str) -> tuple[Fields, ...]:
        value = self.raw.get(name)
        if not isinstance(value, list):
            raise self._refusal(name, "a list of objects")
        return tuple(Fields(entry, f"{self.where}, {name}") for entry in value)

    def _refusal(self, name: str, wanted: str) -> BadDocument:
        return BadDocument(f"{self.where}: {name} must be {wanted}, got {self.raw.get(name)!r:.80}")
