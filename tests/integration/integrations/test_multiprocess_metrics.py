"""Prefork and prometheus-client's multiprocess mode: every worker routes, and their counts are one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from killswitch.flags import flag
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.transitions import Actor

REPOSITORY = Path(__file__).parents[3]
MASTER = textwrap.dedent("""
    import json, os, sys, time
    from killswitch.router import CohortMetrics, Router

    path, workers = sys.argv[1], int(sys.argv[2])
    router = Router("support-copilot", f"file://{path}", control="model-old")
    metrics = CohortMetrics(router)
    assert router.wait_until_read(20), "the master has not read the flag"
    children = []
    for number in range(workers):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            routes = []
            end = time.monotonic() + 30
            for user in range(50):
                route = router.route(f"user-{user}")
                with metrics.request(route, user=f"user-{user}"):
                    routes.append(route.cohort.value)
            os.write(writer, b"routed\\n")
            while router.routes()[0].reason != "DISABLED" and time.monotonic() < end:
                time.sleep(0.05)
            after = router.route("user-1", cohort="canary")
            os.write(writer, json.dumps({"routes": routes, "after": after.cohort.value}).encode() + b"\\n")
            os._exit(0)
        os.close(writer)
        children.append((child, os.fdopen(reader)))
    for _, pipe in children:
        assert pipe.readline() == "routed\\n"
    print("ROUTED", flush=True)
    answers = [json.loads(pipe.readline()) for _, pipe in children]
    for child, _ in children:
        os.waitpid(child, 0)
    from prometheus_client import CollectorRegistry, multiprocess
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    counted = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == "llm_requests_total":
                key = f"{sample.labels['cohort']} {sample.labels['model']} {sample.labels['outcome']}"
                counted[key] = counted.get(key, 0) + sample.value
    print(json.dumps({"answers": answers, "counted": counted}), flush=True)
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_workers_route_alike_obey_a_trip_and_add_up(tmp_path: Path) -> None:
    """Forked workers route users alike, each obeys a trip, and their counts add up."""
    path, folder = tmp_path / "flag.json", tmp_path / "metrics"
    folder.mkdir()
    armed = flag.arm(
        None, rollout="support-copilot", control="model-old", canary="model-new", percent=50, stage="half",
        now=time.time(), by="test",
    )  # fmt: skip
    path.write_bytes(flag_document(armed))
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(REPOSITORY)}
    workers = 3
    with subprocess.Popen(
        [sys.executable, "-c", MASTER, str(path), str(workers)], stdout=subprocess.PIPE, text=True, env=environment
    ) as master:
        assert master.stdout is not None
        assert master.stdout.readline() == "ROUTED\n"
        person = Actor.PERSON
        tripped = flag.trip(
            armed,
            rollout="support-copilot",
            reason="x",
            rules=(),
            incident="i",
            now=time.time(),
            by="test",
            actor=person,
        )
        path.write_bytes(flag_document(tripped))
        result = json.loads(master.stdout.readline())
    assert master.returncode == 0
    assert [answer["after"] for answer in result["answers"]] == ["control"] * workers
    routes = [answer["routes"] for answer in result["answers"]]
    assert routes == [routes[0]] * workers
    canaries = routes[0].count("canary")
    assert 0 < canaries < 50
    assert result["counted"]["canary model-new ok"] == workers * canaries
    assert result["counted"]["control model-old ok"] == workers * (50 - canaries)
    assert result["counted"]["canary model-new error"] == 0.0
