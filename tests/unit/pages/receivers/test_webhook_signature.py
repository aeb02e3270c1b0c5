from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from killswitch.errors import AccessDenied
from killswitch.net.credentials import Secret
from killswitch.pages.receivers.webhook_signature import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"alert": "canary kill-switch tripped"}'
AT = 1_776_608_531.9
# made by standardwebhooks 1.1.0 of this secret, id, time and body
SIGNATURE = "v1,BMZOckXgDJthVNd9HzRG8VZfejQEbN8kKd5Yn5yvR5o="


def secret(folder: Path, name: str, text: str) -> Secret:
    (folder / name).write_text(text)
    return Secret.from_file(folder / name)


def test_a_signature_is_what_the_specifications_library_makes(tmp_path: Path) -> None:
    assert Signer(secret(tmp_path, "new", SECRET)).headers("support-copilot.7", AT, BODY) == {
        "webhook-id": "support-copilot.7",
        "webhook-timestamp": "1776608531",
        "webhook-signature": SIGNATURE,
    }


def test_while_a_secret_is_replaced_both_sign(tmp_path: Path) -> None:
    """A receiver that has only one of them accepts the request."""
    key = base64.b64encode(b"k" * 32).decode()
    signer = Signer(secret(tmp_path, "new", f"whsec_{key}"), secret(tmp_path, "old", SECRET))
    first, second = signer.headers("support-copilot.7", AT, BODY)["webhook-signature"].split(" ")
    made = hmac.new(b"k" * 32, b"support-copilot.7.1776608531." + BODY, hashlib.sha256).digest()
    assert (first, second) == (f"v1,{base64.b64encode(made).decode()}", SIGNATURE)


def test_an_old_secret_that_is_gone_holds_up_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    signer = Signer(secret(tmp_path, "new", SECRET), Secret.from_file(tmp_path / "gone"))
    assert signer.headers("support-copilot.7", AT, BODY)["webhook-signature"] == SIGNATURE
    assert "signing with the new secret only" in caplog.text


@pytest.mark.parametrize("text", ["whsec_", "whsec_c2hvcnQ=", "not base64 at all!", "whsec_" + "QUFB" * 40])
def test_a_weak_or_broken_secret_sends_nothing_unsigned(tmp_path: Path, text: str) -> None:
    with pytest.raises(AccessDenied, match=r"must be base64 of 24 to 64 bytes; make one with") as raised:
        Signer(secret(tmp_path, "new", text)).headers("x", AT, BODY)
    assert text.removeprefix("whsec_") not in str(raised.value) or text == "whsec_"
