from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import AccessDenied, BadSettings
from killswitch.net.credentials import MAX_SECRET_BYTES, TLS, HttpCredentials, Secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_a_secret_is_read_from_its_file_and_stripped(file: Path) -> None:
    file.write_text("  s3cret\n")
    assert Secret.from_file(file).reveal() == "s3cret"
    assert Secret.parse(f"file:{file}").reveal() == "s3cret"


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret.parse("env:KILLSWITCH_TEST_SECRET")
    with pytest.raises(AccessDenied, match="empty or not set"):
        secret.reveal()
    monkeypatch.setenv("KILLSWITCH_TEST_SECRET", "s3cret")
    assert secret.reveal() == "s3cret"


def test_a_rotated_secret_is_used_and_the_last_one_until_then(file: Path) -> None:
    """A rotated secret is used once it is there. The last good one is used while the file is missing."""
    secret = Secret.from_file(file)
    file.write_text("one")
    assert secret.reveal() == "one"
    file.write_text("two")
    assert secret.reveal() == "two"
    file.write_text("")
    assert secret.reveal() == "two"
    file.unlink()
    assert secret.reveal() == "two"
    file.write_text("three")
    assert secret.reveal() == "three"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"s3cret\r\nX-Injected: 1", "line breaks"),
        (b"s3cret\0", "control characters"),
        (b"s3cret\xff", "not UTF-8"),
        (b"s3cret" * MAX_SECRET_BYTES, "longer than"),
    ],
)
def test_an_unusable_secret_is_refused_without_being_shown(file: Path, content: bytes, said: str) -> None:
    """A secret that cannot be used is refused, and the error does not show it."""
    file.write_bytes(content)
    with pytest.raises(AccessDenied, match=said) as caught:
        Secret.from_file(file).reveal()
    shown = "".join(str(error) + repr(error) for error in _chain(caught.value))
    assert "s3cret" not in shown
    assert str(file) in shown


def _chain(error: BaseException | None) -> list[BaseException]:
    return (
        []
        if error is None
        else [error, *_chain(error.__cause__ or (None if error.__suppress_context__ else error.__context__))]
    )


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(AccessDenied, match=f"file:{file}: No such file"):
        Secret.from_file(file).reveal()


@given(st.text())
def test_a_literal_is_refused_and_never_repeated(text: str) -> None:
    literal = "hunter2" + text
    with pytest.raises(BadSettings) as caught:
        Secret.parse(literal)
    assert "hunter2" not in str(caught.value)


def test_neither_repr_nor_str_show_a_secret_that_was_read(file: Path) -> None:
    file.write_text("s3cret")
    secret = Secret.from_file(file)
    secret.reveal()
    credentials = HttpCredentials(bearer=secret)
    for shown in (repr(secret), str(secret), repr(credentials), f"{secret}"):
        assert "s3cret" not in shown
        assert str(file) in shown
    assert secret == Secret.from_file(file)
    assert hash(secret) == hash(Secret.from_file(file))


def test_a_pickled_secret_knows_its_place_alone(file: Path) -> None:
    file.write_text("s3cret")
    secret = Secret.from_file(file)
    secret.reveal()
    written = pickle.dumps(secret)
    assert b"s3cret" not in written
    assert pickle.loads(written).reveal() == "s3cret"


def test_headers_carry_the_token_the_user_or_the_tenant(file: Path) -> None:
    file.write_text("s3crét")
    secret = Secret.from_file(file)
    encoded = base64.b64encode("ann:s3crét".encode()).decode()
    assert HttpCredentials(basic=("ann", secret)).headers() == {"Authorization": f"Basic {encoded}"}
    with pytest.raises(AccessDenied, match="ASCII"):
        HttpCredentials(bearer=secret).headers()
    file.write_text("s3cret")
    assert HttpCredentials(bearer=secret, extra={"X-Scope-OrgID": "team-a", "X-Key": secret}).headers() == {
        "Authorization": "Bearer s3cret",
        "X-Scope-OrgID": "team-a",
        "X-Key": "s3cret",
    }


def test_contradictory_or_exposed_credentials_are_all_refused() -> None:
    """Credentials that contradict each other, or are exposed, are refused, with all problems in one error."""
    token = Secret("env", "TOKEN")
    with pytest.raises(BadSettings) as caught:
        HttpCredentials(
            bearer=token, basic=("a:b", token), extra={"Authorization": "Bearer hunter2", "X Y": "1", "X-A": "a\r\nb"}
        )
    assert len(caught.value.problems) == 5
    assert "hunter2" not in str(caught.value)


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(BadSettings, match="certificate file"):
        TLS(key_file=Path("key.pem"))
