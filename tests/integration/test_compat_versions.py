"""The tests run against the servers they were told to run against (`make compat`)."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers.etcd import ETCD, EtcdCluster
from tests.servers.prometheus import PROMETHEUS, PrometheusServer


def _said_by(program: str) -> str:
    """The version a program prints of itself: ``etcd Version: 3.6.16``, ``prometheus, version 3.15.0 (…``."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"ersion:? (\d+\.\d+\.\d+)", printed.stdout + printed.stderr)
    assert found is not None, printed
    return found.group(1)


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def test_the_etcd_that_answers_is_the_one_that_was_named(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as cluster:
        member = cluster.members[0]
        assert _json(f"http://{member.endpoint}/version")["etcdserver"] == _said_by(ETCD)


def test_the_prometheus_that_answers_is_the_one_that_was_named(tmp_path: Path) -> None:
    with PrometheusServer(tmp_path) as server:
        version = _json(f"{server.url}/api/v1/status/buildinfo")["data"]["version"]
        assert version.split("+")[0] == _said_by(PROMETHEUS)
