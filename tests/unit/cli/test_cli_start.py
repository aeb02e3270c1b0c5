"""What each command imports before it begins: `trip` at 3 a.m. waits for nothing that it does not need.

Modules are counted, not seconds; `python -m bench.cli_start` prints the seconds.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from killswitch.cli.app import COMMANDS, GROUPS, imported

pytestmark = pytest.mark.simulation

# each of these takes from 50 ms to a second to import
HEAVY = (
    "numpy", "scipy", "matplotlib", "apscheduler", "uvicorn", "starlette", "anyio", "asyncio", "slack_sdk",
    "prometheus_api_client", "prometheus_client", "pydantic_settings", "dotenv", "typer.rich_utils", "rich.markdown",
    "PIL", "kubernetes", "smtplib", "cryptography",
    "killswitch.demo", "killswitch.daemon.daemon", "killswitch.verdicts.judge",
    "killswitch.verdicts.evidence", "killswitch.preflight",
    "killswitch.sources.prometheus.source", "killswitch.pages.receivers.slack", "killswitch.web.app",
)  # fmt: skip


_PROGRAM = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("\\nIMPORTED " + " ".join(sys.modules)))
from killswitch.cli import main
sys.argv[0] = "killswitch"
main()
"""


def modules_of(*arguments: str, store: str = "") -> set[str]:
    """The modules that ``killswitch ARGUMENTS`` has imported at its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
    environment |= {"KILLSWITCH_STORE": store} if store else {}
    finished = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said, _, modules = finished.stderr.rpartition("IMPORTED ")
    assert finished.returncode == 0, said
    return set(modules.split())


def heavy(modules: set[str], *allowed: str) -> set[str]:
    return {
        name
        for name in HEAVY
        if name not in allowed and any(module == name or module.startswith(f"{name}.") for module in modules)
    }


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "rules").mkdir()
    return f"sqlite://{tmp_path}/flags.db"


def test_help_imports_no_command() -> None:
    modules = modules_of("--help")
    assert "killswitch.cli.app" in modules
    assert not heavy(modules)
    assert not any(module.split(".")[0] in ("pydantic", "yaml", "requests", "rich") for module in modules)
    assert not any(f"killswitch.cli.{name.replace(' ', '.').replace('-', '_')}" in modules for name in COMMANDS)


@pytest.mark.parametrize("name", ["trip", "status", "arm", "stage", "end", "rearm", "check"])
def test_the_help_of_a_command_imports_that_command_alone(name: str) -> None:
    modules = modules_of(name, "--help")
    assert f"killswitch.cli.{name}" in modules
    assert not heavy(modules, "prometheus_client", "asyncio")
    assert name == "rearm" or "requests" not in modules  # settings name servers; what speaks to them comes later
    others = COMMANDS.keys() - {name, "trip"}  # `rearm` delivers its page as `trip` does
    assert not any(f"killswitch.cli.{other}" in modules for other in others)


def test_a_trip_by_hand_imports_what_it_needs_and_no_more(store: str) -> None:
    arm = ["arm", "demo", "--control", "old", "--canary", "new", "--percent", "5", "--stage", "mine", "--yes"]
    modules_of(*arm, store=store)
    modules = modules_of("trip", "demo", "--reason", "bad answers", "--yes", store=store)
    assert "killswitch.stores.sqlite.store" in modules
    # no controller lives, so it pages: with the receivers and what they send with
    needed = {"slack_sdk", "asyncio", "killswitch.pages.receivers.slack", "killswitch.pages.receivers"}
    assert not heavy(modules, *needed)


def test_status_imports_what_it_needs_and_no_more(store: str) -> None:
    assert not heavy(modules_of("status", store=store), "prometheus_client", "asyncio")


def test_every_command_is_in_the_list_with_one_line() -> None:
    folder = Path(sys.modules["killswitch.cli.app"].__file__ or "").parent
    files = {
        " ".join(part.rstrip("_").replace("_", "-") for part in file.relative_to(folder).with_suffix("").parts)
        for file in folder.rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "command"
    }
    assert files == set(COMMANDS)
    for name, said in COMMANDS.items():
        assert len(said) <= 68, f"{name}: more than a line of --help"
        assert imported(name).name == name.rpartition(" ")[2]
    assert {name.split(" ")[0] for name in COMMANDS if " " in name} == set(GROUPS)


def test_the_daemon_seldom_looks_for_garbage() -> None:
    """Python's own 700 objects cost a third of the cycle of a thousand rollouts; what the start made is left alone.

    A full collection looks at every object of every rollout, and delays whatever the cycle is about to do.
    """
    program = (
        "import gc; from killswitch.cli import run; run.look_for_garbage_less_often(); "
        "print(gc.get_threshold()[0], gc.get_threshold()[2], gc.get_freeze_count())"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    threshold, before_a_full_one, frozen = map(int, finished.stdout.split())
    assert threshold >= 20_000
    assert before_a_full_one >= 100
    assert frozen > 50_000


def test_the_daemon_loads_only_the_receivers_it_pages_to() -> None:
    """Tables (rich) and the SDKs of receivers that are not set up cost 1 to 2 MB each, and are never used."""
    program = (
        "import sys; from killswitch.cli import run; from killswitch.daemon.wiring import build_pagers; "
        "from killswitch.daemon.settings import Settings; build_pagers(Settings()); print(*sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
    finished = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(finished.stdout.split())
    assert "killswitch.pages.receivers.console" in loaded
    unused = {"PIL", "kubernetes", "smtplib", "cryptography", "killswitch.interaction.socket_mode"}
    unused |= {"rich", "slack_sdk", "killswitch.pages.receivers.pagerduty", "killswitch.pages.receivers.webhook"}
    assert not unused & loaded
