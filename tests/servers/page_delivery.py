"""A process that does nothing but deliver pages, for tests that kill it.

Run as ``python page_delivery.py STORE_URL SLACK_BASE_URL TOKEN_FILE CLAIM_TTL``; it goes on until it is killed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def start(store: str, slack: str, token: Path, claim_ttl: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, store, slack, str(token), str(claim_ttl)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def main(store: str, slack: str, token: str, claim_ttl: str) -> None:
    sys.path.insert(0, str(ROOT))
    # after the path is set: this file is run, not imported
    from killswitch.net.credentials import Secret  # noqa: PLC0415
    from killswitch.pages.delivery import DeliveryPolicy, PageDelivery  # noqa: PLC0415
    from killswitch.pages.receivers.slack import SlackPager  # noqa: PLC0415
    from killswitch.stores.opening import open_store  # noqa: PLC0415

    pager = SlackPager(Secret.from_file(token), base_url=slack)
    delivery = PageDelivery(
        open_store(store), [pager], owner="child", policy=DeliveryPolicy(claim_ttl=float(claim_ttl), first_pause=0.1)
    )
    while True:
        delivery.run_once()
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
