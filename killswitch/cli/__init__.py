"""The command line; `main` is the entry point of the ``killswitch`` command.

The base install is the router SDK, without the daemon's libraries. There `main` says what to install
instead of showing a traceback.
"""

from __future__ import annotations

import importlib.util
import sys

_NEEDED = ("typer", "rich", "pydantic", "requests", "yaml", "apscheduler", "numpy", "starlette", "uvicorn")


def main() -> None:
    """Run the command line; exits with its code."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            "The base install is only the router SDK. The command line comes with the daemon:\n\n"
            "    pip install '.[daemon]'\n\n"
            "in a clone of the repository, or from its wheel (README, Install)\n"
            f"(missing: {', '.join(missing)})\n"
        )
        sys.exit(2)  # the exit code for what must be fixed first
    from killswitch.cli.app import app  # noqa: PLC0415  its libraries may be missing

    app()
