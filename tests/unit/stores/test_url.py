from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.stores.url import Endpoint, StoreUrl


@pytest.mark.parametrize(
    ("url", "endpoints", "tls"),
    [
        ("etcd://localhost", [("localhost", 2379)], False),
        ("etcd://etcd-0:2379,etcd-1:2380/", [("etcd-0", 2379), ("etcd-1", 2380)], False),
        ("etcds://etcd.example.org:443", [("etcd.example.org", 443)], True),
        ("ETCD://[::1]:2379,10.0.0.1", [("::1", 2379), ("10.0.0.1", 2379)], False),
    ],
)
def test_etcd_urls_name_hosts_ports_and_tls(url: str, endpoints: list[tuple[str, int]], tls: bool) -> None:
    parsed = StoreUrl.parse(url)
    assert (parsed.kind, parsed.tls) == ("etcd", tls)
    assert parsed.endpoints == tuple(Endpoint(*endpoint) for endpoint in endpoints)
    assert StoreUrl.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("sqlite:///var/lib/killswitch/flags.db", "sqlite", "/var/lib/killswitch/flags.db"),
        ("sqlite:flags.db", "sqlite", "flags.db"),
        ("sqlite:///with%20space.db", "sqlite", "/with space.db"),
        ("file:///etc/flags.json", "file", "/etc/flags.json"),
    ],
)
def test_file_urls_name_a_path(url: str, kind: str, path: str) -> None:
    parsed = StoreUrl.parse(url)
    assert (parsed.kind, parsed.path) == (kind, path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no scheme"),
        ("localhost", "no scheme"),
        ("localhost:2379", "localhost"),
        ("http://localhost:2379", "write etcd://"),
        ("redis://localhost", "no store is called 'redis'"),
        ("etcd:localhost", "names no host"),
        ("etcd://", "not host:port"),
        ("etcd://a,,b", "not host:port"),
        ("etcd://a:0", "1 to 65535"),
        ("etcd://a:65536", "1 to 65535"),
        ("etcd://a:port", "not host:port"),
        ("etcd://::1:2379", "brackets"),
        ("etcd://[nonsense]:2379", "no IPv6 address"),
        ("etcd://a/prefix", "no path or query"),
        ("etcd://a?x=1", "no path or query"),
        ("etcd://a,a:2379", "twice"),
        ("sqlite://flags.db", "three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///a%00b", "names no file"),
    ],
)
def test_a_url_that_names_no_store_is_refused_with_what_to_write(url: str, said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        StoreUrl.parse(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadSettings) as caught:
        StoreUrl.parse("etcd://root:hunter2@localhost:2379")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60) | st.from_regex(r"(etcds?|sqlite|file):.{0,60}", fullmatch=True))
def test_any_text_is_a_store_or_is_refused(text: str) -> None:
    with suppress(BadSettings):
        parsed = StoreUrl.parse(text)
        assert parsed.endpoints or parsed.path
