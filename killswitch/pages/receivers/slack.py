"""Pages in Slack: one message for each incident, kept up to date, with what followed in its thread."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, Refused
from killswitch.net.credentials import TLS, Secret
from killswitch.pages.message_view import MessageView, message_view
from killswitch.pages.page import Page, PageKind
from killswitch.pages.picture import Picture
from killswitch.pages.receivers.slack_blocks import has_detail, render, render_detail, render_view, words
from killswitch.pages.receivers.slack_buttons import actions_block
from killswitch.pages.receivers.slack_calls import BASE_URL, NoThread, SlackCalls, WrongForm
from killswitch.pages.receivers.slack_files import SCOPE, upload
from killswitch.pages.receivers.slack_markup import shortest_text

_log = logging.getLogger(__name__)
_DIGEST = "digest"
_WITH_BUTTONS = frozenset({PageKind.TRIPPED, PageKind.PINNED})
_SCOPES = {"chat:write": "no page can be sent", SCOPE: "pages have no pictures"}
_SCOPES_OF_BUTTONS = {
    "users:read": "no button works",
    "usergroups:read": "no button works for people whom a rule file allows by their group",
}


class SlackPager:
    """Posts pages to the channel their rule file names, else to ``default_channel``.

    ``token`` is read again for every message, so that a rotated token is used. ``base_url`` is Slack's Web API. A page
    that continues an earlier one is posted in the thread of that page, whose message `show` brings up to date.
    ``buttons`` says for which pages people may act in Slack; none gets buttons without it. ``wall`` is the clock that
    their values expire by.
    """

    name = "slack"

    def __init__(
        self,
        token: Secret,
        *,
        base_url: str = BASE_URL,
        default_channel: str | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
        buttons: Callable[[Page], bool] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._default_channel = default_channel
        self._calls = SlackCalls(token, base_url=base_url, tls=tls, proxy=proxy)
        self._buttons = buttons
        self._wall = wall
        self._said_no_pictures = False

    def address(self, page: Page) -> str | None:
        return page.slack or self._default_channel

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """``channel/ts`` as Slack names them, and for a digest a mark. Raises as `Pager.send`."""
        own = page.kind is not PageKind.DIGEST and page.follows is None
        form = (
            render_view(message_view(page, ()), possible_repeat=possible_repeat)
            if own
            else render(page, possible_repeat=possible_repeat)
        )
        reference = self._post(page, form, self._channel(page), None, repeat=possible_repeat, deadline=deadline)
        return f"{reference}/{_DIGEST}" if page.kind is PageKind.DIGEST else reference

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Reply in the thread of the earlier page; also shown in the channel, unless it is good news."""
        channel, thread = _place(reference)
        form = render(page, possible_repeat=possible_repeat)
        where = channel or self._channel(page)
        return self._post(page, form, where, thread or None, repeat=possible_repeat, deadline=deadline)

    def answers(self, deadline: Deadline) -> None:
        self._calls.call("auth.test", {}, deadline, change=False)

    def missing_scopes(self, deadline: Deadline) -> dict[str, str]:
        """Which scopes the token lacks, and what does not work; none where Slack does not say. Raises as `answers`."""
        given = self._calls.scopes(deadline)
        wanted = {**_SCOPES, **(_SCOPES_OF_BUTTONS if self._buttons is not None else {})}
        return {} if given is None else {scope: what for scope, what in wanted.items() if scope not in given}

    # --- keeping a message up to date -----------------------------------------------------------

    def keeps(self, page: Page, reference: str) -> bool:
        channel, ts = _place(reference)
        return page.follows is None and bool(channel and ts) and not reference.endswith(f"/{_DIGEST}")

    def has_buttons(self, page: Page) -> bool:
        return page.kind in _WITH_BUTTONS and self._buttons is not None and self._buttons(page)

    def show(self, view: MessageView, revision: int | None, reference: str, *, deadline: Deadline) -> None:
        """Replace the message. Raises as `killswitch.pages.receivers.Keeping.show`."""
        channel, ts = _place(reference)
        body = {"channel": channel, "ts": ts}
        try:
            form = render_view(view, self._actions(view, revision))
            self._calls.call("chat.update", body | _of_update(form), deadline, change=True)
        except WrongForm as error:
            _log.warning("page %s: %s; showing plainer text instead", view.page.id, error)
            plain = {"text": render_view(view)["text"], "blocks": []}
            self._calls.call("chat.update", body | plain, deadline, change=True)

    def send_view(self, view: MessageView, revision: int | None, *, deadline: Deadline) -> str:
        # what is news in it has its own page, which rings if it should
        page = replace(view.page, mention=None)
        form = render_view(replace(view, page=page), self._actions(view, revision))
        return self._post(page, form, self._channel(page), None, repeat=False, deadline=deadline)

    def has_detail(self, page: Page) -> bool:
        return has_detail(page)

    def send_detail(self, page: Page, reference: str, *, deadline: Deadline) -> None:
        channel, ts = _place(reference)
        body = {"channel": channel, "thread_ts": ts, **render_detail(page)}
        self._calls.call("chat.postMessage", body, deadline, change=True)

    def send_picture(self, picture: Picture, reference: str, *, deadline: Deadline) -> None:
        """Upload the picture into the thread. A token that may not is said once in the log."""
        channel, ts = _place(reference)
        try:
            upload(self._calls, picture, channel, ts, deadline=deadline)
        except AccessDenied as error:
            if not self._said_no_pictures:
                self._said_no_pictures = True
                _log.warning("pages in Slack have no pictures: %s; add the scope %s to the app", error, SCOPE)
            raise

    def _actions(self, view: MessageView, revision: int | None) -> dict[str, Any] | None:
        if revision is None or not self.has_buttons(view.page):
            return None
        kind = PageKind.PINNED if view.pinned else PageKind.TRIPPED
        page = replace(view.page, kind=kind)
        nonce = secrets.token_hex(16)
        return actions_block(page, revision, now=self._wall(), nonce=nonce, acknowledged=view.acknowledged)

    # --- posting --------------------------------------------------------------------------------

    def _channel(self, page: Page) -> str:
        channel = self.address(page)
        if channel is None:
            raise Refused(
                f"no Slack channel for {page.rollout or 'this page'}: set `page: {{slack: …}}` in its rule file"
            )
        return channel

    def _post(
        self,
        page: Page,
        form: dict[str, Any],
        channel: str,
        thread: str | None,
        *,
        repeat: bool,
        deadline: Deadline,
    ) -> str:
        """Post the page. If Slack refuses its form, a plainer form follows at once.

        After a refusal nothing was posted, so this makes no copies. Raises the answer to the last form.
        """
        plainer = [words(page, possible_repeat=repeat), {"text": shortest_text(page, possible_repeat=repeat)}]
        while True:
            body = {"channel": channel, **form}
            if thread is not None:
                # Good news stays in the thread. Anything else is shown in the channel too.
                body |= {"thread_ts": thread, "reply_broadcast": not page.good_news}
            try:
                answer = self._calls.call("chat.postMessage", body, deadline, change=True)
            except NoThread as error:
                if thread is None:
                    raise
                thread = None
                _log.warning("page %s: %s; sending it outside the thread", page.id, error)
            except WrongForm as error:
                if not plainer:
                    raise
                form = plainer.pop(0)
                _log.warning("page %s: %s; sending plainer text instead", page.id, error)
            else:
                return f"{answer.get('channel') or channel}/{answer.get('ts') or ''}"


def _place(reference: str) -> tuple[str, str]:
    """The channel and the message's timestamp of a reference; "" for what it does not have."""
    channel, _, rest = reference.partition("/")
    return channel, rest.partition("/")[0]


def _of_update(form: dict[str, Any]) -> dict[str, Any]:
    """The parts of a form that ``chat.update`` takes: it makes no previews."""
    return {name: value for name, value in form.items() if not name.startswith("unfurl")}
