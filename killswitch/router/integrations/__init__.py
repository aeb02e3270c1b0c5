"""One file for each library that the SDK fits into; none is imported unless the service does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(library: str, install: str) -> Iterator[None]:
    """Importing what is not there says what to install. Raises ModuleNotFoundError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; {library} comes with: pip install '{install}'", name=error.name) from error
