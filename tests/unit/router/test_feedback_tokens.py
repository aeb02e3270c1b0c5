"""Feedback tokens: what was signed comes back, nothing else does."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.model import Cohort
from killswitch.router.feedback_tokens import BadToken, FeedbackTokens

KEY = b"k" * 32
ROLLOUT = "support-copilot"


class Clock:
    def __init__(self) -> None:
        self.now = 1_776_000_000.0

    def __call__(self) -> float:
        return self.now


def signed(tokens: FeedbackTokens, *, judged: bool = True) -> str:
    return tokens.sign(rollout=ROLLOUT, cohort=Cohort.CANARY, model="model-new", generation=7, judged=judged)


@pytest.mark.parametrize("judged", [True, False])
def test_a_token_says_who_served_the_answer(judged: bool) -> None:
    tokens = FeedbackTokens([KEY])
    served = tokens.read(signed(tokens, judged=judged), rollout=ROLLOUT)
    assert served[:4] == (Cohort.CANARY, "model-new", 7, judged)


def test_no_two_tokens_are_alike_so_that_each_thumb_counts() -> None:
    tokens = FeedbackTokens([KEY])
    assert len({tokens.read(signed(tokens), rollout=ROLLOUT).nonce for _ in range(1000)}) == 1000


def test_a_token_ends_at_its_time() -> None:
    clock = Clock()
    tokens = FeedbackTokens([KEY], expires_after=3600.0, clock=clock)
    token = signed(tokens)
    clock.now += 3599.0
    tokens.read(token, rollout=ROLLOUT)
    clock.now += 1.0
    with pytest.raises(BadToken, match="expired") as caught:
        tokens.read(token, rollout=ROLLOUT)
    assert caught.value.problem == "expired"


def test_a_token_signed_with_another_key_is_forged() -> None:
    with pytest.raises(BadToken, match="wrong signature") as caught:
        FeedbackTokens([KEY]).read(signed(FeedbackTokens([b"other" * 8])), rollout=ROLLOUT)
    assert caught.value.problem == "forged"


def test_changing_a_character_of_a_token_never_forges_it() -> None:
    """A change of any character of a token breaks the token or changes nothing."""
    tokens = FeedbackTokens([KEY])
    token = signed(tokens)
    genuine = tokens.read(token, rollout=ROLLOUT)
    for place, character in enumerate(token):
        for other in "A_z0.=":
            changed = token[:place] + other + token[place + 1 :]
            if character == other:
                continue
            with contextlib.suppress(BadToken):
                # base64 ignores the last bits of the signature; what the token says must be the same then
                assert tokens.read(changed, rollout=ROLLOUT) == genuine


def test_a_payload_of_the_other_cohort_needs_a_new_signature() -> None:
    """A payload that names the other cohort needs a new signature."""
    tokens = FeedbackTokens([KEY])
    payload, signature = signed(tokens).split(".")
    fields = json.loads(base64.urlsafe_b64decode(payload + "=="))
    fields[1] = "control"
    forged = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
    with pytest.raises(BadToken):
        tokens.read(f"{forged}.{signature}", rollout=ROLLOUT)


@given(st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.lists(st.text())))
def test_anything_that_is_no_token_is_refused_as_forged(garbage: object) -> None:
    with pytest.raises(BadToken) as caught:
        FeedbackTokens([KEY]).read(garbage, rollout=ROLLOUT)
    assert caught.value.problem == "forged"


@pytest.mark.parametrize("garbage", [".", "a.b", "é.é", "a" * 3000, "....", "\ud800.a", "YQ.YQ", " . ", "a.b.c"])
def test_odd_texts_are_refused_as_forged(garbage: str) -> None:
    with pytest.raises(BadToken):
        FeedbackTokens([KEY]).read(garbage, rollout=ROLLOUT)


def test_a_token_carries_no_user_and_is_short_enough_for_a_header() -> None:
    token = signed(FeedbackTokens([KEY]))
    assert len(token) < 200
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))[:5] == [2, "canary", "model-new", 7, 1]


def test_after_a_rotation_the_old_key_verifies_and_the_new_signs() -> None:
    """After a rotation the old key still verifies tokens, and the new key signs them."""
    old, new = FeedbackTokens([b"old-key-" * 4]), FeedbackTokens([b"new-key-" * 4, b"old-key-" * 4])
    new.read(signed(old), rollout=ROLLOUT)
    with pytest.raises(BadToken):
        old.read(signed(new), rollout=ROLLOUT)


def test_a_key_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("first-key-of-32-bytes-at-least-ok\n")
    tokens = FeedbackTokens.from_file(path)
    early = signed(tokens)
    path.write_text("second-key-of-32-bytes-or-more-ok\nfirst-key-of-32-bytes-at-least-ok\n")
    os.utime(path, ns=(1, 1))
    monkeypatch.setattr("killswitch.router.feedback_tokens._KEY_FILE_CHECK_SECONDS", 0.0)
    tokens._keys._look_again_at = 0.0  # type: ignore[attr-defined]
    FeedbackTokens([b"second-key-of-32-bytes-or-more-ok"]).read(signed(tokens), rollout=ROLLOUT)
    tokens.read(early, rollout=ROLLOUT)
    path.unlink()
    tokens.read(signed(tokens), rollout=ROLLOUT)  # a vanished file keeps the last keys


@pytest.mark.parametrize("keys", [[], [b""], [b"short"], [KEY, b"short"]])
def test_a_short_key_is_refused_with_how_to_make_one(keys: list[bytes]) -> None:
    """A short key is refused at the start, and the message says how to make a longer one."""
    with pytest.raises(BadSettings, match="openssl rand -hex 32"):
        FeedbackTokens(keys)


def test_a_missing_key_file_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="feedback key file"):
        FeedbackTokens.from_file(tmp_path / "absent")


def test_the_key_comes_from_the_environment_or_a_file_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KILLSWITCH_FEEDBACK_KEY", raising=False)
    monkeypatch.delenv("KILLSWITCH_FEEDBACK_KEY_FILE", raising=False)
    assert FeedbackTokens.from_environment() is None
    monkeypatch.setenv("KILLSWITCH_FEEDBACK_KEY", KEY.decode())
    from_variable = FeedbackTokens.from_environment()
    assert from_variable is not None
    FeedbackTokens([KEY]).read(signed(from_variable), rollout=ROLLOUT)
    path = tmp_path / "key"
    path.write_bytes(b"another-key-of-quite-some-length")
    monkeypatch.setenv("KILLSWITCH_FEEDBACK_KEY_FILE", str(path))
    from_file = FeedbackTokens.from_environment()
    assert from_file is not None
    FeedbackTokens([b"another-key-of-quite-some-length"]).read(signed(from_file), rollout=ROLLOUT)


def test_no_message_holds_the_key() -> None:
    for wrong in ("a.b", "x"):
        with pytest.raises(BadToken) as caught:
            FeedbackTokens([KEY]).read(wrong, rollout=ROLLOUT)
        assert KEY.decode() not in str(caught.value)


def test_a_token_of_another_rollout_is_forged() -> None:
    """Under the same key. A user handed one rollout's token to another's service, and it counted there once more."""
    tokens = FeedbackTokens([KEY])
    with pytest.raises(BadToken, match="another rollout") as caught:
        tokens.read(signed(tokens), rollout="search-copilot")
    assert caught.value.problem == "forged"


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_other_name_reads_a_token(one: str, other: str) -> None:
    """Whatever the names are; the name is not in the token."""
    tokens = FeedbackTokens([KEY])
    try:
        token = tokens.sign(rollout=one, cohort=Cohort.CANARY, model="m", generation=1, judged=True)
    except UnicodeEncodeError:
        return
    if one == other:
        tokens.read(token, rollout=other)
    else:
        with pytest.raises(BadToken):
            tokens.read(token, rollout=other)
