"""``killswitch role promote``: the candidate becomes prod, on a passed gate run or a waiver."""

from __future__ import annotations

from killswitch.cli.after_promotion import arm_watches
from killswitch.cli.by_hand import Hand, by_hand
from killswitch.cli.invocation import ReasonOption, fail
from killswitch.cli.role.at_hand import RoleArgument, finish, pages_of, registry_of
from killswitch.cli.role_settings import dates_of, role_config
from killswitch.cli.terminal import one_line
from killswitch.registry.evidence import RoleEvidence
from killswitch.roles.role import Role


@by_hand(rules=True, roles=True)
def command(hand: Hand, role: RoleArgument, reason: ReasonOption) -> None:
    """Give the candidate to all users: it becomes prod, and prod becomes previous.

    It needs the newest gate run of exactly these two models: passed, or approved, young enough, and with the setup of
    the role's file. A waiver (`role waive`) replaces it. If someone else has changed the role first, nothing changes.

    Then the rollouts that `watch` in the role's file names are armed. While they are, a trip of theirs rolls the role
    back.
    """
    config = role_config(hand.settings, role)

    def agree(before: Role | None, after: Role, evidence: RoleEvidence | None) -> None:
        assert evidence is not None
        if config is None and evidence.waiver is None:
            fail(
                f"there is no role file of {role} in {hand.settings.roles}, so no one can say whether the gate run has"
                " its prompt, schema and bars; name the folder with --roles"
            )
        prod = "no model" if before is None or before.prod is None else before.prod
        hand.confirm(
            one_line(f"{role}: all users will get {after.prod} (now {prod}), because: {reason}. {evidence.sentence}.")
        )

    made = registry_of(hand.store).promote(
        role,
        reason=reason,
        config=config,
        settings=pages_of(hand.settings, config),
        dates=dates_of(config),
        agree=agree,
    )
    back = "" if made.role.previous is None else f'; back: `killswitch role rollback {role} --reason "why"`'
    arm_watches(hand, made.role)
    finish(hand, made, f"{role}: prod is {made.role.prod}{back}")
