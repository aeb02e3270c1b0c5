"""The two consoles that commands print to, with styles and tables.

They are not in `killswitch.cli.terminal`, because the daemon prints nothing and needs 1.6 MB less without `rich`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from killswitch.cli.terminal import visible


class Terminal(Console):
    """A console that allows only its own styling: escape sequences in printed text are made visible."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)
_NO_END = 10_000  # columns of what is no window


def fits(table: Table) -> bool:
    """Whether no cell of the table needs a second line: always where the output is no terminal."""
    return not out.is_terminal or Measurement.get(out, out.options.update(width=_NO_END), table).maximum <= out.width


def print_table(table: Table) -> None:
    """Print the table, one line a row where the output goes to a file or a pipe: neither has a width."""
    if out.is_terminal:
        out.print(table, soft_wrap=True)
        return
    written = io.StringIO()
    Terminal(file=written, width=_NO_END, highlight=False).print(table)
    for line in written.getvalue().splitlines():
        out.file.write(f"{line.rstrip()}\n")
