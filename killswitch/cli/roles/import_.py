"""``killswitch roles import``: bring the store to what a file says, role by role, after its difference was shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import EXIT_REFUSED, EXIT_UNWANTED, fail, print_problems, say, show
from killswitch.cli.role.at_hand import FloatingOption, config_if_readable, pages_of, registry_of, why_floating
from killswitch.cli.role_settings import dates_of
from killswitch.cli.roles.export import ChosenRolesOption
from killswitch.cli.terminal import one_line
from killswitch.cli.trip import deliver_if_alone
from killswitch.errors import BadRules, KillswitchError, Refused
from killswitch.registry.importing import RoleImport
from killswitch.registry.registry import Registry
from killswitch.registry.role_export import MAX_BYTES, RoleBlock, read_export
from killswitch.roles.transitions import ImportKind
from killswitch.wording import counted

_KINDS = {
    ImportKind.SAME: "its document is damaged, and is written again",
    ImportKind.SLOTS: "slots",
    ImportKind.PROMOTION: "promotion",
    ImportKind.ROLLBACK: "rollback",
}


@by_hand(rules=False, roles=True)
def command(
    hand: Hand,
    file: Annotated[Path, typer.Argument(help="The file, as `roles export` writes it.", show_default=False)],
    role: ChosenRolesOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if file and store differ.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history.", show_default="the file")] = "",
    even_if_floating: FloatingOption = False,
) -> None:
    """Bring the roles to what a file says. The difference is shown first, and nothing is changed before you agree.

    A file is no way around the gate: another prod is a promotion, which needs a passed gate run or a waiver, or a
    rollback, if it was prod before. Roles that the file does not name stay. Each role is one transaction, and one that
    has changed since its difference was shown is left alone.
    """
    registry = registry_of(hand.store)
    blocks = _chosen(_read(file), role)
    drafts = _drafts(hand, registry, blocks, check=check, even_if_floating=even_if_floating)
    extra = [] if role else sorted(set(registry.names()) - set(blocks))
    changes = [draft for draft in drafts if draft.changes]
    if not hand.as_json:
        _print(changes, extra)
    if check:
        document = {
            "differs": bool(changes or extra),
            "changes": [_as_json(one) for one in changes],
            "only_in_store": extra,
        }
        said = "file and store differ" if changes or extra else "file and store are the same"
        show(document, as_json=hand.as_json, otherwise=lambda: say(said))
        raise typer.Exit(EXIT_UNWANTED if changes or extra else 0)
    if not changes:
        show({"changed": []}, as_json=hand.as_json, otherwise=lambda: say("nothing to change"))
        return
    hand.confirm(
        f"{counted(len(changes), 'role')} will be changed as shown: {', '.join(one.name for one in changes)}"[:500]
    )
    _apply(hand, registry, changes, blocks, reason or f"import of {file.name}")


def _read(file: Path) -> Mapping[str, RoleBlock]:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}; `killswitch roles export --output {file}` writes it")
    return read_export(content, str(file))


def _chosen(blocks: Mapping[str, RoleBlock], roles: list[str] | None) -> Mapping[str, RoleBlock]:
    missing = [name for name in roles or () if name not in blocks]
    if missing:
        fail(f"the file has no role {missing[0]}; it has {', '.join(sorted(blocks)) or 'none'}"[:1000])
    return {name: block for name, block in blocks.items() if not roles or name in roles}


def _drafts(
    hand: Hand, registry: Registry, blocks: Mapping[str, RoleBlock], *, check: bool, even_if_floating: bool
) -> list[RoleImport]:
    """What would change. Ends the command where something may not, with every problem; nothing is changed then."""
    drafts, problems = [], []
    for name, block in blocks.items():
        try:
            config = config_if_readable(hand.settings, name)
            draft = registry.import_draft(name, block.slots, config=config, dates=dates_of(config))
        except Refused as error:
            problems.append(f"{name}: {error}")
            continue
        drafts.append(draft)
        if not even_if_floating:
            problems += [f"{name}: {why}" for model in _new_models(draft) if (why := why_floating(model)) is not None]
    if problems:
        print_problems([*problems, "nothing was changed"] if not check else problems)
        raise typer.Exit(EXIT_UNWANTED if check else EXIT_REFUSED)
    return drafts


def _new_models(draft: RoleImport) -> set[str]:
    """The models that the role does not have yet."""
    slots = _slots(draft)
    return {after for _, _, after in slots if after is not None} - {before for _, before, _ in slots}


def _print(changes: list[RoleImport], extra: list[str]) -> None:
    for draft in changes:
        kind = "new role" if draft.stored.role is None else _KINDS[draft.kind]
        evidence = "" if draft.evidence is None else f" ({draft.evidence.sentence})"
        say(one_line(f"{draft.name}: {kind}{evidence}"))
        for slot, before, after in _slots(draft):
            if before != after:
                say(one_line(f"  - {slot}: {before or '(empty)'}"))
                say(one_line(f"  + {slot}: {after or '(empty)'}"))
    if extra:
        say(f"only in the store, and kept: {', '.join(extra)}"[:1000])


def _slots(draft: RoleImport) -> list[tuple[str, str | None, str | None]]:
    before, after = draft.stored.role, draft.slots
    return [
        ("prod", None if before is None else before.prod, after.prod),
        ("candidate", None if before is None else before.candidate, after.candidate),
        ("previous", None if before is None else before.previous, after.previous),
    ]


def _as_json(draft: RoleImport) -> dict[str, Any]:
    slots = {slot: {"store": before, "file": after} for slot, before, after in _slots(draft)}
    evidence = None if draft.evidence is None else draft.evidence.sentence
    return {
        "role": draft.name,
        "kind": draft.kind.value,
        "slots": slots,
        "evidence": evidence,
        "damaged": draft.damaged,
    }


def _apply(
    hand: Hand, registry: Registry, changes: list[RoleImport], blocks: Mapping[str, RoleBlock], reason: str
) -> None:
    """One transaction a role; one that fails is said, and the others are made."""
    made: list[str] = []
    failed: dict[str, str] = {}
    pages: list[str] = []
    for draft in changes:
        config = config_if_readable(hand.settings, draft.name)
        try:
            if draft.stored.revision == 0:
                registry.import_history(draft.name, blocks[draft.name].history)
            done = registry.import_role(
                draft, reason=reason, config=config, settings=pages_of(hand.settings, config), dates=dates_of(config)
            )
        except KillswitchError as error:
            failed[draft.name] = str(error)
            continue
        made.append(draft.name)
        pages += [] if done.page is None else [done.page.id]
    words = f"{counted(len(made), 'role')} changed: {', '.join(made)}"[:1000] if made else "nothing was changed"
    show({"changed": made, "failed": failed}, as_json=hand.as_json, otherwise=lambda: say(words))
    for page in pages:
        said = deliver_if_alone(hand, page)
        if not hand.as_json:
            say(one_line(f"page {page}: {said}"))
    if failed:
        raise BadRules([f"{name}: {problem}" for name, problem in failed.items()])
