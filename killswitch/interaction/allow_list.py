"""Whether a person may press a button of a rollout. What is not known is a refusal.

Everyone in a channel sees its buttons, also guests and people of other organisations. So membership of the channel
allows nothing: only the ids in ``page: {slack_allow: […]}`` of the rollout's rule file do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from killswitch.interaction.payloads import Caller
from killswitch.wording import plain

_GROUP = "S"
_HOW = "add your id, or the id of a user group of yours, to `page: {slack_allow: […]}` in its rule file"


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as `users.info` says. ``homes``: ids of the person's workspace, workspaces and organisation."""

    user: str
    name: str
    homes: frozenset[str]
    deleted: bool = False
    bot: bool = False
    stranger: bool = False

    @property
    def signature(self) -> str:
        """``Ann Lee (U012AB3CD)``: how a person is named in the history of a flag."""
        return f"{plain(self.name, 80) or 'someone'} ({self.user})"


def outsider(caller: Caller, own: frozenset[str]) -> str | None:
    """Why the caller is none of the workspace where the app is installed. ``own``: its id, and its organisation's."""
    if caller.workspace not in own:
        return "this was pressed in another workspace than the one where the app is installed"
    if caller.home not in own:
        return "you are of another organisation than this workspace, and only its own people may press"
    return None


def not_a_person_here(profile: Profile, own: frozenset[str]) -> str | None:
    """Why the profile is none of a person of this workspace."""
    if profile.stranger or not profile.homes & own:
        return "you are of another organisation than this workspace, and only its own people may press"
    if profile.deleted or profile.bot:
        return "only people with an active account may press"
    return None


def groups_to_ask(allow: Sequence[str], user: str) -> tuple[str, ...]:
    """The user groups whose members decide; none where the person is named."""
    return () if user in allow else tuple(one for one in allow if one.startswith(_GROUP))


def not_allowed(
    rollout: str, allow: Sequence[str], user: str, groups: Mapping[str, frozenset[str] | None]
) -> str | None:
    """Why the person may not press, None if they may.

    ``groups``: the members of each group of `groups_to_ask`, None where Slack did not say.
    """
    if not allow:
        return (
            f"no one may press buttons of {rollout}: its rule file has no `page: {{slack_allow: […]}}`; "
            "use the command line, or name people and user groups there"
        )
    if user in allow:
        return None
    asked = [groups.get(group) for group in groups_to_ask(allow, user)]
    if any(members is not None and user in members for members in asked):
        return None
    if any(members is None for members in asked):
        return (
            f"whether you may press buttons of {rollout} is UNKNOWN, because Slack did not say who is in its user "
            "groups; press again, or use the command line"
        )
    return f"you may not press buttons of {rollout}; {_HOW}"
