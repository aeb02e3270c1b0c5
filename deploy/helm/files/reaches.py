"""Asks the running daemon whether it reaches its servers. `helm test` runs this in a pod and shows what it prints."""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ["DAEMON_URL"]
SERVERS = {"flag store": "store_problem", "metric store": "source_problem"}


def asked(path: str) -> str:
    """What the daemon answers. Ends the script with the reason if it does not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(URL + path, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        sys.exit(f"{URL}{path}: HTTP {error.code}: {error.read(300).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{URL}{path}: {error}. Look at the pods, and at the NetworkPolicy.")


asked("/-/ready")
status = json.loads(asked("/api/v1/status"))
problems = [f"{server}: {status[key]}" for server, key in SERVERS.items() if status.get(key)]
if problems:
    sys.exit("\n".join(problems))
sys.stdout.write(f"{status['controller']} is ready: its flag store and its metric store answer\n")
