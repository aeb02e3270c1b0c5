"""OpenFeature's own OFREP client against our documents over HTTP: what it makes of values, reasons and errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from killswitch.flags import flag
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import Actor
from killswitch.router import bucket
from killswitch.web import ofrep

NAME = "support-copilot"
FLAGS: dict[str, Flag] = {}


class Handler(BaseHTTPRequestHandler):
    """The single-flag endpoint, mounted as the daemon mounts it."""

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        key = self.path.removeprefix("/ofrep/v1/evaluate/flags/")
        answer = ofrep.evaluate(FLAGS, key, self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer.body)


@pytest.fixture
def client() -> Iterator[OpenFeatureClient]:
    FLAGS[NAME] = flag.arm(
        None, rollout=NAME, control="model-old", canary="model-new", percent=50, stage="half", now=1e9, by="me"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        api.set_provider_and_wait(OFREPProvider(f"http://127.0.0.1:{server.server_address[1]}"))
        yield api.get_client()
    finally:
        api.clear_providers()
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_official_client_gets_values_reasons_and_variants(client: OpenFeatureClient) -> None:
    """The official OFREP client gets the split with its values, reasons and variants."""
    for number in range(20):
        details = client.get_string_details(NAME, "default", EvaluationContext(f"u{number}"))
        canary = bucket("", f"u{number}") < 50.0
        assert (details.value, details.variant) == (("model-new", "canary") if canary else ("model-old", "control"))
        assert str(details.reason) == "SPLIT"


def test_the_official_client_sees_a_trip_at_once(client: OpenFeatureClient) -> None:
    person = Actor.PERSON
    FLAGS[NAME] = flag.trip(
        FLAGS[NAME], rollout=NAME, reason="x", rules=(), incident="i", now=1e9, by="me", actor=person
    )
    for number in range(20):
        details = client.get_string_details(NAME, "default", EvaluationContext(f"u{number}"))
        assert (details.value, str(details.reason)) == ("model-old", "DISABLED")


def test_the_official_client_understands_our_errors(client: OpenFeatureClient) -> None:
    assert client.get_string_details("nobody", "d", EvaluationContext("u")).error_code is ErrorCode.FLAG_NOT_FOUND
    assert client.get_string_details(NAME, "d", EvaluationContext()).error_code is ErrorCode.TARGETING_KEY_MISSING
    assert client.get_boolean_details(NAME, True, EvaluationContext("u")).error_code is ErrorCode.TYPE_MISMATCH
