"""Commands as a person types them, in a folder with rule files and an embedded store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from killswitch.cli.app import app

RULES = """\
rollout: copilot
control: model-old
canary: model-new
metrics: cohort-labels
page: {slack: "#llm-oncall", mention: "<!here>"}
"""

NOBODY = "http://127.0.0.1:9"


class Shell:
    """Commands as a person types them, in a folder with rule files and an embedded store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite://{folder}/flags.sqlite"
        self.rules = folder / "rules"
        self.rules.mkdir()
        (self.rules / "copilot.yaml").write_text(RULES)

    def __call__(self, *arguments: str, answer: str | None = None, **environment: str) -> Result:
        known = {
            "KILLSWITCH_STORE": self.store,
            "KILLSWITCH_RULES": str(self.rules),
            "KILLSWITCH_URL": NOBODY,  # whoever runs a controller on this machine is none of these tests' business
            "COLUMNS": "250",
        }
        return CliRunner().invoke(app, arguments, input=answer, env={**known, **environment})

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def armed(self) -> Shell:
        assert self("arm", "copilot", "--percent", "5", "--yes").exit_code == 0
        return self
