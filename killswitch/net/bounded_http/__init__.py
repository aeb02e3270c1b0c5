"""An HTTP session that always comes back: bounded in time, in bytes, and in where it goes.

`BoundedSession` is a `requests.Session`, so that client libraries accept it. What it adds:

- one *total* deadline per call. `requests`' own timeout is per socket operation, so that a server that
  drips a byte now and then holds a caller for ever. Here every wait (name lookup, connect, TLS
  handshake, sending, headers, body, redirects) ends at the same point of the monotonic clock.
- a body cap, on the wire and after decompression.
- no retries, whatever adapter a library mounts; no redirect to another origin; no proxies, ``.netrc``
  or CA bundles from the environment (a proxy is an argument); no cookies.
- servers are always verified; TLS files and secrets are taken up again when they change.
- one error, `NoAnswer`, that knows whether the request had been sent, and says in a sentence why.

Every response is read in full before it is returned, under the deadline; ``stream=True`` gives the
same bytes from memory.
"""

from killswitch.net.bounded_http.failures import (
    NoAnswer,
    excerpt,
    find_no_answer,
    hiding,
    killswitch_errors,
    refusal,
    retry_after,
)
from killswitch.net.bounded_http.session import DEFAULT_MAX_BODY, DEFAULT_TIMEOUT, BoundedSession, Credentials

__all__ = [
    "DEFAULT_MAX_BODY",
    "DEFAULT_TIMEOUT",
    "BoundedSession",
    "Credentials",
    "NoAnswer",
    "excerpt",
    "find_no_answer",
    "hiding",
    "killswitch_errors",
    "refusal",
    "retry_after",
]
