"""A source by its URL, as settings and the command line name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from killswitch.errors import BadSettings
from killswitch.net.bounded_http import Credentials
from killswitch.net.credentials import TLS
from killswitch.sources import Source
from killswitch.sources.clickhouse import ClickHouseRows
from killswitch.sources.prometheus.source import Prometheus
from killswitch.sources.recording import Recording

_FORMS = (
    "prometheus+http://host:9090/prefix, prometheus+https://…, scrape+http://host:8000/metrics,host2:8000/metrics, "
    "clickhouse+http://host:8123/table, "
    "or recording:///path/of/file.om"
)

_SERVERS: Final[Mapping[str, type[Prometheus | ClickHouseRows]]] = {
    "prometheus": Prometheus,
    "clickhouse": ClickHouseRows,
}


def open_source(
    url: str,
    *,
    scrape_interval: float = 15.0,
    credentials: Credentials | None = None,
    tls: TLS | None = None,
    proxy: str | None = None,
    timeout: float = 10.0,
    samples: Path | None = None,
) -> Source:
    """The source that ``url`` names. ``scrape_interval`` and ``timeout`` (of one request) in seconds.

    ``samples`` is where ``scrape+http`` keeps what it has read. Raises BadSettings for a URL of another
    form, BadDocument for a recording that cannot be read.
    """
    if not 0.001 <= scrape_interval <= 3600:
        raise BadSettings([f"a scrape interval of {scrape_interval:g} s cannot be; give the one of the metric store"])
    scheme, _, rest = url.partition("://")
    store, _, transport = scheme.partition("+")
    if store in _SERVERS and transport in {"http", "https"}:
        return _SERVERS[store](
            f"{transport}://{rest}",
            scrape_interval=scrape_interval,
            credentials=credentials,
            tls=tls,
            proxy=proxy,
            timeout=timeout,
        )
    if scheme in {"scrape+http", "scrape+https"}:
        # its history is kept in SQLite, which costs a daemon on Prometheus 1 MB for nothing
        from killswitch.sources.scrape.source import Scrape  # noqa: PLC0415

        return Scrape(
            _targets(scheme.removeprefix("scrape+"), rest),
            scrape_interval=scrape_interval,
            samples=samples,
            credentials=credentials,
            tls=tls,
            proxy=proxy,
            timeout=timeout,
        )
    if scheme == "recording" and rest.startswith("/"):
        return Recording(Path(unquote(urlsplit(url).path)), scrape_interval=scrape_interval)
    named = f"no source is called {scheme!r}" if re.fullmatch(r"[a-z+]{1,40}", scheme) else "the source has no scheme"
    if scheme in {"http", "https"}:
        raise BadSettings(
            [f"{named}; write prometheus+{scheme}://… for a Prometheus, scrape+{scheme}://… for services"]
        )
    raise BadSettings([f"{named}; a source is one of: {_FORMS}"])


def _targets(scheme: str, rest: str) -> list[str]:
    """``host:port/metrics,host2:port`` as URLs; a target may also be a whole URL itself."""
    targets = []
    for part in filter(None, (part.strip() for part in rest.split(","))):
        target = part if "://" in part else f"{scheme}://{part}"
        targets.append(target if urlsplit(target).path.strip("/") else target.rstrip("/") + "/metrics")
    if not targets:
        raise BadSettings([f"no target to scrape is named; a source is one of: {_FORMS}"])
    return targets
