"""``killswitch shadow decide``: turns the shadow down once its comparison is decided."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from killswitch.cli.invocation import RolloutArgument, SettingsOption, StoreOption, errors_as_messages
from killswitch.cli.logs import set_up_logs
from killswitch.cli.shadow.report import SETTLING, criteria_for
from killswitch.cli.shadow.worker import LogOption, RulesFolderOption, seconds_of, stopped_by_signals
from killswitch.daemon.settings import load_settings, without_secrets
from killswitch.daemon.wiring import build_store
from killswitch.errors import BadSettings
from killswitch.flags.flag import Flag
from killswitch.shadow.deciding import Deciding, TurnDown
from killswitch.shadow.decision import ShadowDecision
from killswitch.shadow.local_records import local_records
from killswitch.shadow.report.reading import ReportQuestion, read_decision
from killswitch.trips.switch import Switch

BY = "shadow-decide"
"""Who turned the flag, in its ``updated_by``, followed by the reason."""

RecordsOption = Annotated[
    str,
    typer.Option(
        "--records",
        envvar="KILLSWITCH_SHADOW_RECORDS",
        help="The folder of recorded pairs, or an fsspec URL such as s3://bucket/pairs.",
        show_default=False,
    ),
]
EveryOption = Annotated[str, typer.Option(help="How often to look, such as 10m.")]
KeepOption = Annotated[bool, typer.Option("--keep", help="Keep a tenth after NO_GO, too.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Look once, and end.")]

log = logging.getLogger(__name__)


def command(
    rollout: RolloutArgument,
    records: RecordsOption,
    rules: RulesFolderOption = None,
    every: EveryOption = "10m",
    keep: KeepOption = False,
    once: OnceOption = False,
    store: StoreOption = None,
    settings: SettingsOption = None,
    log_format: LogOption = "human",
) -> None:
    """Turn the shadow down once its comparison is decided: to a tenth after GO, to nothing after NO_GO.

    Looks at the recorded pairs now and then again, until stopped. It only lowers, once for each verdict of a
    generation: a person who raises the shadow again is not overruled.
    """
    set_up_logs(log_format)
    with errors_as_messages():
        seconds = seconds_of(every, "--every")
        if seconds <= 0.0:
            raise BadSettings(["--every: over 0, such as 10m"])
        criteria_for(rules, rollout)
        with closing(build_store(load_settings(settings, store=store))) as opened:
            switch = Switch(opened, wall=time.time, by=BY, origin="shadow decide")
            assess = partial(_assess, records, rules)
            deciding = Deciding(rollout, partial(look_at, switch, rollout), assess, keep=keep)
            if once:
                deciding.once()
                return
            log.info("%s: looking at %s every %s", rollout, without_secrets(records), every)
            deciding.run(stopped_by_signals().wait, seconds)


def look_at(switch: Switch, rollout: str) -> tuple[Flag | None, TurnDown]:
    """The flag as stored, and what turns its shadow down unless it has changed since."""
    stored = switch.stored(rollout)
    return stored.flag, partial(switch.turn_shadow_down, rollout, stored)


def _assess(records: str, rules: Path | None, flag: Flag) -> ShadowDecision:
    """What the records of the flag's generation prove. Rule files are read again each time."""
    with local_records(records, flag.rollout) as source:
        return read_decision(
            ReportQuestion(
                source=source,
                rollout=flag.rollout,
                criteria=criteria_for(rules, flag.rollout),
                since=flag.armed_at // 60.0 * 60.0,
                settled=time.time() - SETTLING,
                generation=flag.generation,
            )
        )
