"""What a service's shadow has written to its folder, once it is closed."""

from __future__ import annotations

from pathlib import Path

from killswitch.router.shadow import Shadow
from killswitch.router.shadow.raw_pair import RawPair
from tests.doubles.finished_requests import drops, pairs


class Written:
    """``shadow`` is closed first, so everything that it will write is in ``folder``."""

    def __init__(self, shadow: Shadow, folder: Path) -> None:
        shadow.close()
        self.raw = b"".join(path.read_bytes() for path in sorted(folder.glob("*.raw")))
        self.pairs = pairs(folder)
        self.drops = drops(folder)

    @property
    def pair(self) -> RawPair:
        """The only one."""
        (pair,) = self.pairs
        return pair
