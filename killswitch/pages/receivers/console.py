"""Pages printed to a text stream: for a first look, for trying rules, and as the last resort."""

from __future__ import annotations

import sys
from typing import TextIO

from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from killswitch.pages.page import Page
from killswitch.pages.text import plain_text
from killswitch.timestamps import to_iso
from killswitch.wording import plain


class ConsolePager:
    """Prints each page in full to ``stream`` (default: standard output)."""

    name = "console"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:  # noqa: ARG002  a stream has no deadline
        """Raises Unavailable if the stream cannot be written."""
        head = f"--- PAGE {page.kind.value} {page.severity} {to_iso(page.at)} {plain(page.id)}"
        text = f"{head}\n{plain_text(page, possible_repeat=possible_repeat)}\n---\n"
        stream = self._stream or sys.stdout
        try:
            stream.write(_printable(text, stream))
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise Unavailable(f"the page cannot be printed: {error}") from error
        return ""


def _printable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
