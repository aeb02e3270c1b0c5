"""Samples pushed into a real Prometheus by its remote-write protocol: the one way to give it native histograms' past.

::

    with PrometheusServer(tmp_path, flags=REMOTE_WRITE) as server:
        push(server.url, {(("__name__", "latency"),): [(1000.0, Exponential({0: 3}))]})
"""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

REMOTE_WRITE: Final = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms")
_CUSTOM: Final = -53


@dataclass(frozen=True)
class Native:
    """One native histogram. ``counts`` by bucket: exponential ones of ``schema`` are (2^((i-1)/2^s), 2^(i/2^s)].

    ``custom``: upper edges, of which bucket 0 is the first's.
    """

    counts: Mapping[int, int]
    schema: int = 3
    custom: Sequence[float] = ()
    zeros: int = 0
    zero_threshold: float = 1e-128
    gauge: bool = False


Labels = tuple[tuple[str, str], ...]


def push(url: str, series: Mapping[Labels, Iterable[tuple[float, float | Native]]]) -> None:
    """Times in Unix seconds, of the last hour, each series in order."""
    request = b"".join(_bytes(1, _series(labels, samples)) for labels, samples in series.items())
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    sent = urllib.request.Request(f"{url}/api/v1/write", _uncompressed_snappy(request), headers)
    with urllib.request.urlopen(sent, timeout=30) as response:
        assert response.status in {200, 204}


def _series(labels: Labels, samples: Iterable[tuple[float, float | Native]]) -> bytes:
    parts = [_bytes(1, _bytes(1, name.encode()) + _bytes(2, value.encode())) for name, value in sorted(labels)]
    for stamp, value in samples:
        milliseconds = round(stamp * 1000)
        if isinstance(value, Native):
            parts.append(_bytes(4, _histogram(value) + _integer(15, milliseconds)))
        else:
            parts.append(_bytes(2, _double(1, value) + _integer(2, milliseconds)))
    return b"".join(parts)


def _histogram(native: Native) -> bytes:
    spans: list[list[int]] = []
    deltas, before, last = [], 0, -1
    for at, count in sorted(native.counts.items()):
        if spans and at == last + 1:
            spans[-1][1] += 1
        else:
            spans.append([at - last - 1 if spans else at, 1])
        deltas.append(_varint(_zigzag(count - before)))
        before, last = count, at
    whole = native.zeros + sum(native.counts.values())
    parts = [_integer(1, whole), _double(3, 1.0), _integer(4, _zigzag(_CUSTOM if native.custom else native.schema))]
    if not native.custom:
        parts += [_double(5, native.zero_threshold), _integer(6, native.zeros)]
    parts += [_bytes(11, _integer(1, _zigzag(offset)) + _integer(2, length)) for offset, length in spans]
    parts.append(_bytes(12, b"".join(deltas)))
    if native.custom:
        parts.append(_bytes(16, b"".join(struct.pack("<d", edge) for edge in native.custom)))
    if native.gauge:
        parts.append(_integer(14, 3))  # the hint that it is one
    return b"".join(parts)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _integer(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _uncompressed_snappy(content: bytes) -> bytes:
    """The snappy format allows pieces that are not compressed."""
    pieces = [content[at : at + 65536] for at in range(0, len(content), 65536)]
    return _varint(len(content)) + b"".join(b"\xf4" + struct.pack("<H", len(each) - 1) + each for each in pieces)
