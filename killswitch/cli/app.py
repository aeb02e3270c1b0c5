"""All commands, one file each, put together.

A command's module is imported when the command is run: `killswitch trip` must not load numpy, the demo and the web
server before it begins.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from killswitch import __version__

# what `--help` shows without importing the command, one line each
COMMANDS = {
    "demo": "Watch a simulated canary go bad and the kill switch trip.",
    "check": "Check rule files: every error at once, with file, line and fix.",
    "doctor": "Examine source, store, receivers of pages and rules.",
    "test": "Run rule tests: series, and the verdicts expected of them.",
    "backtest": "Replay history: each trip the daemon would have made.",
    "power": "Simulate regressions: how soon each would be seen.",
    "run": "Watch all rollouts until told to stop: the daemon.",
    "status": "Every rollout's flag, and each rule's values and verdict.",
    "explain": "How a rollout stands and why; its incidents.",
    "arm": "Arm a rollout: the canary gets its share of users.",
    "stage": "Raise or lower the canary's share of an armed rollout.",
    "baseline": "Store control's last day, so that a rollout may go to 100 %.",
    "trip": "Send everybody back to the control model, now, and page.",
    "rearm": "Let a tripped canary back in, with a reason.",
    "end": "End a rollout: routers send everybody to control.",
}


class _OnDemand(TyperGroup):
    """The commands by name; the one that is run is imported, and no other."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  as the group's own
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """What the list of commands shows."""
        return TyperCommand(cmd_name, short_help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else imported(str(name)), rest


def imported(name: str) -> Any:
    """The command itself, with its options."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name=name)(importlib.import_module(f"killswitch.cli.{name}").command)
    return get_command(alone)


app = typer.Typer(
    name="killswitch",
    cls=_OnDemand,
    help="Takes a bad canary of a large language model out of traffic by itself, at once, and only when it should.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: its panels take twice as long to load as `trip` may
    pretty_exceptions_show_locals=False,  # locals may hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show it and exit."),
) -> None:
    pass
