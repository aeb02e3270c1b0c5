"""The nginx example under the real nginx: the SDK's split, and control whenever the document cannot be trusted."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.router import bucket

EXAMPLE = Path(__file__).parents[3] / "examples" / "nginx"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
MODULE = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
pytestmark = pytest.mark.skipif(
    not (Path(NGINX).exists() and MODULE.exists()), reason="needs nginx and njs: apt install libnginx-mod-http-js"
)
NAME = "support-copilot"


def armed(percent: float, stage: str = "custom") -> Flag:
    return flag.arm(
        None, rollout=NAME, control="old", canary="new", percent=percent, stage=stage, now=1e9, by="me", salt="соль"
    )


def until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.05)


class Edge:
    """A running nginx with the example's script; upstreams are two of its own locations."""

    def __init__(self, folder: Path) -> None:
        self.flag_file = folder / "flag.json"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shutil.copy(EXAMPLE / "killswitch.js", folder)
        text = (EXAMPLE / "nginx.conf").read_text()
        for old, new in {
            "load_module modules/": f"load_module {MODULE.parent}/",
            "events {}": f"daemon off; pid {folder}/pid; error_log stderr; events {{}}",
            "/etc/nginx/killswitch": str(folder),
            "/run/killswitch/flag.json": str(self.flag_file),
            "proxy_pass http://$llm_upstream;": 'return 200 "$llm_upstream";',
            "server model-old:8000;": "server 127.0.0.1:1;",
            "server model-new:8000;": "server 127.0.0.1:1;",
            "listen 8080;": f"listen 127.0.0.1:{port};",
            "http {": f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; "
            f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        if os.geteuid() == 0:  # else the workers would be nobody, and the test's folder is not for everybody
            text = f"user root;\n{text}"
        (folder / "nginx.conf").write_text(text)
        self.process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"])
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5)
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.client.get("/").status_code == 200
        except httpx.HTTPError:
            return False

    def write(self, content: bytes) -> None:
        (self.flag_file.with_suffix(".new")).write_bytes(content)
        self.flag_file.with_suffix(".new").rename(self.flag_file)

    def upstream(self, user: str | None) -> str:
        headers = {} if user is None else {"x-user-id": user.encode()}
        return self.client.get("/", headers=headers).text  # type: ignore[arg-type]  # httpx takes bytes values


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    edge = Edge(tmp_path)
    yield edge
    edge.client.close()
    edge.process.terminate()
    edge.process.wait()


CANARY = next(f"user-{n}" for n in range(1000) if bucket("соль", f"user-{n}") < 1.0)


def test_the_edge_splits_users_as_the_sdk_does_at_many_percents(edge: Edge) -> None:
    """The edge sends every user to the same cohort as the SDK does, at many percents."""
    users = [*(f"user-{n}" for n in range(150)), "王小明", "müller", "😀", "a b", "x" * 1000]
    for percent in (0.0, 0.01, 5.0, 37.5, 99.0):
        edge.write(flag_document(armed(percent)))
        until(
            lambda percent=percent: (
                edge.upstream(CANARY) == ("model_new" if bucket("соль", CANARY) < percent else "model_old")
            )
        )
        time.sleep(1.1)  # the script reads the file again at most once a second
        for user in users:
            expected = "model_new" if bucket("соль", user) < percent else "model_old"
            assert edge.upstream(user) == expected, (user, percent)


def test_a_trip_a_missing_file_garbage_and_an_old_file_are_control(edge: Edge) -> None:
    def serves(upstream: str) -> None:
        until(lambda: edge.upstream(CANARY) == upstream)

    good, person = flag_document(armed(99.0)), Actor.PERSON
    tripped = flag.trip(armed(99.0), rollout=NAME, reason="x", rules=(), incident="i", now=1e9, by="me", actor=person)
    for bad in (flag_document(tripped), b"{", b"[]", b"null", good.replace(b'"format": 1', b'"format": 2')):
        edge.write(good)
        serves("model_new")
        edge.write(bad)
        serves("model_old")
    edge.write(good)
    serves("model_new")
    edge.flag_file.unlink()
    serves("model_old")
    edge.write(good)
    serves("model_new")
    long_ago = time.time() - 120
    os.utime(edge.flag_file, (long_ago, long_ago))
    serves("model_old")


def test_in_aa_the_canarys_cohort_gets_the_control_model(edge: Edge) -> None:
    """Nothing trips in `aa`: a canary that was served there would have no kill switch."""
    edge.write(flag_document(armed(99.0)))
    until(lambda: edge.upstream(CANARY) == "model_new")
    edge.write(flag_document(armed(99.0, stage="aa")))
    until(lambda: edge.upstream(CANARY) == "model_old")
    assert edge.client.get("/", headers={"x-user-id": CANARY}).headers["x-llm-cohort"] == "canary"


def test_a_request_without_a_user_is_control(edge: Edge) -> None:
    edge.write(flag_document(armed(99.0)))
    until(lambda: edge.upstream(CANARY) == "model_new")
    assert edge.upstream(None) == "model_old"
