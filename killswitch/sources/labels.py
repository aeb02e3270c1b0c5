"""A label's value as text that nothing can break out of, as PromQL and metrics pages write it."""

from __future__ import annotations

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(text: str) -> str:
    """A quoted text, as PromQL writes one, that is exactly ``text``.

    Control characters are written as escapes; a lone surrogate, which no label value can hold, becomes
    U+FFFD so that the query stays valid UTF-8.
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\x{ord(character):02x}"
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character
