"""The daemon's HTTP without its network: who may change what, bounds, headers, and what health depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from killswitch.errors import AccessDenied
from killswitch.flags.flag import Flag
from killswitch.flags.incident import Incident
from killswitch.roles.seen import NO_ROLES, RolesSeen
from killswitch.status import reports
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.web.app import application
from killswitch.web.request_limits import MAX_BODY
from tests.doubles.pages import armed, incident
from tests.unit.status.test_status_document import HOSTILE, report

TOKEN = "s3cret"


class Daemon:
    """What the web server asks of one."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = SelfMetrics("1").registry
        self.controller_id = "a"
        self.latest: CycleReport | None = report()
        self.hung: str | None = None
        self.starting: str | None = None
        self.problems: list[str] = []
        self.token: str | None = TOKEN
        self.reloads = 0

    def age(self) -> float | None:
        return 1.0

    def unhealthy(self) -> str | None:
        return self.hung

    def unready(self) -> str | None:
        return self.starting

    def tripped_on(self, flags: Sequence[Flag]) -> Mapping[str, Incident]:
        return {flag.rollout: incident() for flag in flags if flag.trip is not None}

    def roles(self) -> RolesSeen:
        return NO_ROLES

    def reload(self) -> list[str]:
        self.reloads += 1
        return self.problems

    def api_token(self) -> str | None:
        if self.token == "gone":
            raise AccessDenied("the file of api_token is not there")
        return self.token


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> TestClient:
    return TestClient(application(daemon), base_url="http://localhost")


def test_health_is_the_loops_and_readiness_the_first_cycles(daemon: Daemon, client: TestClient) -> None:
    assert (client.get("/-/healthy").status_code, client.get("/-/ready").status_code) == (200, 200)
    daemon.hung, daemon.starting = "the loop has not come round for 91 s", "the first cycle has not finished"
    assert client.get("/-/healthy").status_code == 503
    assert "91 s" in client.get("/-/healthy").text
    assert client.get("/-/ready").status_code == 503


@pytest.mark.parametrize(
    ("token", "header", "status"),
    [
        (TOKEN, f"Bearer {TOKEN}", 200),
        (TOKEN, "", 401),
        (TOKEN, f"Bearer {TOKEN}x", 401),
        (TOKEN, f"bearer {TOKEN}", 401),
        (TOKEN, TOKEN, 401),
        (None, "Bearer None", 403),
        (None, "Bearer ", 403),
        ("gone", "Bearer gone", 503),
    ],
)
def test_only_the_token_changes_state(
    daemon: Daemon, client: TestClient, token: str | None, header: str, status: int
) -> None:
    daemon.token = token
    assert client.post("/-/reload", headers={"Authorization": header}).status_code == status
    assert daemon.reloads == (status == 200)


def test_refused_rules_are_listed_and_no_other_method_reloads(daemon: Daemon, client: TestClient) -> None:
    daemon.problems = ["a.yaml:3: no"]
    answer = client.post("/-/reload", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, "a.yaml:3: no" in answer.text) == (422, True)
    assert client.get("/-/reload").status_code == 405
    assert daemon.reloads == 1


@pytest.mark.parametrize(
    "path", ["/", "/-/healthy", "/metrics", "/api/v1/status", "/nowhere", "/api/v1/explain/nobody"]
)
def test_every_answer_carries_the_safe_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_body_beyond_the_bound_is_refused_before_it_is_read(daemon: Daemon, client: TestClient) -> None:
    head = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/-/reload", headers=head, content=b"x" * (MAX_BODY + 1)).status_code == 413
    for length in ("-1", "1e3", "9" * 400):
        assert client.post("/-/reload", headers={**head, "Content-Length": length}).status_code == 413
    assert daemon.reloads == 0


def test_explain_of_an_unknown_rollout_lists_the_known(client: TestClient) -> None:
    answer = client.get("/api/v1/explain/nobody")
    assert answer.status_code == 404
    assert answer.json()["known"] == ["idle", "support-copilot"]
    assert client.get("/api/v1/explain/support-copilot").json()["rollout"] == "support-copilot"


def test_while_flags_cannot_be_read_no_rollout_is_called_unknown(daemon: Daemon, client: TestClient) -> None:
    daemon.latest = replace(report(), store_problem="flag store: no quorum")
    answer = client.get("/api/v1/explain/nobody")
    assert (answer.status_code, "UNKNOWN" in answer.text) == (503, True)
    assert client.get("/api/v1/explain/support-copilot").status_code == 200
    assert "<p class=problem>flag store: no quorum</p>" in client.get("/").text


def test_an_armed_rollout_without_rules_stands_out(daemon: Daemon, client: TestClient) -> None:
    daemon.latest = replace(report(), reports={"x": reports.idle("x", armed(), None)})
    assert "<p class=problem>not monitored: no rule file" in client.get("/").text
    assert client.get("/api/v1/status").json()["rollouts"][0]["monitored"] is False


def test_commands_in_a_sentence_are_code_on_the_page(daemon: Daemon, client: TestClient) -> None:
    idle = reports.idle("x", None, None)
    daemon.latest = replace(report(), reports={"x": idle, "y": replace(idle, rollout="y", sentence="odd ` <b>")})
    page = client.get("/").text
    assert "<code>killswitch arm x --stage ramp_1</code>" in page
    assert "odd ` &lt;b&gt;" in page


def test_what_hostile_data_says_cannot_become_markup(daemon: Daemon, client: TestClient) -> None:
    daemon.latest = report(HOSTILE)
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text


def test_before_the_first_cycle_everything_answers(daemon: Daemon, client: TestClient) -> None:
    daemon.latest = None
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/status").json()["rollouts"] == []
    assert client.get("/api/v1/explain/support-copilot").status_code == 503  # whether there is one is not known yet
    assert "killswitch_build_info" in client.get("/metrics").text
