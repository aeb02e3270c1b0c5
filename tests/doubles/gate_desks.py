"""A folder with all that `killswitch gate run` reads: role file, golden set, prices, key, and a store with the role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from killswitch.cli.app import app
from killswitch.stores.opening import open_store
from tests.doubles.roles import put_roles, role
from tests.doubles.said_models import golden_rows, label_of, write_golden

ROOT = Path(__file__).parents[2]
ROLE = "triage"
PROD, CANDIDATE = "model-old-2025-11-03", "model-new-2026-04-01"
KEY = "gate-test-key"
SCHEMA = "{type: object, required: [label], properties: {label: {type: string}}}"


def says(model: str, prompt: str) -> str:
    """What a well model says to row ``prompt``."""
    return json.dumps({"label": label_of(int(prompt))})


@dataclass
class GateDesk:
    """``url``: the provider's. ``more``: lines that are added to the role file."""

    folder: Path
    url: str
    rows: int = 60
    more: str = ""
    known_prices: tuple[str, ...] = (PROD, CANDIDATE)

    def __post_init__(self) -> None:
        roles = self.folder / "roles"
        roles.mkdir(parents=True)
        (roles / f"{ROLE}.yaml").write_text(
            f"role: {ROLE}\nprovider: openai\nurl: {self.url}\nkey_file: ../key\nsystem: Sort reviews.\n"
            f"schema: {SCHEMA}\nmax_output_tokens: 50\ntimeout: 5s\ngolden: ../golden.jsonl\nprices: prices.json\n"
            # the latencies of loopback are noise, and decide nothing here
            "bars: {latency: 100}\n"
            f"{self.more}"
        )
        (self.folder / "key").write_text(KEY)
        write_golden(self.folder / "golden.jsonl", golden_rows(self.rows))
        self.price(*self.known_prices)
        store = open_store(self.store)
        put_roles(store, role(ROLE, PROD, candidate=CANDIDATE))
        store.close()

    def price(self, *models: str, dollars: str = "2.00") -> None:
        """Prices of these models alone, in dollars per million tokens."""
        entries = [{"model": one, "valid_from": "2025-01-01", "input": dollars, "output": dollars} for one in models]
        (self.folder / "roles" / "prices.json").write_text(json.dumps({"prices": entries}))

    @property
    def store(self) -> str:
        return f"sqlite://{self.folder}/flags.sqlite"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KILLSWITCH_STORE": self.store,
            "KILLSWITCH_ROLES": str(self.folder / "roles"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "COLUMNS": "200",
        }

    def run(self, *arguments: str, answer: str | None = None, yes: bool = True) -> Result:
        """The command in this process."""
        command = ["gate", "run", ROLE, *arguments, *(["--yes"] if yes else [])]
        return CliRunner().invoke(app, command, input=answer, env=self.environment)

    def json(self, *arguments: str) -> Any:
        """What ``--json`` says, whatever the exit code."""
        done = self.run(*arguments, "--json")
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
        return subprocess.Popen(
            [sys.executable, "-m", "killswitch", "gate", "run", ROLE, "--yes", *arguments],
            env={**inherited, **self.environment, "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
