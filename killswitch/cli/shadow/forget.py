"""``killswitch shadow forget``: removes a user from all that shadow mode has kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import (
    EXIT_UNWANTED,
    JsonOption,
    YesOption,
    confirm,
    errors_as_messages,
    print_problems,
    say,
    show,
)
from killswitch.cli.shadow.worker import ClickHousePasswordOption, ClickHouseUserOption
from killswitch.errors import BadSettings
from killswitch.flags.keyed_hash import hash_user
from killswitch.router.key_file import read_key
from killswitch.shadow.forgetting import Forgotten, forget
from killswitch.shadow.sinks.opening import open_sink
from killswitch.wording import counted

SpoolOption = Annotated[
    Path | None,
    typer.Option(
        "--spool", envvar="KILLSWITCH_SHADOW_SPOOL", help="The service's folder of raw pairs.", show_default=False
    ),
]
RecordsOption = Annotated[
    str | None,
    typer.Option("--records", envvar="KILLSWITCH_SHADOW_RECORDS", help="Where records are kept.", show_default=False),
]
KeyFileOption = Annotated[
    Path,
    typer.Option(
        "--key-file",
        envvar="KILLSWITCH_SHADOW_KEY_FILE",
        help="The key that the user was hashed with.",
        show_default=False,
    ),
]


def command(
    user: Annotated[str, typer.Argument(help="The user, as the service names them.", show_default=False)],
    key_file: KeyFileOption,
    spool: SpoolOption = None,
    records: RecordsOption = None,
    clickhouse_user: ClickHouseUserOption = "",
    clickhouse_password_file: ClickHousePasswordOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a user's records, raw pairs and pairs that wait for the judge, and say how many there were.

    Files of unreadable lines are removed, too, because their users are unknown. Pairs that the service
    has not written yet come later: run it again after a minute. Exit code 1: nothing of the user was found.
    """
    with errors_as_messages():
        if spool is None and records is None:
            raise BadSettings(["name what to look through: --spool, --records, or both"])
        hashed = hash_user(read_key(key_file), user)
        sink = None
        if records is not None:
            sink = open_sink(records, "jsonl", user=clickhouse_user, password_file=clickhouse_password_file)
        confirm(f"All records and raw pairs of {user} will be removed; no one can bring them back.", yes=yes)
        folder = Path(records) if records is not None and "://" not in records else None
        try:
            done = forget(hashed, spool=spool, records=folder, sink=sink)
        finally:
            if sink is not None:
                sink.close()
    show({**asdict(done), "user": hashed}, as_json=as_json, otherwise=lambda: say(_sentence(user, hashed, done)))
    if not done.total:
        print_problems([f"0 records of {user}: check the spelling and the key file"], style="yellow")
        raise typer.Exit(EXIT_UNWANTED)


def _sentence(user: str, hashed: str, done: Forgotten) -> str:
    return (
        f"{user} ({hashed}): removed {counted(done.records, 'record')}, {counted(done.raw_pairs, 'raw pair')}, "
        f"{counted(done.waiting_for_judge, 'pair')} that waited for the judge, and "
        f"{counted(done.set_aside, 'file')} of unreadable lines"
    )
