"""All commands, one file each, put together."""

from __future__ import annotations

import typer

from killswitch import __version__
from killswitch.cli import (
    arm,
    backtest,
    baseline,
    check,
    demo,
    doctor,
    end,
    explain,
    power,
    rearm,
    run,
    stage,
    status,
    test,
    trip,
)

app = typer.Typer(
    name="killswitch",
    help="Takes a bad canary of a large language model out of traffic by itself, at once, and only when it should.",
    no_args_is_help=True,
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


for _module in (
    demo,
    check,
    doctor,
    test,
    backtest,
    power,
    run,
    status,
    explain,
    arm,
    stage,
    baseline,
    trip,
    rearm,
    end,
):
    app.command(name=_module.__name__.rpartition(".")[2])(_module.command)
