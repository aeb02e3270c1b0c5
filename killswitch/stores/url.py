"""Parses the URL that names a store in settings, on the command line and in the SDK. It opens nothing.

==============================================  ==================================================
``etcd://host:2379,host2:2379``                 etcd's HTTP gateway, endpoints tried in turn
``etcds://host:2379``                           the same over TLS
``sqlite:///absolute/path``, ``sqlite:path``    one file, for one machine
``file:///absolute/path.json``                  flags that another program writes; read only
==============================================  ==================================================
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from killswitch.errors import BadSettings

DEFAULT_ETCD_PORT: Final = 2379
_EXAMPLES: Final = "write etcd://host:2379,host2:2379, etcds://host:2379, sqlite:///path or file:///path.json"
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?\Z")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One member of a cluster. ``host`` is a name or an address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed URL: ``endpoints`` for etcd, ``path`` for sqlite and file."""

    kind: Literal["etcd", "sqlite", "file"]
    endpoints: tuple[Endpoint, ...] = ()
    tls: bool = False
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> StoreUrl:
        """Raises BadSettings, with what to write instead; a password in the URL is never repeated."""
        scheme, colon, rest = url.strip().partition(":")
        if not colon or not scheme.isidentifier():
            raise BadSettings([f"the store URL has no scheme; {_EXAMPLES}"])
        match scheme.lower():
            case "etcd" | "etcds":
                return cls("etcd", endpoints=_endpoints(rest), tls=scheme.lower() == "etcds")
            case "sqlite":
                return cls("sqlite", path=_path(scheme, rest))
            case "file":
                return cls("file", path=_path(scheme, rest))
            case "http" | "https":
                raise BadSettings(
                    [f"store URL {scheme}:…: for etcd write etcd://host:2379, with TLS etcds://host:2379"]
                )
        raise BadSettings([f"no store is called {scheme!r}; {_EXAMPLES}"])

    def __str__(self) -> str:
        if self.kind == "etcd":
            return f"etcd{'s' if self.tls else ''}://{','.join(map(str, self.endpoints))}"
        return f"{self.kind}://{self.path}" if self.path.startswith("/") else f"{self.kind}:{self.path}"


def _endpoints(rest: str) -> tuple[Endpoint, ...]:
    if not rest.startswith("//"):
        raise BadSettings([f"the etcd store URL names no host; {_EXAMPLES}"])
    hosts = rest[2:].removesuffix("/")
    if "@" in hosts:
        raise BadSettings(["put no user or password into the store URL, which is logged; give both as settings"])
    if re.search(r"[/?#]", hosts):
        raise BadSettings([f"an etcd store URL has only hosts and ports, no path or query; {_EXAMPLES}"])
    endpoints = tuple(_endpoint(part.strip()) for part in hosts.split(","))
    if len(set(endpoints)) < len(endpoints):
        raise BadSettings([f"the store URL names an endpoint twice: {hosts}"])
    return endpoints


def _endpoint(text: str) -> Endpoint:
    match = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d{1,5}))?", text, re.ASCII)
    if match is None:
        raise BadSettings([f"{text!r} is not host:port (write an IPv6 address in brackets: [::1]:2379)"])
    host = match["six"] if match["six"] is not None else match["name"]
    port = int(match["port"] or DEFAULT_ETCD_PORT)
    if not 1 <= port <= 65535:
        raise BadSettings([f"port {port} in {text!r}: give 1 to 65535"])
    if match["six"] is not None:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise BadSettings([f"{text!r}: the brackets hold no IPv6 address"]) from None
    elif not _HOST.match(host):
        raise BadSettings([f"{text!r} is not host:port"])
    return Endpoint(host, port)


def _path(scheme: str, rest: str) -> str:
    # As in file URLs, two slashes come before an absolute path; without slashes the path is relative.
    if rest.startswith("//") and not rest.startswith("///"):
        raise BadSettings([f"write {scheme}:///absolute/path (three slashes) or {scheme}:relative/path"])
    # SQLAlchemy writes four slashes; POSIX gives a path with two leading slashes no portable meaning.
    path = unquote("/" + rest.lstrip("/") if rest.startswith("///") else rest)
    if re.search(r"[?#]", rest):
        raise BadSettings([f"the {scheme} store URL takes no query; write {scheme}:///path/of/the/file"])
    if not path or path.endswith("/") or "\0" in path:
        raise BadSettings([f"the {scheme} store URL names no file; write {scheme}:///path/of/the/file"])
    return path
