"""What a service's shadow has written to its folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from killswitch.router.shadow.mirror import Shadow
from killswitch.router.shadow.raw_pair import Dropped, RawPair, from_line


class Written:
    """``shadow`` is closed first, so everything that it will write is in ``folder``."""

    def __init__(self, shadow: Shadow, folder: Path) -> None:
        shadow.close()
        self.raw = b"".join(path.read_bytes() for path in sorted(folder.glob("*.raw")))
        entries = [from_line(line) for line in self.raw.splitlines()]
        self.pairs = [entry for entry in entries if isinstance(entry, RawPair)]
        self.drops: Counter[str] = Counter()
        for entry in entries:
            if isinstance(entry, Dropped):
                self.drops.update(entry.reasons)

    @property
    def pair(self) -> RawPair:
        """The only one."""
        (pair,) = self.pairs
        return pair
