"""The two consoles that commands print to, with styles and tables.

Apart from `killswitch.cli.terminal`, because the daemon logs and prints nothing: without `rich` it needs 1.6 MB less.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from killswitch.cli.terminal import visible


class Terminal(Console):
    """A console whose own styling is the only one: text that is printed cannot bring escape sequences along."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)
