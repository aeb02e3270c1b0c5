"""The pace of messages to one receiver, which its lane and the upkeep of its messages share."""

from __future__ import annotations

import threading


class MessagePace:
    """At most one message each ``gap`` seconds. Thread-safe; ``now`` is monotonic seconds."""

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._lock = threading.Lock()
        self._free_at = 0.0

    def free(self, now: float) -> bool:
        with self._lock:
            return now >= self._free_at

    def take(self, now: float) -> bool:
        """Whether a message may be sent now; if so, the next one only after the gap."""
        with self._lock:
            if now < self._free_at:
                return False
            self._free_at = now + self._gap
            return True
