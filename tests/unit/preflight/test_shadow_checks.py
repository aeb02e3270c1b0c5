"""The doctor of shadow mode: a router that follows, and a spool that is private, has room and is emptied."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest

from killswitch.errors import Unavailable
from killswitch.flags import flag as flags
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.shadow_checks import SPOOL_BYTES, examine_shadow_routers, examine_spool
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.router.shadow.spool import Spool
from killswitch.rules.loading import load_text

NOW = 1_776_600_000.0
ROLLOUT = load_text(b"{rollout: copilot, control: a, canary: b, metrics: cohort-labels}").rollouts[0]


def armed(share: ShadowShare) -> Flag:
    return flags.arm(
        None, rollout="copilot", control="a", canary="b", percent=0.0, stage=SHADOW, now=0.0, by="ann", shadow=share
    )


@pytest.mark.parametrize(
    ("share", "routers", "warned"), [(ShadowShare(20.0), 0, True), (ShadowShare(20.0), 2, False), (NO_SHADOW, 0, False)]
)
def test_a_shadow_that_no_router_follows_is_a_warning(share: ShadowShare, routers: int, warned: bool) -> None:
    checks = list(examine_shadow_routers({"copilot": armed(share)}, [ROLLOUT], lambda _: routers))
    if warned:
        assert [(check.about, check.status) for check in checks] == [("copilot", Status.WARNING)]
        assert checks[0].found == "20% of requests are to be shadowed, and no router follows the flag"
    else:
        assert not checks


def test_routers_that_cannot_be_read_are_no_missing_ones() -> None:
    def down(_: str) -> int:
        raise Unavailable("etcd: no answer")

    assert not list(examine_shadow_routers({"copilot": armed(ShadowShare(20.0))}, [ROLLOUT], down))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """With one raw file, a minute old."""
    folder = tmp_path / "spool"
    made = Spool(folder, calendar=lambda: NOW - 60.0)
    made.put(Dropped("copilot", NOW, {"late": 1}))
    made.write()
    return folder


def only(folder: Path, now: float = NOW) -> Check:
    (check,) = examine_spool(folder, now)
    return check


def test_a_spool_as_the_service_makes_it_is_in_order(spool: Path) -> None:
    assert (only(spool).about, only(spool).status) == ("shadow spool", Status.OK)


def test_a_spool_that_others_may_read_is_a_warning(spool: Path) -> None:
    spool.chmod(0o750)
    assert only(spool).status is Status.WARNING
    assert "mode 0750" in only(spool).found
    assert only(spool).fix == f"chmod 700 {spool}"


def test_a_spool_that_is_nearly_full_is_a_warning(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect.signature(Spool).parameters["most_bytes"].default == SPOOL_BYTES
    with (spool / "1.raw").open("xb") as file:
        file.truncate(900_000_000)
    assert "has 900 MB, of 1,000 MB" in only(spool).found
    file_system = shutil.disk_usage(spool)._replace(total=1_000_000_000, free=40_000_000)
    (spool / "1.raw").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: file_system)
    assert "40 MB are free" in only(spool).found


def test_raw_pairs_that_wait_over_an_hour_have_no_worker(spool: Path) -> None:
    assert only(spool, NOW + 3_500.0).status is Status.OK
    waits = only(spool, NOW + 7_200.0)
    assert waits.status is Status.WARNING
    assert "no worker compares them" in waits.found
    assert "killswitch shadow worker" in waits.fix


def test_a_spool_that_is_not_there_is_a_warning_with_its_setting(tmp_path: Path) -> None:
    check = only(tmp_path / "nowhere")
    assert check.status is Status.WARNING
    assert "KILLSWITCH_SHADOW_SPOOL" in check.fix
