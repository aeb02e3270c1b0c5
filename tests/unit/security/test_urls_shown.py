"""A secret in a URL, put there against all advice, is refused or hidden: in settings, options, logs and messages."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from killswitch.cli.app import app
from killswitch.daemon.settings import load_settings, without_secrets
from killswitch.errors import BadSettings, KillswitchError
from killswitch.sources.opening import open_source
from killswitch.sources.scrape.sample_history import SampleHistory
from killswitch.stores import Put
from killswitch.stores.opening import open_store

SECRET = "TOPSECRET-0123"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("etcd://a:1,b:2", "etcd://a:1,b:2"),
        (f"etcd://u:{SECRET}@a:1", "etcd://a:1"),
        (f"prometheus+https://a/x?token={SECRET}", "prometheus+https://a/x?[hidden]"),
        (f"scrape+http://a/x?y=1,b/z?token={SECRET}", "scrape+http://a/x?[hidden]"),
        (f"http://a/#{SECRET}", "http://a/?[hidden]"),
        (f"u:{SECRET}@a:1", "a:1"),
        (f"https://u:{SECRET}@a/?t={SECRET}", "https://a/?[hidden]"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"prometheus+http://u:{SECRET}@a:9090", f"prometheus+http://a:9090/?token={SECRET}", f"u:{SECRET}@a:9090",
        f"prometheus+http:///u:{SECRET}@a", f"scrape+http://u:{SECRET}@a", f"scrape+http://a/x?api_key={SECRET}",
        f"scrape+http://a/x?y=1&access-token={SECRET}", f"scrape+http:///{SECRET}", f"http:/u:{SECRET}@a",
    ],
)  # fmt: skip
def test_a_source_with_a_secret_in_its_url_is_refused_unrepeated(url: str) -> None:
    with pytest.raises(BadSettings) as caught:
        open_source(url).close()
    assert SECRET not in str(caught.value)


def test_a_query_that_is_no_secret_may_stand_in_a_target() -> None:
    open_source("scrape+http://127.0.0.1:1/metrics?format=prometheus&name[]=llm_requests_total").close()


@pytest.mark.parametrize(
    "url",
    [
        f"etcd://u:{SECRET}@a:1", f"etcd://a:1/?token={SECRET}", f"etcds://a?{SECRET}", f"u:{SECRET}@a:2379",
        f"sqlite:///tmp/x?key={SECRET}", f"file:///tmp/x#{SECRET}", f"http://u:{SECRET}@a:2379",
    ],
)  # fmt: skip
def test_a_store_with_a_secret_in_its_url_is_refused_unrepeated(url: str) -> None:
    with pytest.raises(BadSettings) as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["slack_base_url", "pagerduty_url"])
@pytest.mark.parametrize("url", [f"https://u:{SECRET}@a/", f"https://a/?token={SECRET}", f"https://a/#{SECRET}"])
def test_a_receivers_address_with_a_secret_is_refused_unrepeated(name: str, url: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings(None, **{name: url})
    assert name in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", [f"http://u:{SECRET}@127.0.0.1:1", f"http://127.0.0.1:1/?token={SECRET}"])
@pytest.mark.parametrize("command", [["status"], ["explain", "demo"]])
def test_a_controllers_address_is_shown_without_its_secret(command: list[str], url: str, tmp_path: Path) -> None:
    store = ["--store", f"sqlite://{tmp_path}/flags.db"]
    said = CliRunner().invoke(app, [*command, *store, "--url", url])
    assert "127.0.0.1:1" in said.output
    assert SECRET not in said.output


@pytest.mark.parametrize("option", ["--store", "--source"])
def test_an_option_is_not_repeated_with_its_secret(option: str) -> None:
    command = ["backtest"] if option == "--source" else ["status"]
    for url in (f"etcd://u:{SECRET}@127.0.0.1:1", f"{SECRET}", f"http://u:{SECRET}@127.0.0.1:1/"):
        assert f"u:{SECRET}" not in CliRunner().invoke(app, [*command, option, url]).output


def test_sqlite_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "flags.db"
    store = open_store(f"sqlite://{path}")
    store.commit((), (Put("/killswitch/v1/flags/a", b"{}"),))
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert modes.keys() == {"flags.db", "flags.db-wal", "flags.db-shm"}
    assert set(modes.values()) == {0o600}
    store.close()


def test_kept_samples_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    history = SampleHistory(tmp_path / "samples.db")
    history.need(["a"])
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "flags.db"
    path.touch()
    path.chmod(0o660)
    store = open_store(f"sqlite://{path}")
    store.commit((), (Put("/killswitch/v1/flags/a", b"{}"),))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    store.close()


def test_an_unwritable_folder_is_reported_by_the_file_opener(tmp_path: Path) -> None:
    """The code that opens the file reports a folder that is not writable."""
    with pytest.raises(KillswitchError):
        open_store(f"sqlite://{tmp_path}/gone/flags.db")
