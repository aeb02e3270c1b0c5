"""A shell of its own for each test of a command, without the settings of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.cli.plans import PLAN
from tests.unit.cli.shell import RULES, Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in list(os.environ):
        if name.startswith("KILLSWITCH_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


@pytest.fixture
def planned(shell: Shell) -> Shell:
    (shell.rules / "copilot.yaml").write_text(RULES + PLAN)
    return shell
