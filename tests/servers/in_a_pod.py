"""Runs a program in what a pod has around it: names of the cluster's DNS, and the token of a ServiceAccount.

A mount namespace of its own has another ``/etc/hosts`` and ``/run``; the machine's are untouched. Needs root.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"


def skip_without_mounts() -> None:
    """Skips the test where no mount namespace can be made."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a mount namespace cannot be made here: needs root")


def in_a_pod(command: list[str], *, scratch: Path, hosts: Mapping[str, str], account: Path | None = None) -> list[str]:
    """The command line that starts ``command`` there.

    ``hosts``: name -> address. ``account``: a folder with ``token`` and ``ca.crt``. ``scratch``: for files of ours.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / "hosts"
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in hosts.items())]
    file.write_text("".join(f"{line}\n" for line in lines))
    steps = ["mount --make-rprivate /", f"mount --bind {file} /etc/hosts", "mount -t tmpfs none /run"]
    if account is not None:
        steps.append(f"mkdir -p {_ACCOUNT} && mount --bind {account} {_ACCOUNT}")
    return ["unshare", "-m", "/bin/sh", "-ec", "\n".join([*steps, 'exec "$@"']), "sh", *command]
