"""A service without a model: 20 made-up requests a second of 5,000 users, to try the switch on one machine.

    python examples/made_up_traffic.py   # in the clone; counters at http://127.0.0.1:8000/metrics

While a file named ``worse`` is in the working directory, ``model-new`` refuses one request in four. KILLSWITCH_STORE
and PORT name another flag store and another port.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import threading
import time
from pathlib import Path

from prometheus_client import start_http_server

from killswitch.router import CohortMetrics, Router

STORE = os.environ.get("KILLSWITCH_STORE", "etcd://127.0.0.1:2379")
WORKERS = 20
os.environ.setdefault("KILLSWITCH_FEEDBACK_KEY", secrets.token_hex(32))  # one process: any key serves

router = Router("support-copilot", store=STORE, control="model-old")
metrics = CohortMetrics(router)


def request() -> None:
    user = f"user-{random.randrange(5000)}"
    route = router.route(user)
    refusals = 0.25 if route.model == "model-new" and Path("worse").exists() else 0.01
    with metrics.request(route, user=user) as answer:
        time.sleep(random.lognormvariate(-1.5, 0.4))
        if random.random() < refusals:
            answer.refused()
        if random.random() < 0.005:
            raise RuntimeError("made-up failure")
    if random.random() < 0.005:
        metrics.thumbs_down(answer.token)


def worker() -> None:
    while True:
        with contextlib.suppress(RuntimeError):
            request()
        time.sleep(random.expovariate(1.3))


if __name__ == "__main__":
    start_http_server(int(os.environ.get("PORT", "8000")), "127.0.0.1")
    for _ in range(WORKERS):
        threading.Thread(target=worker, daemon=True).start()
    threading.Event().wait()
