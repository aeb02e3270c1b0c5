"""The real `helm`, with folders of its own; `make compat` builds it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.compat_program import compat_program
from tests.servers.image import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm"
NAMESPACE = "killswitch"


class Helm:
    """Runs `helm` for the chart. ``kubeconfig`` is only needed to talk to a cluster."""

    def __init__(self, folder: Path, *, kubeconfig: Path | None = None) -> None:
        program = compat_program("helm")
        if program is None:
            pytest.skip("no helm here: `make compat` builds it (needs Go), or set KILLSWITCH_TEST_HELM")
        self._program = program
        self._environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self._environment |= {f"HELM_{what}_HOME": str(folder / what.lower()) for what in ("CACHE", "CONFIG", "DATA")}
        self._environment["KUBECONFIG"] = str(kubeconfig or folder / "none")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command; also one that fails is returned."""
        return subprocess.run(
            [self._program, *arguments], capture_output=True, text=True, timeout=120, check=False, env=self._environment
        )

    def done(self, *arguments: str) -> str:
        """One command that has to succeed, without a warning; what it printed."""
        finished = self.run(*arguments)
        assert finished.returncode == 0, finished.stderr
        assert "warning" not in finished.stderr.lower(), finished.stderr
        return finished.stdout

    def rendered(
        self, values: Mapping[str, Any] | None = None, *, release: str = "killswitch", namespace: str = NAMESPACE
    ) -> list[dict[str, Any]]:
        """The chart's objects, without the pod of `helm test`. ``values``: path -> value."""
        text = self.done("template", release, str(CHART), "--namespace", namespace, *given(values or {}))
        objects = [one for one in yaml.safe_load_all(text) if one is not None]
        return [one for one in objects if "helm.sh/hook" not in one["metadata"].get("annotations", {})]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Why these values are refused; fails if they are not."""
        finished = self.run("template", "killswitch", str(CHART), "--namespace", NAMESPACE, *given(values))
        assert finished.returncode != 0, f"taken: {values}"
        return finished.stderr


def given(values: Mapping[str, Any]) -> list[str]:
    """The values as arguments; a dot in a key is escaped by the caller, as a user would."""
    return [part for path, value in values.items() for part in ("--set-json", f"{path}={json.dumps(value)}")]
