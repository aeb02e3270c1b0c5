"""Slack's protocol of uploads: an address for the bytes, the bytes, and then the file is shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tests.doubles.http_double import Answer, Received


@dataclass(slots=True)
class Ticket:
    """One upload. ``content`` is None before the bytes have come."""

    name: str
    length: int
    alt: str
    content: bytes | None = None
    shared: bool = False


class Uploads:
    """The tickets by file id. ``refused``: an error for every upload, such as ``file_uploads_disabled``."""

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.refused: str | None = None

    def ticket(self, request: Received, base: str) -> dict[str, Any] | str:
        """What ``files.getUploadURLExternal`` answers, or its error. It takes a form, no JSON."""
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return "invalid_arguments"
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        length = form.get("length", "0")
        if not form.get("filename") or not length.isdecimal() or int(length) == 0:
            return "missing_argument"
        if len(form.get("alt_txt", "")) > 1000:
            return "alt_txt_too_large"
        if self.refused is not None:
            return self.refused
        file_id = f"F{len(self.tickets) + 1:08d}"
        self.tickets[file_id] = Ticket(form["filename"], int(length), form.get("alt_txt", ""))
        return {"ok": True, "upload_url": f"{base}/upload/v1/{file_id}", "file_id": file_id}

    def take(self, request: Received) -> Answer:
        """The bytes, to the address that was given. It needs no token, and must not get one."""
        ticket = self.tickets.get(request.path.rpartition("/")[2])
        if ticket is None or request.method != "POST" or ticket.content is not None:
            return Answer(404, b"not found", {"Content-Type": "text/plain"})
        if "authorization" in request.headers or len(request.body) != ticket.length:
            return Answer(400, b"bad request", {"Content-Type": "text/plain"})
        ticket.content = request.body
        return Answer(200, f"OK - {ticket.length}".encode(), {"Content-Type": "text/plain"})

    def complete(self, files: Any) -> list[str] | str:
        """The ids of the files that are shared now, or the error."""
        if not isinstance(files, list) or not files:
            return "invalid_arguments"
        ids = [str(one.get("id")) for one in files]
        for file_id in ids:
            ticket = self.tickets.get(file_id)
            if ticket is None or ticket.content is None or ticket.shared:
                return "file_not_found"
        for file_id in ids:
            self.tickets[file_id].shared = True
        return ids
