"""Hostile documents, labels and rule files against the running daemon: the others are served, and text stays text."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from killswitch.router import Router
from killswitch.stores import Put, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.doubles.slack import Message, SlackDouble
from tests.faults.service import FAILING, Service
from tests.integration.security.secured import ROOT, RULES, SETTINGS, Daemon, running
from tests.servers.etcd import EtcdCluster, wait_until
from tests.servers.prometheus import PrometheusServer

ANSI = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\nFORGED 2026-01-01 INFO all is well <!channel> <script>alert(1)</script>"
DEEP = b"[" * 100_000
HUGE = json.dumps({"format": 1, "pad": "x" * 1_000_000}).encode()
GARBAGE = (b"", b"\xff\xfe\x00", b"{", b"null", DEEP, HUGE, json.dumps({"format": 1, "rollout": ANSI}).encode())


@dataclass
class Site:
    folder: Path
    etcd: EtcdCluster
    store: Store
    service: Service

    def environment(self, **settings: str) -> dict[str, str]:
        ours = {
            **SETTINGS,
            "STORE": self.etcd.url,
            "SOURCE": f"scrape+http://{self.service.target}/metrics",
            "RULES": str(self.folder / "rules"),
            **settings,
        }
        for name in ("STORE_USER", "SOURCE_USER", "FALLBACK"):
            del ours[name]
        others = {name: value for name, value in os.environ.items() if not name.startswith("KILLSWITCH_")}
        return {**others, "PYTHONPATH": str(ROOT), **{f"KILLSWITCH_{name}": value for name, value in ours.items()}}

    def daemon(self, **settings: str) -> contextlib.AbstractContextManager[Daemon]:
        return running(self.environment, **settings)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "killswitch", *arguments],
            env=self.environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def put(self, key: str, value: bytes) -> None:
        self.store.commit((), (Put(key, value),))

    def arm(self, name: str) -> None:
        switch = Switch(self.store, wall=lambda: 1.7e9, by="ann@laptop", origin="test")
        switch.arm(name, control="model-old", canary="model-new", percent=50.0, stage="half", salt="")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "rules").mkdir()
    for name in ("search", "copilot"):
        (tmp_path / "rules" / f"{name}.yaml").write_text(RULES.format(name=name))
    with EtcdCluster(tmp_path / "etcd") as etcd, Service(["search", "copilot"]) as service:
        store = open_store(etcd.url, timeout=10.0)
        site = Site(tmp_path, etcd, store, service)
        for name in ("search", "copilot"):
            site.arm(name)
        yield site
        store.close()


def assert_text(shown: str) -> None:
    """Printable, line by line, and no line begins as the attacker wished."""
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert not any(line.startswith("FORGED") for line in shown.splitlines())


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_garbage_under_every_prefix_does_not_stop_other_rollouts(site: Site, log_format: str) -> None:
    """Garbage under every prefix does not stop judging, tripping or paging for the other rollouts."""
    with site.daemon(LOG_FORMAT=log_format) as daemon:
        daemon.until_healthy()
        for number, value in enumerate(GARBAGE):
            for key in (
                keys.flag(f"bad{number}"), keys.flag(f"bad\x1b[2J{number}"), keys.incident("search", number + 50),
                keys.outbox(f"bad.{number}"), keys.controller(f"bad-{number}"), keys.claim(f"bad-{number}"),
                keys.notice("search", number, "bad"), keys.router("search", f"bad-{number}"), keys.outages("x"),
                keys.baseline("search", number), keys.incidents("search") + f"x{number}",
            ):  # fmt: skip
                site.put(key, value)
        site.put(keys.flag("copilot"), DEEP[:60_000])
        daemon.until("the corrupt flag is not judged", lambda: _state(daemon, "copilot") != "armed")
        shown = site.command("status", "--url", daemon.url)
        assert shown.returncode == 0, shown.stderr
        assert_text(shown.stdout + shown.stderr)
        site.service.set(FAILING, rollout="search")
        daemon.until("the other rollout is tripped", lambda: _state(daemon, "search") == "tripped")
        daemon.until("and paged", lambda: "search.1" in daemon.output and "PAGE TRIPPED" in daemon.output)
        explained = site.command("explain", "search")
        assert explained.returncode == 0, explained.stderr
        assert_text(explained.stdout)
        assert daemon.ask("/-/healthy")[0] == 200
        assert_text(daemon.ask("/")[1].replace("\x1b", "?"))
    assert_text(daemon.output)
    assert "Traceback" not in daemon.output, daemon.output[-5000:]


def _state(daemon: Daemon, rollout: str) -> str:
    return str({one["rollout"]: one["state"] for one in daemon.status()["rollouts"]}.get(rollout, "absent"))


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value[:10]))
def test_a_router_whose_flag_becomes_garbage_goes_to_control(site: Site, value: bytes) -> None:
    router = Router("search", site.etcd.url, registry=CollectorRegistry(), when_unwatched="hold", report=False)
    try:
        wait_until(lambda: len({router.route(f"u{n}").cohort for n in range(100)}) == 2, "the split")
        site.put(keys.flag("search"), value)
        wait_until(lambda: {router.route(f"u{n}").cohort for n in range(100)} == {"control"}, "control")
        assert {router.route(f"u{n}").model for n in range(100)} == {"model-old"}
    finally:
        router.close()


def _of_the_trip(slack: SlackDouble) -> list[Message]:
    return [each for each in slack.messages if "tripped" in each.text.split("\n")[0]]


def test_hostile_fields_of_a_flag_are_plain_text_everywhere(site: Site) -> None:
    """Hostile fields of a flag are plain text in terminals, logs, pages and markup."""
    item = site.store.get(keys.flag("copilot"))
    assert item is not None
    document = json.loads(item.value)
    document |= {"control": ANSI, "canary": ANSI, "stage": ANSI, "updated_by": ANSI}
    site.put(keys.flag("copilot"), json.dumps(document).encode())
    with SlackDouble() as slack:
        (site.folder / "token").write_text(slack.token)
        settings = {"SLACK_BASE_URL": slack.base_url, "SLACK_TOKEN_FILE": str(site.folder / "token")}
        with site.daemon(**settings) as daemon:
            daemon.until_healthy()
            for arguments in (("status",), ("status", "--json"), ("explain", "copilot")):
                shown = site.command(*arguments, "--url", daemon.url)
                assert shown.returncode == 0, shown.stderr
                assert_text(shown.stdout + shown.stderr)
            assert "<script>" not in daemon.ask("/")[1]
            site.service.set(FAILING, rollout="copilot")
            daemon.until("it is tripped all the same", lambda: _state(daemon, "copilot") == "tripped")
            # a slow machine may begin with a page of blindness
            daemon.until("Slack took the page", lambda: _of_the_trip(slack))
        assert_text(daemon.output)
        sent = json.dumps([each.body for each in slack.messages], ensure_ascii=False)
        assert "<!channel>" not in sent
        assert not any("\x1b" in each.text for each in slack.messages)
        assert "&lt;!channel&gt;" in _of_the_trip(slack)[0].text


def test_hostile_series_are_text_everywhere_and_hide_no_rollout(site: Site, tmp_path: Path) -> None:
    """A scrape target that says what it likes: labels with escapes, values that are no counts, one rule's only."""
    label = ANSI.encode("unicode_escape").decode().replace("\\r", "").replace("\\x", "x").replace('"', "'")
    hostile = f'llm_refusals_total{{rollout="copilot",model="{label}",cohort="canary"}} NaN\n'
    hostile += f'llm_refusals_total{{rollout="copilot",model="x",cohort="{label}"}} -1e300\n'
    with Service([]) as target:
        target._exposition = lambda: hostile  # type: ignore[method-assign]  # it answers whatever a test writes
        scrapes = [
            {"job_name": "service", "static_configs": [{"targets": [site.service.target]}]},
            {"job_name": "hostile", "static_configs": [{"targets": [target.target]}]},
        ]
        with PrometheusServer(tmp_path / "prometheus", scrape_configs=scrapes) as prometheus:
            with_refusals = RULES.format(name="copilot") + ""
            (site.folder / "rules" / "copilot.yaml").write_text(
                with_refusals.replace("  error_rate: {max: 2%}", "  error_rate: {max: 2%}\n  refusal_rate: {max: 9%}")
            )
            with site.daemon(SOURCE=f"prometheus+{prometheus.url}") as daemon:
                daemon.until(
                    "the error rates of both are judged",
                    lambda: all(
                        one["findings"][0]["verdict"] == "HEALTHY" for one in daemon.status()["rollouts"]
                    ),
                )  # fmt: skip
                site.service.set(FAILING, rollout="copilot")
                daemon.until("the rule beside the hostile one trips", lambda: _state(daemon, "copilot") == "tripped")
                explained = site.command("explain", "copilot")
                assert_text(explained.stdout)
            assert_text(daemon.output)


