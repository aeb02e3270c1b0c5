"""Who presses, as Slack says: the person's profile, the members of user groups, and whose workspace this is.

Answers are kept for a minute, so that a second press needs no further question: a dialog must be open within three
seconds. Someone who was removed from a group can press for a minute more. Errors are not kept, and raise: what is not
known allows nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError, Refused, Unavailable
from killswitch.interaction.allow_list import Profile, groups_to_ask, not_a_person_here, not_allowed, outsider
from killswitch.interaction.payloads import Caller
from killswitch.interaction.slack_api import SlackApi
from killswitch.net.credentials import Secret

KEPT_FOR = 60.0  # seconds
KEPT_WORKSPACE_FOR = 3600.0
MAX_KEPT = 500
_Answer = TypeVar("_Answer")


class People:
    """``token``: the bot's, with the scopes users:read and usergroups:read. ``monotonic`` in seconds. Thread-safe."""

    def __init__(self, api: SlackApi, token: Secret, *, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._token = token
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, object]] = OrderedDict()

    def someone_here(self, caller: Caller, deadline: Deadline) -> Profile:
        """The profile of a person of this workspace. Raises Refused for anyone else, and what the Web API raises."""
        own = self._own_ids(deadline)
        _refuse(outsider(caller, own))
        profile = self._once(
            ("user", caller.user),
            KEPT_FOR,
            lambda: _profile(self._api.call("users.info", self._token, deadline, user=caller.user), caller.user),
        )
        _refuse(not_a_person_here(profile, own))
        return profile

    def allowed(self, caller: Caller, rollout: str, allow: Sequence[str], deadline: Deadline) -> Profile:
        """The person's profile, who may press buttons of the rollout. Raises Refused, in words, where they may not."""
        if not allow:
            _refuse(not_allowed(rollout, allow, caller.user, {}))
        profile = self.someone_here(caller, deadline)
        asked: dict[str, frozenset[str] | None] = {}
        for group in groups_to_ask(allow, caller.user):
            asked[group] = self._members(group, deadline)
            if caller.user in (asked[group] or ()):
                break
        _refuse(not_allowed(rollout, allow, caller.user, asked))
        return profile

    def _own_ids(self, deadline: Deadline) -> frozenset[str]:
        def ask() -> frozenset[str]:
            answer = self._api.call("auth.test", self._token, deadline)
            found = _texts(answer.get("team_id"), answer.get("enterprise_id"))
            if not found:
                raise Unavailable("Slack did not say whose workspace this is")
            return found

        return self._once(("workspace", ""), KEPT_WORKSPACE_FOR, ask)

    def _members(self, group: str, deadline: Deadline) -> frozenset[str] | None:
        """The members of a user group, None where Slack does not say."""

        def ask() -> frozenset[str]:
            answer = self._api.call("usergroups.users.list", self._token, deadline, usergroup=group)
            users = answer.get("users")
            if not isinstance(users, list):
                raise Unavailable("Slack did not say who is in the user group")
            return _texts(*users)

        try:
            return self._once(("group", group), KEPT_FOR, ask)
        except KillswitchError:
            return None

    def _once(self, key: tuple[str, str], kept_for: float, ask: Callable[[], _Answer]) -> _Answer:
        now = self._monotonic()
        with self._lock:
            known = self._kept.get(key)
        if known is not None and now - known[0] < kept_for:
            return known[1]  # type: ignore[return-value]  # what was kept under this key came of the same question
        found = ask()
        with self._lock:
            self._kept[key] = (now, found)
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return found


def _profile(answer: Mapping[str, Any], asked: str) -> Profile:
    """Of the answer of `users.info`. Raises Unavailable for an answer about someone else."""
    user = answer.get("user")
    if not isinstance(user, dict) or user.get("id") != asked:
        raise Unavailable("Slack did not say who you are")
    profile = user.get("profile")
    shown = profile if isinstance(profile, dict) else {}
    organisation = user.get("enterprise_user")
    enterprise = organisation if isinstance(organisation, dict) else {}
    teams = enterprise.get("teams")
    names = (shown.get("display_name"), user.get("real_name"), shown.get("real_name"), user.get("name"))
    return Profile(
        asked,
        next((name for name in names if isinstance(name, str) and name.strip()), ""),
        _texts(user.get("team_id"), enterprise.get("enterprise_id"), *(teams if isinstance(teams, list) else ())),
        # anything but a plain "no" counts as "yes"
        deleted=user.get("deleted", False) is not False,
        bot=user.get("is_bot", False) is not False,
        stranger=user.get("is_stranger", False) is not False,
    )


def _texts(*values: object) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str) and value)


def _refuse(why: str | None) -> None:
    if why is not None:
        raise Refused(why)
