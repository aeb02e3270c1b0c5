"""Writes routing.json: what every implementation of the split must answer, in any language.

Run ``python tests/vectors/make_routing.py``. It holds the formula in its plainest form, on purpose apart from the
package: the tests compare the two.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FILE = Path(__file__).with_name("routing.json")
SALTS = ("", "s", "2026-11", "соль", "🧂", " ", "salt/with:marks")
KEYS = (
    *(
        "",
        " ",
        "a",
        "A",
        "0",
        "42",
        "-1",
        "null",
        "user-1",
        "user-2",
        "user-12345",
        "alice@example.com",
        "user 1",
        " user-1",
    ),
    *(
        "a\nb",
        "a\tb",
        "a\u0000b",
        '"quoted"',
        "back\\slash",
        "%41",
        "a+b",
        "../../etc",
        "<script>",
        "'; drop table users; --",
    ),
    *(
        "müller",
        "mu\u0308ller",
        "王小明",
        "Ωmega",
        "مرحبا",
        "नमस्ते",
        "😀",
        "👩‍👩‍👧‍👦",
        "🇪🇺",
        "\u200b",
        "\ufeff",
        "\U0010ffff",
        "\ufffd",
    ),
    *(
        "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "x" * 55,
        "x" * 56,
        "x" * 63,
        "x" * 64,
        "x" * 65,
    ),
    *("x" * 255, "x" * 256, "y" * 1000, "z" * 10_240, "é" * 5_120),
    *(f"user-{number}" for number in range(1000, 1100)),
)
# lone surrogates count as U+FFFD, as in every WHATWG TextEncoder; two that make a pair are one character
SURROGATES = ("\ud800", "\udfff", "a\udc80b", "\ud83d\ude00", "\ude00\ud83d")
BYTES = (b"", b"user-1", b"\xff\xfe\x00", bytes(range(256)))


def bucket(data: bytes) -> float:
    return (int(hashlib.sha256(data).hexdigest()[:8], 16) % 10000) / 100


def well_formed(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def main() -> None:
    vectors: list[dict[str, object]] = [
        {"salt": salt, "key": key, "bucket": bucket(well_formed(salt + key).encode())}
        for number, key in enumerate((*KEYS, *SURROGATES))
        # every salt for the short and strange ones, one salt in turn for the many
        for salt in (SALTS if number < 40 else (SALTS[0], SALTS[1 + number % (len(SALTS) - 1)]))
    ]
    for data in BYTES:
        vectors.extend(
            {"salt": salt, "key_hex": data.hex(), "bucket": bucket(salt.encode() + data)} for salt in SALTS[:3]
        )
    document = {
        "about": "bucket = (int(sha256(salt + key, UTF-8).hexdigest()[:8], 16) % 10000) / 100; canary when bucket < "
        "percent, for every percent from 0 to 100. key_hex: the key's bytes. In a key, a lone surrogate counts as "
        "U+FFFD.",
        "vectors": vectors,
        "decisions": [
            {"salt": "", "key": "user-1", "percent": percent / 100, "canary": bucket(b"user-1") < percent / 100}
            for percent in range(10_001)
            if percent % 500 == 0 or abs(percent / 100 - bucket(b"user-1")) < 0.025
        ],
    }
    FILE.write_text(json.dumps(document, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    main()
