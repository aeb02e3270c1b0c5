"""Identifiers for requests that have none of their own: unique over processes and forks, without a system call each."""

from __future__ import annotations

import os
import secrets
from itertools import count

_numbers = count(1)
_process = secrets.token_hex(8)


def new_request_id() -> str:
    """A text that no other request has, such as ``9f86d081884c7d65-17``."""
    return f"{_process}-{next(_numbers)}"


def _begin_in_child() -> None:
    """A forked child counts on from its parent's number, so it needs a name of its own."""
    global _process  # noqa: PLW0603  # one a process, by its nature
    _process = secrets.token_hex(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
