"""The keyed hash of a user: from a file, read again when it changes, and nothing without a key."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from killswitch.errors import BadSettings
from killswitch.flags.keyed_hash import hash_user
from killswitch.router.key_file import KEY_FILE_VARIABLE
from killswitch.router.shadow.user_hash import UserHash
from tests.doubles.clock import VirtualClock

KEY = b"0123456789abcdef0123456789abcdef"


def test_it_is_hmac_sha256_and_names_no_one(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    hashed = UserHash(tmp_path / "key")("ann@example.com")
    assert hashed == hmac.digest(KEY, b"ann@example.com", "sha256").hex()[:32] == hash_user(KEY, "ann@example.com")
    assert UserHash(tmp_path / "key")("half \ud800")


def test_without_a_key_every_user_is_empty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A random key would make hashes that nobody can find again, so nobody could be forgotten."""
    monkeypatch.delenv(KEY_FILE_VARIABLE, raising=False)
    assert UserHash()("ann") == ""
    assert KEY_FILE_VARIABLE in caplog.text


def test_the_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(KEY)
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path / "key"))
    assert UserHash()("ann") == hash_user(KEY, "ann")
    assert UserHash()(None) == ""


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_bad_key_file_is_refused_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadSettings, match="user key file"):
        UserHash(tmp_path / "key")


def test_a_new_key_is_read_and_a_lost_one_is_kept(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "key"
    path.write_bytes(KEY)
    user = UserHash(path, clock=clock.monotonic)
    path.write_bytes(KEY * 2)
    assert user("ann") == hash_user(KEY, "ann")  # looked at every ten seconds
    clock.advance(11.0)
    assert user("ann") == hash_user(KEY * 2, "ann")
    path.unlink()
    clock.advance(11.0)
    assert user("ann") == hash_user(KEY * 2, "ann")
    path.write_bytes(b"short")
    clock.advance(11.0)
    assert user("ann") == hash_user(KEY * 2, "ann")


def test_a_user_whose_text_cannot_be_made_is_empty(tmp_path: Path) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise ValueError

    (tmp_path / "key").write_bytes(KEY)
    assert UserHash(tmp_path / "key")(Hostile()) == ""
