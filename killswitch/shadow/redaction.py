"""Takes personal data out of a text before it is kept: addresses, card numbers, phone numbers, or by a user's hook.

A list of patterns finds what has a form. It does not find names, addresses of streets or what a person tells about
another: where that matters, keep no texts, or name a hook that knows.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Final

from killswitch.errors import BadSettings

Redact = Callable[[str], str]

_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,5}[\w-]{2,24}")
_CARD: Final = re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])")
_IBAN: Final = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?(?![0-9A-Za-z])")
_PHONE: Final = re.compile(
    r"(?<![\w.,/-])(?:\+|00|\(?0)[\d(](?:[ ()./-]{0,2}\d){6,13}(?!\w)"
    r"|(?<![\w.,/-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\w)"
)


def redact_forms(text: str) -> str:
    """E-mail addresses, card numbers (by their check digit), IBANs and phone numbers become ``[email]`` and so on."""
    text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub("[iban]", text)
    text = _CARD.sub(lambda found: "[card]" if _is_card(found[0]) else found[0], text)
    return _PHONE.sub("[phone]", text)


def _is_card(text: str) -> bool:
    """The check digit of ISO/IEC 7812: of other long numbers one in ten passes."""
    digits = [int(character) for character in text if character.isdecimal()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def hook(place: str) -> Redact:
    """The function that ``package.module:function`` names. Raises BadSettings."""
    module, colon, name = place.partition(":")
    if not colon or not module or not name.isidentifier():
        raise BadSettings([f"--redact {place}: write package.module:function, a function from a text to a text"])
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadSettings([f"--redact {place}: {error}; is it on PYTHONPATH?"]) from error
    if not callable(found):
        raise BadSettings([f"--redact {place}: not a function"])
    return _checked(found, place)


def _checked(function: Callable[[str], object], place: str) -> Redact:
    def redact(text: str) -> str:
        redacted = function(text)
        if not isinstance(redacted, str):
            raise TypeError(f"{place} must return a text, not {type(redacted).__name__}")
        return redacted

    return redact
