"""How the canary pairs are spread over users: pairs of one user resemble each other, so they prove less.

The statistics take pairs as independent. Where one user made most of them, they say how that user's requests are
answered, and nothing of the others'. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.wording import counted


@dataclass(frozen=True, slots=True)
class UsersOfPairs:
    """Canary pairs that are counted, by the recorded hash of their user.

    ``busiest``: those of the user with the most. ``known``: those with a user. ``pairs``: all of them.
    """

    busiest: int
    known: int
    pairs: int

    @property
    def share(self) -> float | None:
        """The busiest user's part of all pairs, 0 to 1; None where no pair has a user."""
        return self.busiest / self.pairs if self.known else None

    @property
    def sentence(self) -> str:
        """``the busiest made 620 of 1,000 pairs (62.0%)``, and for how many the user is not known."""
        if not self.pairs:
            return "no pairs"
        if self.share is None:
            return "not known: no user hash is recorded; give Shadow a user_key_file"
        unknown = self.pairs - self.known
        rest = f"; not known of {unknown:,}" if unknown else ""
        return f"the busiest made {self.busiest:,} of {counted(self.pairs, 'pair')} ({self.share:.1%}){rest}"

    def too_few(self, limit: float | None) -> str:
        """Why there is no GO, "" if this holds up none. ``limit``: the largest part that one user may have made."""
        if limit is None or self.share is None or self.share <= limit:
            return ""
        return (
            f"one user made {self.busiest:,} of {counted(self.pairs, 'pair')} ({self.share:.1%}), over {limit:.0%}"
            " (`one_user`); pairs of one user are not independent, so wait for other users"
        )
