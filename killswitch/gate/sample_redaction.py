"""Takes personal data out of drawn inputs before a model is asked and before they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from killswitch.gate.golden import Message
from killswitch.gate.sample_sources import SampleRow, spelled
from killswitch.shadow.redaction import Redact

# where a message of any provider holds what people wrote; names of roles, types and tools stay
_TEXTS: Final = frozenset({"content", "text", "arguments", "input", "output"})


@dataclass(frozen=True, slots=True)
class RedactedRows:
    """``changed``: rows of which something was taken out. ``failed``: rows left out, because the hook failed on them.

    ``alike``: rows left out, because they were equal to another one after that.
    """

    rows: tuple[SampleRow, ...]
    changed: int
    failed: int
    alike: int


def redacted_rows(rows: Sequence[SampleRow], redact: Redact) -> RedactedRows:
    """The rows with every text of them redacted."""
    found: dict[bytes, SampleRow] = {}
    changed = failed = 0
    for one in rows:
        try:
            messages = tuple(_message(message, redact) for message in one.messages)
        except Exception:  # noqa: BLE001  a user's hook: what it fails on may say anything, so the row is not used
            failed += 1
            continue
        changed += messages != one.messages
        found.setdefault(spelled(messages), SampleRow(messages, one.stratum))
    return RedactedRows(tuple(found.values()), changed, failed, len(rows) - failed - len(found))


def _message(message: Message, redact: Redact) -> Message:
    return {key: _value(value, redact, is_text=key in _TEXTS) for key, value in message.items()}


def _value(value: Any, redact: Redact, *, is_text: bool) -> Any:
    if isinstance(value, str):
        return redact(value) if is_text else value
    if isinstance(value, Mapping):
        return {key: _value(inner, redact, is_text=is_text or key in _TEXTS) for key, inner in value.items()}
    return [_value(inner, redact, is_text=is_text) for inner in value] if isinstance(value, list) else value
