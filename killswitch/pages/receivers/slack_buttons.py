"""The buttons of an incident's message in Slack, and what a press of each one is bound to.

A button's value names one rollout, one generation, and the flag's revision in the store. What a press does is one
transaction that compares this revision and uses the nonce up. So the store refuses the button of an old message, and
the second of two presses. A value holds no secret.

Limits of Slack's block kit: 25 elements in an actions block, 75 characters on a button, 2,000 in its value, 255 in
ids.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from killswitch.documents import Fields
from killswitch.errors import BadDocument
from killswitch.flags.flag import Flag, check_rollout_name
from killswitch.flags.transitions import STOPPED
from killswitch.pages.page import Page, PageKind

FORMAT = 1
LIVE_FOR = 7 * 86400.0  # seconds; a long weekend is shorter, and an older incident is one for the command line
MAX_VALUE = 2000  # characters
_PREFIX = "killswitch."
_NONCE = re.compile(r"[0-9a-f]{16,64}\Z")
_MAX_INTEGER = 2**63


class Button(StrEnum):
    """What a button does; the value is the last word of its ``action_id``."""

    ACKNOWLEDGE = "acknowledge"
    HOLD = "hold"
    REARM = "rearm"
    END = "end"

    @property
    def action_id(self) -> str:
        return _PREFIX + self.value

    @property
    def asks(self) -> bool:
        """Whether a press opens a dialog that asks for a reason, and changes nothing yet."""
        return self in _ASKING


_BY_ACTION_ID = {one.action_id: one for one in Button}
_ASKING = frozenset({Button.REARM, Button.END})
# the text of a button, its style (None: Slack's own), and what a screen reader says
_FACES: dict[Button, tuple[str, str | None, str]] = {
    Button.ACKNOWLEDGE: ("Acknowledge", "primary", "Acknowledge: say that you are looking at it"),
    Button.HOLD: ("Hold", None, "Hold: keep the rollout's plan from going on"),
    Button.REARM: ("Re-arm…", None, "Re-arm: opens a dialog that asks for a stage and a reason"),
    Button.END: ("End…", "danger", "End: opens a dialog that asks for a reason"),
}
# a pinned rollout cannot be re-armed or ended before a person unpins it
_OF_KIND: dict[PageKind, tuple[Button, ...]] = {
    PageKind.TRIPPED: (Button.ACKNOWLEDGE, Button.HOLD, Button.REARM, Button.END),
    PageKind.PINNED: (Button.ACKNOWLEDGE, Button.HOLD),
}


@dataclass(frozen=True, slots=True)
class ButtonValue:
    """What a press is bound to. ``revision``: the flag's in the store. ``expires_at``: Unix seconds.

    ``nonce``: 16 to 64 hexadecimal digits; a press that changes something uses it up.
    """

    rollout: str
    generation: int
    revision: int
    nonce: str
    expires_at: int


def button_of(action_id: object) -> Button | None:
    """The button of an ``action_id``; None for any that is not ours."""
    return _BY_ACTION_ID.get(action_id) if isinstance(action_id, str) else None


def revision_to_bind(page: Page, flag: Flag | None, revision: int) -> int | None:
    """The revision for the buttons of ``page``, if the flag at this ``revision`` is still stopped by its incident.

    None: it has been re-armed or ended since, so the message gets no buttons.
    """
    if flag is None or flag.rollout != page.rollout or flag.generation != page.generation:
        return None
    return revision if flag.state in STOPPED and revision > 0 else None


def actions_block(
    page: Page, revision: int | None, *, now: float, nonce: str, acknowledged: bool = False
) -> dict[str, Any] | None:
    """The actions block of the incident's message; None where the page has no buttons.

    ``revision``: of `revision_to_bind`. ``now``: Unix seconds. ``nonce``: random, another one each time that the
    message is rendered (``secrets.token_hex(16)``). ``acknowledged``: someone has it already.
    """
    shown = [one for one in _OF_KIND.get(page.kind, ()) if not (acknowledged and one is Button.ACKNOWLEDGE)]
    if revision is None or not shown:
        return None
    value = ButtonValue(page.rollout, page.generation, revision, nonce, int(now + LIVE_FOR))
    return {
        "type": "actions",
        "block_id": f"{_PREFIX}{nonce}",
        "elements": [_element(button, to_value(value)) for button in shown],
    }


def _element(button: Button, value: str) -> dict[str, Any]:
    text, style, label = _FACES[button]
    element: dict[str, Any] = {
        "type": "button",
        "action_id": button.action_id,
        "text": {"type": "plain_text", "text": text},
        "value": value,
        "accessibility_label": label,
    }
    return element if style is None else {**element, "style": style}


def to_value(value: ButtonValue) -> str:
    """The value as Slack keeps it: JSON of at most `MAX_VALUE` characters."""
    document = {
        "format": FORMAT,
        "rollout": value.rollout,
        "generation": value.generation,
        "revision": value.revision,
        "nonce": value.nonce,
        "expires_at": value.expires_at,
    }
    return json.dumps(document, separators=(",", ":"))


def from_value(text: object) -> ButtonValue:
    """The inverse of `to_value`. Raises BadDocument for anything else."""
    if not isinstance(text, str) or len(text) > MAX_VALUE:
        raise BadDocument("button: its value is no text of ours")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadDocument("button: its value is no JSON") from error
    fields = Fields(document, "button")
    if fields.integer("format") != FORMAT:
        raise BadDocument("button: its value is of another version")
    value = ButtonValue(
        check_rollout_name(fields.text("rollout")),
        fields.integer("generation"),
        fields.integer("revision"),
        fields.text("nonce"),
        fields.integer("expires_at"),
    )
    numbers = (value.generation, value.revision, value.expires_at)
    if not (_NONCE.match(value.nonce) and all(0 < n < _MAX_INTEGER for n in numbers)):
        raise BadDocument("button: its value is not one that we have written")
    return value
