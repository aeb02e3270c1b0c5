"""A page of each provider's list of models, as it is on the wire; two models a page where there are pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Listed = Sequence[Mapping[str, Any]]
Query = Mapping[str, Sequence[str]]


def of_openai(listed: Listed) -> dict[str, Any]:
    entries = [{"object": "model", "created": 1764500000, "owned_by": "system", **one} for one in listed]
    return {"object": "list", "data": entries}


def of_anthropic(listed: Listed, query: Query) -> dict[str, Any]:
    base = {"type": "model", "created_at": "2025-02-19T00:00:00Z", "display_name": "A model", "lifecycle": "active"}
    entries = [{**base, **one} for one in listed]
    start = next((n + 1 for n, one in enumerate(entries) if [one["id"]] == query.get("after_id")), 0)
    page = entries[start : start + 2]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"data": page, "has_more": start + 2 < len(entries), **ends}


def of_gemini(listed: Listed, query: Query) -> dict[str, Any]:
    start = int(query.get("pageToken", ["0"])[0])
    page = [{"version": "001", "displayName": "A model", **one} for one in listed[start : start + 2]]
    more = {"nextPageToken": str(start + 2)} if start + 2 < len(listed) else {}
    return {"models": page, **more}
