"""``killswitch run``: the daemon."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import threading
from typing import Annotated, Literal

import typer

from killswitch.cli.invocation import (
    RolesOption,
    RulesOption,
    SettingsOption,
    SourceOption,
    StoreOption,
    errors_as_messages,
    source_url,
)
from killswitch.cli.logs import set_up_logs
from killswitch.daemon.daemon import Daemon
from killswitch.daemon.settings import Settings, load_settings
from killswitch.rules.units import format_duration


def command(
    rules: RulesOption = None,
    roles: RolesOption = None,
    source: SourceOption = None,
    store: StoreOption = None,
    listen: Annotated[str | None, typer.Option(help="Address (host:port) of health checks, metrics and API.")] = None,
    interval: Annotated[str | None, typer.Option(help="How often to judge, such as 30s.")] = None,
    log_format: Annotated[Literal["human", "json"] | None, typer.Option("--log-format", help="human or json.")] = None,
    settings: SettingsOption = None,
) -> None:
    """Run the daemon: watch all rollouts until stopped. Every setting is also an environment variable KILLSWITCH_…."""
    with errors_as_messages():
        loaded = load_settings(
            settings,
            rules=rules,
            roles=roles,
            source=source_url(source),
            store=store,
            listen=listen,
            interval=interval,
            log_format=log_format,
        )
        set_up_logs(loaded.log_format)
        daemon = Daemon(loaded)
    look_for_garbage_less_often()
    _end(daemon.run())


def look_for_garbage_less_often() -> None:
    """Run Python's garbage collector less often, and never over what exists at the start.

    A cycle of thousands of rules makes hundreds of thousands of objects, with almost no reference cycles. With
    Python's default threshold of 700, the collector took a third of such a cycle's processor time. With 1,000 rollouts
    a full collection takes 0.4 s, a third of a cycle. It comes about once an hour, where 10 in place of 100 made it one
    cycle in 14.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 100)


def _end(code: int) -> None:
    """Exit at once. The interpreter would wait for pool threads, which may be waiting for a silent server."""
    if threading.active_count() == 1:
        raise typer.Exit(code)
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):  # no one reads it any more
        sys.stdout.flush()
    os._exit(code)


def _line(name: str) -> str:
    field = Settings.model_fields[name]
    default = "" if field.default in (None, "") else f" ({default_in_words(name)})"
    return f"KILLSWITCH_{name.upper()}: {field.description}{default}"


def default_in_words(name: str) -> str:
    """A setting's default as a person writes it: a duration with its unit, true or false."""
    default = Settings.model_fields[name].default
    if isinstance(default, bool):
        return str(default).lower()
    return format_duration(default) if isinstance(default, float) else str(default)


_LINES = [_line(name) for name in Settings.model_fields]
command.__doc__ = (command.__doc__ or "") + "\n\n\b\n" + "\n".join(_LINES)
