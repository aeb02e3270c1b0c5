"""Files made from the code and committed: written, or compared with what the code gives now."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def write_or_check(files: Mapping[Path, str], *, command: str, check: bool) -> int:
    """Write each text to its file, or with ``check`` name those that differ; the exit code.

    ``command`` is what writes them, for the message.
    """
    if check:
        stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
        for path in stale:
            sys.stderr.write(f"{path} is not current: run `{command}` and commit it\n")
        return 1 if stale else 0
    for path, text in files.items():
        path.write_text(text, "utf-8")
    return 0
