"""``killswitch role waive``: let the candidate go on without a passed gate, for a stated reason and time."""

from __future__ import annotations

import json
import math
import re
import time
from typing import Annotated

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption
from killswitch.cli.role.at_hand import RoleArgument, registry_of
from killswitch.cli.terminal import one_line
from killswitch.errors import BadDocument, BadSettings
from killswitch.roles.waiver import Waiver, to_document
from killswitch.rules.units import UnitError, parse_duration
from killswitch.timestamps import DAY, from_iso, to_iso

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@by_hand(rules=False)
def command(
    hand: Hand,
    role: RoleArgument,
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.", show_default=False)],
    until: Annotated[
        str,
        typer.Option(
            "--until",
            help="Its end, at most 30 days ahead: a date such as 2026-12-24 (the end of that day, UTC), a time, or an"
            " age such as 7d.",
            show_default=False,
        ),
    ],
    reason: ReasonOption,
) -> None:
    """Let the candidate take prod's place without a passed gate, for a stated reason and time.

    It is for the present prod and candidate alone, and ends by itself. It is shown in `role show`, and named in the
    history and on the page of a promotion that rests on it.
    """
    now = time.time()

    def agree(waiver: Waiver) -> None:
        pair = f"{waiver.candidate} may replace {waiver.prod or 'no model'} without a passed gate"
        hand.confirm(one_line(f"{role}: {pair} until {to_iso(waiver.expires_at)}; {owner} answers for it: {reason}"))

    waiver = registry_of(hand.store).waive(role, owner=owner, reason=reason, expires_at=end_of(until, now), agree=agree)
    hand.answer(json.loads(to_document(waiver)), f"{role}: the gate is waived until {to_iso(waiver.expires_at)}")


def end_of(until: str, now: float) -> float:
    """Unix seconds of ``--until``. Raises BadSettings."""
    try:
        if _DATE.fullmatch(until):
            return from_iso(f"{until}T00:00:00Z") + DAY
        if "T" in until:
            return from_iso(until)
        return float(math.floor(now + parse_duration(until)))  # people read the end
    except (BadDocument, UnitError) as error:
        forms = "write a date such as 2026-12-24, a time such as 2026-12-24T18:00:00Z, or an age such as 7d"
        raise BadSettings([f"--until {until}: {forms} ({error})"]) from error
