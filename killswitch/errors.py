"""What can go wrong, sorted by what the caller may do about it.

::

    KillswitchError
    +-- Refused              fix it: the request itself is wrong; nothing was changed
    |   +-- IllegalTransition   the flag's state table has no such row (flag.py)
    |   +-- BadDocument         a stored or received document cannot be understood
    |   +-- BadRules            rule files refused; carries every problem (rules/loading.py)
    |   +-- BadSettings         settings refused; carries every problem
    |   +-- UnknownRollout      no rollout has that name; the message lists the known ones
    |   +-- UnknownScope        the ledger has no account of that scope; the message lists those it has
    |   +-- NoFlag              the flag store holds no flag of that name; the message lists those it holds
    |   +-- UnknownRole         the registry has no role of that name; the message lists those it has
    |   +-- AccessDenied        the other side knows us and says no: credentials, TLS, permissions
    |   +-- BadTransaction      the flag store is well, but takes no transaction of this form: a bug of ours
    +-- Unavailable          retry it later: surely nothing was changed
    |   +-- NameTaken           another living process uses our controller id; it must get another one
    +-- OutcomeUnknown       re-read: the change may or may not have been applied, now or later

Every message says what to do next. No message ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterable


class KillswitchError(Exception):
    """Root of every error this package raises on purpose."""


class Refused(KillswitchError):
    """The request itself is wrong; trying again will not help."""


class IllegalTransition(Refused):
    """The flag may not change this way."""


class BadDocument(Refused):
    """A document is corrupt, truncated, of another format, or of another rollout."""


class BadRules(Refused):
    """Rule files are refused. ``problems`` holds one printable line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class BadSettings(Refused):
    """Settings are refused. ``problems`` holds one printable line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnknownRollout(Refused):
    """No flag and no rule file bears this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        listed = ", ".join(self.known) if self.known else "none yet; `killswitch arm` makes one"
        super().__init__(f"no rollout is called {name!r}; known rollouts: {listed}")


class NoFlag(Refused):
    """The flag store was read, and holds no flag of this name; ``flags``: the names that have one."""

    def __init__(self, name: str, flags: Iterable[str]) -> None:
        self.name = name
        listed = ", ".join(sorted(flags)) or "none"
        fix = f"`killswitch arm {name} --stage ramp_1` makes one (`killswitch arm {name}`: its plan's first stage)"
        said = "has no flag, so routers send everyone to control"
        super().__init__(f"{name} {said}; rollouts with a flag: {listed}; {fix}")


class UnknownScope(Refused):
    """The ledger has no account of this scope."""

    def __init__(self, scope: str, known: Iterable[str]) -> None:
        listed = ", ".join(sorted(known)) or "none yet; an account begins once a process has opened its ledger"
        super().__init__(f"the ledger has no account of {scope!r:.120}; known scopes: {listed}")


class UnknownRole(Refused):
    """The registry was read, and has no role of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        listed = ", ".join(sorted(known)) or "none yet"
        fix = f"`killswitch role create {name} --prod MODEL` makes one"
        super().__init__(f"no role is called {name!r:.120}; known roles: {listed}; {fix}")


class AccessDenied(Refused):
    """The server refuses our credentials, certificate or permissions."""


class BadTransaction(Refused):
    """A transaction has too many operations, too many bytes, or a key twice: no store takes it, however well it is."""


class Unavailable(KillswitchError):
    """The other side did not answer usefully; surely nothing was changed.

    ``retry_after`` is the wait the other side asked for, in seconds, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class NameTaken(Unavailable):
    """Another living process holds the session of our controller id."""


class OutcomeUnknown(KillswitchError):
    """A change was sent and no answer came: it may have been applied, or may be still."""
