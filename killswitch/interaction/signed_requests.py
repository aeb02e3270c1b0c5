"""Whether a request to a request URL was sent by Slack, a moment ago, and for the first time.

Slack signs the raw body with the app's signing secret (https://docs.slack.dev/authentication/verifying-requests-from-slack):
HMAC-SHA256 over ``v0:timestamp:body``. slack-sdk computes and compares it. It raises on headers that are no numbers or
not ASCII, so their form is checked first.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict

from slack_sdk.signature import Clock, SignatureVerifier

WINDOW = 300.0  # seconds that a request's time may differ from ours
MAX_SEEN = 10_000
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}\Z")


class _At(Clock):
    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now


def problem_with(body: bytes, timestamp: str | None, signature: str | None, *, secret: str, now: float) -> str | None:
    """Why this is no request of Slack's, None if it is one. ``now``: Unix seconds. The text repeats nothing of it."""
    if timestamp is None or signature is None:
        return "it is not signed"
    if not _TIMESTAMP.match(timestamp) or not _SIGNATURE.match(signature):
        return "its signature has not the form of Slack's"
    if abs(now - int(timestamp)) > WINDOW:
        return f"its time differs by more than {WINDOW / 60:g} minutes from ours; check the clock of this machine"
    try:
        valid = SignatureVerifier(secret, _At(now)).is_valid(body, timestamp, signature)
    except UnicodeDecodeError:
        return "its body is not UTF-8"
    return None if valid else "its signature is wrong; check the signing secret"


class SeenSignatures:
    """The signatures of the newest requests: one that comes again is a replay. Thread-safe, bounded.

    It knows this process alone. A replay to another replica is refused by the store, as any second press is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def is_new(self, signature: str, now: float) -> bool:
        """Whether this signature was not there within twice the window; it is kept."""
        with self._lock:
            while self._seen and (len(self._seen) >= MAX_SEEN or now - next(iter(self._seen.values())) > 2 * WINDOW):
                self._seen.popitem(last=False)
            if signature in self._seen:
                return False
            self._seen[signature] = now
            return True
