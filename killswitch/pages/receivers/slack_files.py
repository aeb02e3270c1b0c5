"""A picture into a thread of Slack: ask for an address, post the bytes there, and share the file.

No one sees anything before the last call, so the first two may be tried again.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from killswitch.deadline import Deadline
from killswitch.errors import Refused, Unavailable
from killswitch.net.bounded_http import killswitch_errors
from killswitch.pages.picture import Picture
from killswitch.pages.receivers.slack_calls import SlackCalls

SCOPE = "files:write"
_MAX_TITLE = 200  # characters
_MAX_ALT = 1000  # characters, as Slack has it


def upload(calls: SlackCalls, picture: Picture, channel: str, thread: str, *, deadline: Deadline) -> None:
    """Share the picture in the thread. Raises as `SlackCalls.call`; OutcomeUnknown only if it may have been shared."""
    asked = {
        "filename": "cohorts.png",
        "length": len(picture.png),
        "alt_txt": picture.alt[:_MAX_ALT],
    }
    ticket = calls.call("files.getUploadURLExternal", asked, deadline, change=False, form=True)
    _post(calls, str(ticket.get("upload_url")), picture.png, deadline)
    body = {
        "files": [{"id": str(ticket.get("file_id")), "title": picture.title[:_MAX_TITLE]}],
        "channel_id": channel,
        "thread_ts": thread,
    }
    calls.call("files.completeUploadExternal", body, deadline, change=True)


def _post(calls: SlackCalls, address: str, content: bytes, deadline: Deadline) -> None:
    """The bytes to the address that Slack gave. It gets no token: the address itself is the right to upload."""
    if urlsplit(address).scheme != urlsplit(calls.base_url).scheme:
        raise Refused("Slack gave no usable address for an upload")
    with killswitch_errors(), calls.session.deadline(deadline):
        answer = calls.session.post(
            address, data=content, headers={"Content-Type": "application/octet-stream"}, allow_redirects=False
        )
    if answer.status_code != requests.codes.ok:
        said = f"Slack's upload answered {answer.status_code}"
        raise Unavailable(said) if answer.status_code >= requests.codes.server_error else Refused(said)
