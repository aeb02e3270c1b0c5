"""``killswitch shadow worker`` and ``killswitch shadow forget`` as people run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner, Result

from killswitch.cli.app import app
from killswitch.flags.keyed_hash import hash_user
from killswitch.router.key_file import read_key
from killswitch.router.shadow.raw_pair import Dropped
from killswitch.router.shadow.spool import Spool
from killswitch.shadow.judge.opening import waiting_pairs
from killswitch.shadow.pairs import open_pairs
from tests.doubles.two_answers import AT, DENIED, raw_pair, write_raw
from tests.servers.etcd import free_ports


class Kept:
    """A spool, a folder of records and a key, with pairs of the users ann and bob."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.records, self.key_file = folder / "spool", folder / "records", folder / "key"
        self.key_file.write_text("k" * 32)
        self.key = read_key(self.key_file)
        self.ids = (f"request-{number}" for number in count())
        self.places = ("--spool", str(self.spool), "--records", str(self.records), "--key-file", str(self.key_file))

    def hashed(self, user: str) -> str:
        return hash_user(self.key, user)

    def spooled(self, *users: str) -> None:
        """As the service writes it."""
        spool = Spool(self.spool)
        for user in users:
            spool.put(raw_pair(DENIED, id=next(self.ids), user=self.hashed(user)))
        spool.put(Dropped("support", AT, {"disk": 1}))
        spool.write()

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["shadow", *words])

    def users(self) -> dict[str, int]:
        """How many records each user's hash has."""
        with open_pairs(self.records, "support") as connection:
            return dict(connection.execute('SELECT "user", count(*) FROM pairs GROUP BY 1').fetchall())

    def bytes_of(self, user: str) -> bool:
        """Whether the user's hash is anywhere in a file."""
        files = [path for place in (self.spool, self.records) for path in place.rglob("*") if path.is_file()]
        return any(self.hashed(user).encode() in path.read_bytes() for path in files)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_user_is_forgotten_everywhere_and_others_are_not(kept: Kept, kind: str) -> None:
    kept.spooled("ann", "bob", "ann")
    kept.spooled("ann")
    assert kept.run("worker", *kept.places, "--once", "--format", kind, "--judge-share", "1").exit_code == 0
    write_raw(kept.spool, b"garbage of ann\n", at=AT + 1)
    assert kept.run("worker", *kept.places, "--once", "--keep-texts", "7d").exit_code == 0
    kept.spooled("ann", "bob")
    done = kept.run("forget", "ann", *kept.places, "--yes", "--json")
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)
    assert counts == {
        "user": kept.hashed("ann"), "records": 3, "raw_pairs": 1, "waiting_for_judge": 3, "set_aside": 1,
    }  # fmt: skip
    assert kept.users() == {kept.hashed("bob"): 1}
    assert not kept.bytes_of("ann")
    assert len(list(waiting_pairs(kept.records, "support", share=1.0).take())) == 1
    kept.run("worker", *kept.places, "--once")
    assert kept.users() == {kept.hashed("bob"): 2}, "bob's raw pair was still there, and ann's was not"
    nothing = kept.run("forget", "ann", *kept.places, "--yes", "--json")
    assert nothing.exit_code == 1
    assert "0 records of ann: check the spelling and the key file" in nothing.stderr
    again = json.loads(nothing.stdout)
    assert [again[name] for name in ("records", "raw_pairs", "waiting_for_judge", "set_aside")] == [0, 0, 0, 0]


def test_a_user_of_whom_all_is_gone_leaves_no_file(kept: Kept) -> None:
    kept.spooled("ann")
    kept.run("worker", *kept.places, "--once")
    done = kept.run("forget", "ann", *kept.places, "--yes")
    assert "removed 1 record, 0 raw pairs" in done.stdout
    assert not list(kept.records.rglob("*.parquet"))


def test_a_volume_with_a_folder_of_its_own_is_looked_through(kept: Kept) -> None:
    """A volume of ext4 has a folder lost+found, which is no rollout's name and belongs to root."""
    kept.spooled("ann")
    kept.run("worker", *kept.places, "--once", "--judge-share", "1")
    (kept.records / "lost+found").mkdir(mode=0o000)
    done = kept.run("forget", "ann", *kept.places, "--yes")
    assert done.exit_code == 0, done.output
    assert not kept.bytes_of("ann")


def test_without_an_agreement_nothing_is_removed(kept: Kept) -> None:
    kept.spooled("ann")
    assert kept.run("forget", "ann", *kept.places).exit_code == 1
    assert kept.bytes_of("ann")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--similarity", "cosine"), "--similarity cosine"),
        (("--similarity", "http://127.0.0.1:1/v1"), "--embedding-model"),
        (("--threshold", "2"), "--threshold"),
        (("--raw-for", "7"), "--raw-for"),
        (("--keep-texts", "always"), "--keep-texts"),
        (("--redact", "os"), "--redact"),
        (("--key-file", "/nowhere/key"), "/nowhere/key"),
        (("--judge-share", "2"), "--judge-share"),
        (("--prices", "/nowhere/prices.json"), "/nowhere/prices.json"),
        (("--rules", "/nowhere/rules"), "/nowhere/rules"),
    ],
)
def test_a_wrong_option_is_named_with_its_fix(kept: Kept, words: tuple[str, ...], said: str) -> None:
    done = kept.run("worker", *kept.places, "--once", *words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_it_ends_at_sigterm_after_the_batch_and_shows_how_far_it_is(kept: Kept) -> None:
    """Nothing is left half done: the spool is empty, and the records are whole."""
    (port,) = free_ports(1)
    kept.spooled("ann", "bob")
    old = next(kept.spool.glob("*.raw"))
    old.rename(kept.spool / f"{int(time.time() * 1000) - 90_000:013d}-7-000001.raw")  # older than the minute of a batch
    command = [sys.executable, "-m", "killswitch", "shadow", "worker", *kept.places, "--metrics-port", str(port)]
    process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, text=True)
    try:
        ends = time.monotonic() + 60
        shown = ""
        while "killswitch_shadow_worker_pairs_total 2.0" not in shown and time.monotonic() < ends:
            try:
                shown = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
            except requests.ConnectionError:
                time.sleep(0.1)
        assert "killswitch_shadow_worker_pairs_total 2.0" in shown
        assert "killswitch_shadow_worker_failing 0.0" in shown
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert not list(kept.spool.glob("*.raw"))
    assert sum(kept.users().values()) == 2


@pytest.mark.parametrize("drain", [True, False])
def test_a_spool_that_ends_with_it_is_emptied_at_sigterm(kept: Kept, drain: bool) -> None:
    """Its raw files are young, and would wait for more of them; without ``--drain`` they stay for the next worker."""
    kept.spooled("ann", "bob")
    now = int(time.time() * 1000)
    next(kept.spool.glob("*.raw")).rename(kept.spool / f"{now:013d}-7-000001.raw")
    command = [sys.executable, "-m", "killswitch", "shadow", "worker", *kept.places, *(["--drain"] if drain else [])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any("alike from" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert bool(list(kept.spool.glob("*.raw"))) is not drain
    assert bool(list(kept.records.rglob("*.parquet"))) is drain
