"""Vectors from any server that speaks OpenAI's ``POST /v1/embeddings``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from killswitch.errors import BadSettings, Unavailable
from killswitch.net.bounded_http import BoundedSession, killswitch_errors, refusal
from killswitch.net.credentials import HttpCredentials, Secret
from killswitch.shadow.similarity import EmbeddingSimilarity, Vectors

THRESHOLD: Final = 0.80
TIMEOUT: Final = 30.0  # seconds for one batch
_BATCH: Final = 64  # texts in one request
_LONGEST: Final = 8_000  # characters of a text: models read about 8,000 tokens
_MOST_DIMENSIONS: Final = 8_192
_MAX_BODY: Final = 64 * 1024 * 1024  # bytes: 64 vectors of 8,192 numbers in decimal


class EmbeddingServer:
    """``url``: such as ``https://api.openai.com/v1``; the path ``/embeddings`` is added. The key comes from a file."""

    def __init__(
        self, url: str, model: str, key: Secret | None = None, *, session: BoundedSession | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise BadSettings(["an embedding server's address is http(s)://host/v1; its key comes from a file"])
        self.name = f"{model} at {parts.hostname}"
        self._url = f"{url.rstrip('/').removesuffix('/embeddings')}/embeddings"
        self._model = model
        self._session = session or BoundedSession(
            timeout=TIMEOUT, max_body=_MAX_BODY, credentials=HttpCredentials(bearer=key)
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises Unavailable, AccessDenied or Refused: a text without a vector has no similarity, not a low one."""
        rows = [self._batch(texts[first : first + _BATCH]) for first in range(0, len(texts), _BATCH)]
        if len({row.shape[1] for row in rows}) > 1:
            raise Unavailable(f"{self.name} answered with vectors of several lengths; is it one model?")
        return np.concatenate(rows) if rows else np.empty((0, 1), np.float32)

    def _batch(self, texts: Sequence[str]) -> Vectors:
        # an empty text is refused by servers
        asked = [text[:_LONGEST].encode(errors="replace").decode() or " " for text in texts]
        with killswitch_errors():
            response = self._session.post(
                self._url, json={"model": self._model, "input": asked, "encoding_format": "float"}
            )
            refused = refusal(response)
            if refused is not None:
                raise refused
            document = response.json()
        return self._vectors(document, len(asked))

    def _vectors(self, document: Any, wanted: int) -> Vectors:
        try:
            rows = sorted(document["data"], key=lambda row: row["index"])
            vectors = np.asarray([row["embedding"] for row in rows], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"{self.name} answered without vectors; is it an embeddings endpoint?") from error
        if vectors.ndim != 2 or len(vectors) != wanted or not 1 <= vectors.shape[1] <= _MOST_DIMENSIONS:
            raise Unavailable(f"{self.name} answered {vectors.shape} numbers for {wanted} texts")
        if not np.isfinite(vectors).all():
            raise Unavailable(f"{self.name} answered with a number that is not finite")
        return vectors

    def close(self) -> None:
        self._session.close()


def server_similarity(url: str, model: str, key: Secret | None, threshold: float = THRESHOLD) -> EmbeddingSimilarity:
    """The measure by an embedding server's vectors. Raises BadSettings for an address that is none."""
    return EmbeddingSimilarity(EmbeddingServer(url, model, key), threshold)
