"""What role files say, for commands that need one role's."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.daemon.settings import Settings
from killswitch.roles.config import RoleConfig
from killswitch.roles.retirement import RetirementDate
from killswitch.rules.retirement_files import load_retirements
from killswitch.rules.role_files import load_roles


def roles_of(settings: Settings) -> Mapping[str, RoleConfig]:
    """The role files by role; none where there is no such folder and no setting names one. Raises BadRules."""
    if "roles" not in settings.model_fields_set and not settings.roles.exists():
        return {}
    return load_roles(settings.roles)


def dates_of(config: RoleConfig | None) -> tuple[RetirementDate, ...]:
    """The retirement dates of the file that the role's file names; none where it names none. Raises BadRules."""
    return () if config is None or config.retirements is None else load_retirements(config.retirements)


def role_config(settings: Settings, role: str) -> RoleConfig | None:
    """The role's file; None where there is none. Raises BadRules."""
    return roles_of(settings).get(role)
