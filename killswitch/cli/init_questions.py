"""What `killswitch init` asks a person, or decides with ``--yes`` where that is safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import typer

from killswitch.cli.console import err
from killswitch.cli.invocation import EXIT_UNWANTED, fail
from killswitch.cli.terminal import one_line


@dataclass(frozen=True, slots=True)
class OfferedAnswer:
    """One answer: the value, and what a person reads about it."""

    value: str
    about: str = ""


class Questions:
    """Asks on standard error. With ``yes`` it asks nothing: it takes what is given or safe, and says what it took."""

    def __init__(self, *, yes: bool) -> None:
        self.yes = yes

    def say(self, text: str) -> None:
        err.print(one_line(text), markup=False, soft_wrap=True)

    def choose(self, what: str, choices: Sequence[OfferedAnswer], *, option: str, safe: str | None) -> str:
        """One of ``choices``, which are never empty. ``safe``: what may be taken without a question, if anything."""
        if self.yes:
            if safe is None:
                listed = ", ".join(repr(choice.value) for choice in choices[:10])
                fail(f"{what}: cannot be chosen safely among {listed}; name it with {option}")
            self.say(f"{what}: {safe}")
            return safe
        self.say("")
        self.say(f"{what}:")
        for number, choice in enumerate(choices, 1):
            self.say(f"  {number}. {choice.value}{'  ' + choice.about if choice.about else ''}")
        values = [choice.value for choice in choices]
        default = str(values.index(safe) + 1) if safe in values else None

        def chosen(answer: str) -> str | None:
            if answer in values:
                return answer
            place = int(answer) - 1 if re.fullmatch(r"[0-9]{1,3}", answer, re.ASCII) else -1
            return values[place] if 0 <= place < len(values) else None

        return self._until_good("Which one", chosen, default, f"write a number from 1 to {len(values)}")

    def text(
        self, what: str, *, option: str, safe: str | None, check: Callable[[str], str | None], optional: bool = False
    ) -> str:
        """A text for which ``check`` finds nothing wrong; it returns what to write instead."""
        if self.yes:
            if safe is None and not optional:
                fail(f"{what}: nothing in the metric store says it; name it with {option}")
            if safe:
                self.say(f"{what}: {safe}")
            return safe or ""
        default = safe if safe is not None else "" if optional else None
        return self._until_good(what, lambda answer: None if check(answer) else answer, default, check)

    def _until_good(
        self,
        what: str,
        read: Callable[[str], str | None],
        default: str | None,
        advice: str | Callable[[str], str | None],
    ) -> str:
        while True:
            try:
                answer = str(typer.prompt(what, default=default, err=True, show_default=bool(default))).strip()
            except typer.Abort:
                fail("no answer, and nothing was written; use --yes to go on without questions", EXIT_UNWANTED)
            found = read(answer)
            if found is not None:
                return found
            self.say(f"  {advice if isinstance(advice, str) else advice(answer)}")
