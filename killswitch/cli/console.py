"""The two consoles that commands print to, with styles and tables.

They are not in `killswitch.cli.terminal`, because the daemon prints nothing and needs 1.6 MB less without `rich`.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from killswitch.cli.terminal import visible


class Terminal(Console):
    """A console that allows only its own styling: escape sequences in printed text are made visible."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)