# --- rule files: what tests/unit/rules refuses, through the commands ----------------------------

BOMB = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 8)}]\n" for n in range(20)
)
HOSTILE_RULES = {
    "bomb": BOMB,
    "recursive": "rollout: &a\n  b: *a\n",
    "large": "# " + "x" * 10_000_000,
    "deep": "rollout: " + "[" * 50_000,
    "python": "rollout: !!python/object/apply:os.system ['touch owned']\n",
    "name": 'rollout: "x\\"} or vector(1) #"\ncontrol: a\ncanary: b\n',
    "label": "rollout: x\ncontrol: a\ncanary: b\nmetrics: cohort-labels\nmatch: {'a=\"b\"} or vector(1) #': c}\n",
    "metric": "rollout: x\ncontrol: a\ncanary: b\nrules:\n  r: {events: 'up) or vector(1', trials: up, max: 1%}\n",
    "escape": f"rollout: {json.dumps(ANSI)}\ncontrol: a\ncanary: b\n",
}


@pytest.mark.parametrize("kind", HOSTILE_RULES)
def test_check_refuses_a_hostile_rule_file_with_line_and_fix(kind: str, tmp_path: Path) -> None:
    """`check` refuses a hostile rule file and names the file, the line and the fix."""
    (tmp_path / "rule.yaml").write_text(HOSTILE_RULES[kind])
    for arguments in (("check", str(tmp_path)), ("check", str(tmp_path), "--json")):
        done = subprocess.run(
            [sys.executable, "-m", "killswitch", *arguments],
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 2
        assert "rule.yaml:" in done.stdout + done.stderr
        assert "fix: " in done.stdout + done.stderr
        assert len(done.stdout + done.stderr) < 20_000
        assert "Traceback" not in done.stderr
        assert_text(done.stdout + done.stderr)
    assert not (tmp_path / "owned").exists()


def test_hostile_rule_files_on_reload_keep_the_last_good_rules(site: Site) -> None:
    """If a reload finds hostile rule files, the last good set of rules stays in force."""
    with site.daemon() as daemon:
        daemon.until_healthy()
        for kind, text in HOSTILE_RULES.items():
            (site.folder / "rules" / f"{kind}.yaml").write_text(text)
        daemon.until_logged("rules refused, the last good set stays in force")
        daemon.until("the gauge says so", lambda: "killswitch_rules_reload_ok 0.0" in daemon.ask("/metrics")[1])
        site.service.set(FAILING, rollout="search")
        daemon.until("the old rules still trip", lambda: _state(daemon, "search") == "tripped")
    assert_text(daemon.output)
