"""What a peer sees of its connection."""

from __future__ import annotations

import socket


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it sends meanwhile is read and dropped."""
    connection.settimeout(0.1)
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
