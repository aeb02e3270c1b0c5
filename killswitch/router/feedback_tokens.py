"""Feedback tokens: a thumbs-down that comes an hour later lands on the cohort that served the answer.

The service hands the token to its front end with the answer and gets it back with the thumb. It is
``<payload>.<signature>``, both base64url: a JSON list of cohort, model, generation, whether the request
was judged, when the token expires and a random number; signed with HMAC-SHA256 (RFC 2104) for one rollout: the
rollout's name is signed and not carried, so a token of another rollout is a forged one, under the same key too.
It carries no user data. It is signed, not encrypted: everyone who holds it can read the model's name.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from killswitch.errors import BadSettings, Refused
from killswitch.model import Cohort

EXPIRES_AFTER = 24 * 3600.0  # seconds
MAX_TOKEN_CHARACTERS = 2048
MIN_KEY_BYTES = 16
KEY_VARIABLE = "KILLSWITCH_FEEDBACK_KEY"
KEY_FILE_VARIABLE = "KILLSWITCH_FEEDBACK_KEY_FILE"
_KEY_FILE_CHECK_SECONDS = 10.0


class BadToken(Refused):
    """A feedback token that counts for nothing. ``problem`` is one word: ``forged`` or ``expired``."""

    def __init__(self, problem: str, message: str) -> None:
        self.problem = problem
        super().__init__(message)


class TokenClaims(NamedTuple):
    """What a token says: who served the request that the feedback is about."""

    cohort: Cohort
    model: str
    generation: int
    judged: bool
    nonce: str


class FeedbackTokens:
    """Signs and reads tokens. ``keys``: the first signs, all verify, so that keys can be rotated.

    Raises BadSettings for no key at all or one under 16 bytes. ``expires_after`` in seconds;
    ``clock`` is Unix seconds.
    """

    def __init__(
        self,
        keys: Sequence[bytes] | Callable[[], Sequence[bytes]],
        *,
        expires_after: float = EXPIRES_AFTER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if callable(keys):
            self._keys = keys
        else:
            fixed = _checked(keys, "feedback key")
            self._keys = lambda: fixed
        self._keys()  # refuse a bad key at start, not at the first thumb
        self.expires_after = expires_after
        self._clock = clock

    @classmethod
    def from_file(cls, path: str | Path, *, expires_after: float = EXPIRES_AFTER) -> FeedbackTokens:
        """Keys from a file, one a line, the newest first; read again when the file changes."""
        return cls(_KeyFile(Path(path)), expires_after=expires_after)

    @classmethod
    def from_environment(cls, *, expires_after: float = EXPIRES_AFTER) -> FeedbackTokens | None:
        """From ``KILLSWITCH_FEEDBACK_KEY_FILE`` or ``KILLSWITCH_FEEDBACK_KEY``; None when neither is set."""
        path = os.environ.get(KEY_FILE_VARIABLE)
        if path:
            return cls.from_file(path, expires_after=expires_after)
        key = os.environ.get(KEY_VARIABLE)
        return cls([key.encode()], expires_after=expires_after) if key else None

    def sign(self, *, rollout: str, cohort: Cohort, model: str, generation: int, judged: bool) -> str:
        expires = int(self._clock() + self.expires_after)
        fields = [2, cohort.value, model, generation, int(judged), expires, secrets.token_hex(8)]
        payload = _encode(json.dumps(fields, separators=(",", ":"), ensure_ascii=True).encode())
        return f"{payload}.{_encode(_signature(self._keys()[0], rollout, payload))}"

    def read(self, token: object, *, rollout: str) -> TokenClaims:
        """What a token of ``rollout`` says. Raises BadToken (``forged`` or ``expired``)."""
        if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 1:
            raise BadToken("forged", "not a feedback token")
        payload, signature = token.split(".")
        try:
            given = _decode(signature)
            genuine = any(hmac.compare_digest(_signature(key, rollout, payload), given) for key in self._keys())
        except (ValueError, binascii.Error) as error:
            raise BadToken("forged", "not a feedback token") from error
        if not genuine:
            raise BadToken(
                "forged",
                "feedback token of another rollout, or with a wrong signature: do all processes share one key?",
            )
        _, cohort, model, generation, judged, expires, nonce = json.loads(_decode(payload))
        if self._clock() >= expires:
            raise BadToken("expired", "feedback token has expired; the feedback came too late to count")
        return TokenClaims(Cohort(cohort), model, generation, bool(judged), nonce)


class _KeyFile:
    """The keys in a file, looked at again at most every ten seconds; a vanished file keeps the last keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._look_again_at = 0.0
        self._keys: tuple[bytes, ...] = ()

    def __call__(self) -> Sequence[bytes]:
        now = time.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + _KEY_FILE_CHECK_SECONDS
            try:
                stat = self._path.stat()
                stamp = (stat.st_mtime_ns, stat.st_ino)
                if stamp != self._stamp:
                    self._keys = _checked(self._path.read_bytes().split(), f"feedback key file {self._path}")
                    self._stamp = stamp
            except (OSError, BadSettings) as error:
                if not self._keys:
                    raise BadSettings([f"feedback key file {self._path}: {error}"]) from error
        return self._keys


def _checked(keys: Sequence[bytes], where: str) -> tuple[bytes, ...]:
    if not keys or any(len(key) < MIN_KEY_BYTES for key in keys):
        raise BadSettings(
            [f"{where}: give at least one key, each of {MIN_KEY_BYTES} bytes or more (openssl rand -hex 32)"]
        )
    return tuple(keys)


def _signature(key: bytes, rollout: str, payload: str) -> bytes:
    # a payload has no newline, so two different pairs never give the same text
    return hmac.digest(key, f"killswitch feedback 2:{rollout}\n{payload}".encode(), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
