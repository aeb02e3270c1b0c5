"""What a failed HTTP post means for a page: surely not delivered, or perhaps delivered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from killswitch.errors import AccessDenied, OutcomeUnknown
from killswitch.net.bounded_http import find_no_answer, killswitch_errors


@contextmanager
def posting_errors() -> Iterator[None]:
    """As `killswitch_errors` for a change, but a redirect or a denied access means that nothing was taken."""
    try:
        with killswitch_errors(change=True):
            yield
    except OutcomeUnknown as error:
        no_answer = find_no_answer(error)
        if no_answer is not None and isinstance(no_answer.failure, AccessDenied):
            raise no_answer.failure from error
        raise
