"""The file of roles that belongs in git: JSON, one block a role, in a stable order, so that a change is a small diff.

::

    {
      "format": 1,
      "roles": {
        "review_triage": {
          "prod": "gpt-4.1-2025-04-14",
          "candidate": null,
          "previous": null
        }
      }
    }

A block may have its ``history``, the oldest change first, for another store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from killswitch.errors import BadDocument, BadRules
from killswitch.roles.document import history_document, history_from_document
from killswitch.roles.role import Role, RoleHistoryEntry, check_model, check_role_name
from killswitch.roles.transitions import RoleSlots
from killswitch.rules.strict_json import NotJson, strict_json
from killswitch.wording import plain

FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
_SLOTS = ("prod", "candidate", "previous")
_MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class RoleBlock:
    """What a file says of a role. ``history``: the oldest change first, () without."""

    slots: RoleSlots
    history: tuple[RoleHistoryEntry, ...] = ()


def exported(roles: Mapping[str, Role], histories: Mapping[str, Sequence[RoleHistoryEntry]] | None = None) -> str:
    """The file's text. ``histories``: by role, the oldest change first; None for a file without."""
    blocks: dict[str, dict[str, Any]] = {}
    for name in sorted(roles):
        role = roles[name]
        blocks[name] = {"prod": role.prod, "candidate": role.candidate, "previous": role.previous}
        if histories is not None:
            blocks[name]["history"] = [json.loads(history_document(entry)) for entry in histories.get(name, ())]
    return json.dumps({"format": FORMAT, "roles": blocks}, indent=2, ensure_ascii=False) + "\n"


def read_export(content: bytes, where: str) -> Mapping[str, RoleBlock]:
    """The roles of a file. Raises BadRules with every problem, each with the role and the fix."""
    if len(content) > MAX_BYTES:
        raise BadRules([f"{where}: {len(content)} bytes, over {MAX_BYTES}; export fewer roles, or without --history"])
    try:
        document = strict_json(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRules([f"{where}: not UTF-8; write it again with `killswitch roles export`"]) from None
    except NotJson as error:
        raise BadRules([f"{where}: not JSON: {error}; fix it, or write it with `killswitch roles export`"]) from None
    roles = document.get("roles") if isinstance(document, dict) else None
    if not isinstance(roles, dict) or document.get("format") != FORMAT:
        raise BadRules(
            [f'{where}: no file of roles; it has {{"format": {FORMAT}, "roles": {{…}}}}, as `roles export` writes it']
        )
    problems = [
        f"{where}: {plain(key, 80)!r} is no key of the file" for key in document if key not in ("format", "roles")
    ]
    blocks: dict[str, RoleBlock] = {}
    for name, block in roles.items():
        try:
            blocks[name] = _block(name, block)
        except BadDocument as error:
            problems.append(f"{where}: role {plain(name, 80)}: {error}")
    if problems:
        raise BadRules(problems[:_MAX_PROBLEMS])
    return blocks


def _block(name: str, block: object) -> RoleBlock:
    check_role_name(name)
    if not isinstance(block, dict):
        raise BadDocument("not an object; write its prod, candidate and previous")
    unknown = [key for key in block if key not in (*_SLOTS, "history")]
    if unknown:
        raise BadDocument(f"{plain(unknown[0], 80)!r} is no slot; slots are {', '.join(_SLOTS)}")
    missing = [slot for slot in _SLOTS if slot not in block]
    if missing:
        raise BadDocument(f"{missing[0]} is missing; write null where the slot is empty")
    slots = RoleSlots(*(_model(slot, block[slot]) for slot in _SLOTS))
    history = block.get("history", [])
    if not isinstance(history, list):
        raise BadDocument("history is no list; leave it out")
    entries = tuple(history_from_document(json.dumps(one).encode(), name=name) for one in history)
    numbers = [entry.role.number for entry in entries]
    if numbers != list(range(1, len(numbers) + 1)):
        raise BadDocument("the numbers of its history are not 1, 2, 3 …; export it again, or leave the history out")
    return RoleBlock(slots, entries)


def _model(slot: str, model: object) -> str | None:
    if model is not None and not isinstance(model, str):
        raise BadDocument(f"{slot} is {plain(str(model), 80)!r}; write a model's id as a text, or null")
    try:
        return None if model is None else check_model(model)
    except BadDocument as error:
        raise BadDocument(f"{slot}: {error}") from error
