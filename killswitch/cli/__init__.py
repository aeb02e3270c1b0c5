"""The command line; `main` is the entry point of the ``killswitch`` command.

The base install is the router SDK and has none of the daemon's libraries: then `main` says what to
install instead of showing a traceback.
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
            "The base install is the router SDK alone; the command line comes with the daemon:\n\n"
            "    pip install '.[daemon]'\n\n"
            "in a clone of the repository, or from a wheel of it (README, Install)\n"
            f"(missing: {', '.join(missing)})\n"
        )
        sys.exit(2)  # as for all that must be fixed first
    from killswitch.cli.app import app  # noqa: PLC0415  only where its libraries are there

    app()
