"""The real LiteLLM proxy as a process, from an environment of its own: its dependencies are many and clash with ours.

``make compat`` makes that environment (`compat/litellm-proxy`) and names its command in ``LITELLM_PROXY``.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

from tests.servers.etcd import free_ports, wait_until

PROXY = os.environ.get("LITELLM_PROXY", "")
needs_proxy = pytest.mark.skipif(
    not PROXY, reason="only in make compat: set LITELLM_PROXY to the litellm command of an environment with its proxy"
)


class LiteLLMProxy:
    """A proxy with ``config.yaml`` of ``folder``; ``client`` has the master key, which also ``/metrics`` asks for."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        key = f"sk-{secrets.token_hex(24)}"
        (port,) = free_ports(1)
        self._log = (folder / "proxy.log").open("wb")
        self._process = subprocess.Popen(
            [PROXY, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        headers = {"Authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)

    def __enter__(self) -> Self:
        wait_until(self._alive, "the proxy answers", seconds=240)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _alive(self) -> bool:
        assert self._process.poll() is None, "the proxy has ended: see proxy.log"
        try:
            return self.client.get("/health/liveliness").status_code == 200
        except httpx.HTTPError:
            return False

    def exposition(self) -> str:
        """What a scrape reads."""
        answer = self.client.get("/metrics", follow_redirects=True)
        answer.raise_for_status()
        return answer.text
