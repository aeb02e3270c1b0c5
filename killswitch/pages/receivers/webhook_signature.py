"""Signatures of webhook requests as the Standard Webhooks specification defines them (www.standardwebhooks.com).

``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``<webhook-id>.<webhook-timestamp>.<body>``, once
for each secret, so that a receiver that still has the previous secret, or the new one already, accepts the request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Mapping

from killswitch.errors import AccessDenied
from killswitch.net.credentials import Secret

_log = logging.getLogger(__name__)
_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64  # bytes, as the specification has them


class Signer:
    """Signs with ``secret``, and with ``previous`` while a secret is being replaced. Both are read for each request."""

    def __init__(self, secret: Secret, previous: Secret | None = None) -> None:
        self._secret = secret
        self._previous = previous

    def headers(self, message: str, at: float, body: bytes) -> Mapping[str, str]:
        """``message`` is the id of what is sent, the same for every copy; ``at`` is Unix seconds.

        Raises AccessDenied if ``secret`` cannot be read: nothing is sent unsigned. A ``previous`` one is left out then.
        """
        keys = [_key(self._secret)]
        if self._previous is not None:
            try:
                keys.append(_key(self._previous))
            except AccessDenied as error:
                _log.warning("%s; signing with the new secret only", error)
        stamp = str(int(at))
        signed = f"{message}.{stamp}.".encode() + body
        signatures = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
        return {
            "webhook-id": message,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _key(secret: Secret) -> bytes:
    text = secret.reveal().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise AccessDenied(
            f"the webhook secret in {secret} must be base64 of {_SHORTEST} to {_LONGEST} bytes; make one with "
            '`echo "whsec_$(openssl rand -base64 32)"`'
        )
    return key
