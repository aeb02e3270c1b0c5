"""`killswitch doctor` on a terminal of 80 columns: every line fits, and wrapped words stay under their first ones."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from bench.histories import History, openmetrics

COLUMNS = 80
RULES = "rollout: copilot\ncontrol: model-old\ncanary: model-new\n"


def test_every_line_fits_into_80_columns(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "copilot.yaml").write_text(RULES)
    (tmp_path / "x.om").write_text(openmetrics(History(seconds=7200.0)))
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    unset = ("COLUMNS", "LINES")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KILLSWITCH_") and k not in unset}
    command = [sys.executable, "-m", "killswitch", "doctor", "--data", "x.om"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**environment, "TERM": "xterm"}, stdin=follower, stdout=follower,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(follower)
    shown = _all(leader)
    assert process.wait(120) == 0, shown
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    wrapped = [line for line in lines if line.startswith(" " * 9)]
    assert wrapped
    assert any(line.startswith("warning  copilot: ") for line in lines)


def _all(terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace")
