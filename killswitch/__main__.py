"""``python -m killswitch`` is the ``killswitch`` command."""

from __future__ import annotations

from killswitch.cli import main

main()
