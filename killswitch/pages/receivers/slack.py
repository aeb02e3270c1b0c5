"""Pages in Slack: `chat.postMessage` through slack-sdk, over `BoundedSession`.

slack-sdk builds requests and checks answers. It would send them with urllib, which follows redirects with the token,
accepts bodies of any size, and has no total deadline; so `BoundedSession` sends them instead. slack-sdk does not retry,
because the lane does.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.request import Request

import requests
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import WebClient

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, KillswitchError, OutcomeUnknown, Refused, Unavailable
from killswitch.net.bounded_http import BoundedSession, excerpt, hiding, killswitch_errors
from killswitch.net.credentials import TLS, Secret
from killswitch.pages.page import Page, PageKind
from killswitch.pages.receivers.posting import posting_errors
from killswitch.pages.receivers.slack_markup import cut, escape, mention_markup, message_text, shortest_text
from killswitch.pages.text import stage_lines, table_lines, when_and_whom

_log = logging.getLogger(__name__)

MAX_HEADER = 150  # characters
MAX_SECTION = 3000  # characters
MAX_BLOCKS = 50
_SIGNS = {
    PageKind.TRIPPED: ":rotating_light:",
    PageKind.CANNOT_ACT: ":rotating_light:",
    PageKind.FOLLOWED: ":hourglass_flowing_sand:",  # while routers are missing; otherwise it is good news
}
_DENIED = frozenset({
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
    "missing_scope", "not_allowed_token_type", "access_denied", "org_login_required", "ekm_access_denied",
    "team_access_not_granted", "two_factor_setup_required", "enterprise_is_restricted", "accesslimited",
})  # fmt: skip
_LATER = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded", "service_unavailable", "request_timeout"})
# Slack documents that a part of the call may have succeeded.
_MAYBE = frozenset({"internal_error", "fatal_error"})
# These are about the channel or the method, so a plainer message would be refused too.
_PLACE = frozenset({
    "channel_not_found", "not_in_channel", "is_archived", "is_inactive", "channel_type_not_supported",
    "restricted_action", "restricted_action_read_only_channel", "restricted_action_thread_only_channel",
    "messages_tab_disabled", "external_channel_migrating", "team_not_found", "user_not_found", "team_added_to_org",
    "message_not_found", "cant_update_message", "edit_window_closed", "unknown_method", "method_deprecated",
    "deprecated_endpoint", "as_user_not_supported",
})  # fmt: skip
# The message cannot be a reply in this thread, but can be posted outside it.
_NO_THREAD = frozenset({
    "cannot_reply_to_message", "thread_not_found", "invalid_thread_ts", "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
})  # fmt: skip
# The status of a proxy in front of Slack that does not let a body through.
_BODY_REFUSED = frozenset({400, 413, 422})
_MAX_SAID = 300  # characters of what Slack says is wrong with a message
_CODE = re.compile(r"[a-z0-9_]{1,60}\Z")


class _WrongForm(Refused):
    """Slack refuses the form of the message, not its channel: a plainer message may be taken."""


class _NoThread(Refused):
    """Slack refuses the reply, not the message."""


class _BoundedClient(WebClient):
    """slack-sdk's client, sending over `BoundedSession`; `test_slack.py` fails if a new release bypasses it."""

    def __init__(self, session: BoundedSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session = session

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        body = req.data if isinstance(req.data, bytes) else b""
        sent = dict(req.header_items())
        response = self._session.post(url, data=body, headers=sent, allow_redirects=False)
        headers = {name.lower(): value for name, value in response.headers.items()}
        # a proxy, or any other server at a wrong address, may repeat the token
        token = sent.get("Authorization", "").removeprefix("Bearer ")
        said = hiding(response.content.decode(errors="replace"), [token])
        return {"status": response.status_code, "headers": headers, "body": _json_object(said)}


def _json_object(text: str) -> str:
    """The body if it is a JSON object, else a text: slack-sdk raises AttributeError for any other JSON."""
    try:
        return text if isinstance(json.loads(text), dict) else f"no JSON object: {excerpt(text, 80)}"
    except (ValueError, RecursionError):
        return f"no JSON: {excerpt(text, 80)}"


class SlackPager:
    """Posts pages to the channel their rule file names, else to ``default_channel``.

    ``token`` is read again for every message, so that a rotated token is used. ``base_url`` is Slack's Web API. A page
    that continues an earlier one is posted in the thread of that page.
    """

    name = "slack"

    def __init__(
        self,
        token: Secret,
        *,
        base_url: str = WebClient.BASE_URL,
        default_channel: str | None = None,
        tls: TLS | None = None,
        proxy: str | None = None,
    ) -> None:
        self._token = token
        self._default_channel = default_channel
        quiet = logging.getLogger("killswitch.pages.receivers.slack.sdk")
        quiet.setLevel(logging.CRITICAL)  # it would log bodies, and would log each failure that it raises
        self._session = BoundedSession(tls=tls, proxy=proxy, max_body=1024 * 1024)
        self._client = _BoundedClient(self._session, base_url=base_url, retry_handlers=[], logger=quiet)

    def address(self, page: Page) -> str | None:
        return page.slack or self._default_channel

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        """``channel/ts`` as Slack names them. Raises as `killswitch.pages.receivers.Pager.send`."""
        return self._post(page, self._channel(page), None, possible_repeat=possible_repeat, deadline=deadline)

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Reply in the thread of the earlier page; also shown in the channel, unless it is good news."""
        channel, slash, ts = reference.rpartition("/")
        thread = ts if slash and channel else None
        return self._post(
            page, channel or self._channel(page), thread, possible_repeat=possible_repeat, deadline=deadline
        )

    def answers(self, deadline: Deadline) -> None:
        self._call("auth.test", {}, deadline, change=False)

    def update(self, page: Page, reference: str, *, deadline: Deadline) -> None:
        """Replace the message ``reference`` with ``page``. Raises as `send`."""
        channel, _, ts = reference.rpartition("/")
        self._call("chat.update", {"channel": channel, "ts": ts, **render(page)}, deadline, change=True)

    def _channel(self, page: Page) -> str:
        channel = self.address(page)
        if channel is None:
            raise Refused(
                f"no Slack channel for {page.rollout or 'this page'}: set `page: {{slack: …}}` in its rule file"
            )
        return channel

    def _post(self, page: Page, channel: str, thread: str | None, *, possible_repeat: bool, deadline: Deadline) -> str:
        """Post the page. If Slack refuses its form, a plainer form follows at once.

        After a refusal nothing was posted, so this makes no copies. Raises the answer to the last form.
        """
        forms = [
            render(page, possible_repeat=possible_repeat),
            words(page, possible_repeat=possible_repeat),
            {"text": shortest_text(page, possible_repeat=possible_repeat)},
        ]
        while True:
            body = {"channel": channel, **forms[0]}
            if thread is not None:
                # Good news stays in the thread. Anything else is shown in the channel too.
                body |= {"thread_ts": thread, "reply_broadcast": not page.good_news}
            try:
                answer = self._call("chat.postMessage", body, deadline, change=True)
            except _NoThread as error:
                if thread is None:
                    raise
                thread = None
                _log.warning("page %s: %s; sending it outside the thread", page.id, error)
            except _WrongForm as error:
                forms.pop(0)
                if not forms:
                    raise
                _log.warning("page %s: %s; sending plainer text instead", page.id, error)
            else:
                return f"{answer.get('channel') or channel}/{answer.get('ts') or ''}"

    def _call(self, method: str, body: Mapping[str, Any], deadline: Deadline, *, change: bool) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        try:
            with posting_errors() if change else killswitch_errors(), self._session.deadline(deadline):
                answer = self._client.api_call(method, json=dict(body), headers=headers)
        except SlackApiError as error:
            raise _meaning(method, error, change=change) from None  # its text has the whole answer
        except SlackClientError as error:
            raise Refused(f"Slack {method}: {type(error).__name__}") from None
        except requests.RequestException as error:
            raise Refused(f"Slack {method} could not be asked: {type(error).__name__}; check its base URL") from error
        return answer.data if isinstance(answer.data, dict) else {}


def _meaning(method: str, error: SlackApiError, *, change: bool) -> KillswitchError:
    """The error that an answer other than "ok" means: retry it, fix it, or outcome unknown."""
    response = error.response
    status: int = response.status_code
    given = str(response.data.get("error") if isinstance(response.data, dict) else None)
    code = given if _CODE.match(given) else None
    said = f"Slack {method} answered {status} {excerpt(given, 80)}"
    if status == requests.codes.too_many_requests or code in _LATER:
        return Unavailable(said, retry_after=_seconds(response.headers.get("retry-after")))
    if code in _DENIED or status in {401, 403}:
        return AccessDenied(f"{said}; check the token and its scopes (chat:write)")
    gateway_gave_up = status == requests.codes.gateway_timeout
    unsaid = status == requests.codes.ok and code is None
    if change and (code in _MAYBE or gateway_gave_up or unsaid):
        return OutcomeUnknown(f"{said}; the message may have been posted")
    if status >= requests.codes.server_error or code in _MAYBE or unsaid:
        return Unavailable(said, retry_after=_seconds(response.headers.get("retry-after")))
    return _final(said, code, status, response.data)


def _final(said: str, code: str | None, status: int, answer: object) -> Refused:
    """The error of a message that is refused for good: because of the reply, the channel, or the form."""
    if code in _NO_THREAD:
        return _NoThread(said)
    if code in _PLACE or (code is None and status not in _BODY_REFUSED):
        hint = "; invite the app to the channel or correct its name" if "channel" in str(code) else ""
        return Refused(f"{said}{hint}")
    return _WrongForm(said + _complaints(answer))


def _complaints(answer: object) -> str:
    """What Slack says is wrong with the message, such as ``[ERROR] … [json-pointer:/blocks/1/text]``; bounded."""
    metadata = answer.get("response_metadata") if isinstance(answer, dict) else None
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    if not isinstance(messages, list):
        return ""
    texts = [excerpt(one, 150) for one in messages[:5] if isinstance(one, str)]
    return f": {excerpt('; '.join(texts), _MAX_SAID)}" if texts else ""


def _seconds(text: object) -> float | None:
    return float(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text.strip()) else None


# --- blocks -------------------------------------------------------------------------------------


def render(page: Page, *, possible_repeat: bool = False) -> dict[str, Any]:
    """``text`` and ``blocks`` of the page. The mention is in ``text``, because only there it rings a phone.

    No text of the page can become markup, a mention or a link: texts are escaped and ``verbatim``, and the table is
    literal text.
    """
    headline = ("(possible repeat) " if possible_repeat else "") + page.headline
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _header(page, headline), "emoji": True}}
    ]
    mention = f"{mention_markup(page.mention)} " if page.mention else ""
    if page.why or mention:
        blocks.append(_section(f"{mention}*Why:* {escape(page.why)}"))
    blocks.append(_section(escape(when_and_whom(page))))
    tables = (table_lines(page.rows), stage_lines(page.stages))
    blocks += [_preformatted("\n".join(lines)) for lines in tables if lines]
    if page.next_steps:
        blocks.append(_section("\n".join(f"• {_step(step)}" for step in page.next_steps)))
    footer = f"{page.kind.value} · {page.severity} · page {escape(page.id)}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": footer[:MAX_SECTION], "verbatim": True}]})
    return {**words(page, possible_repeat=possible_repeat), "blocks": blocks[:MAX_BLOCKS]}


def words(page: Page, *, possible_repeat: bool = False) -> dict[str, Any]:
    """The page without blocks."""
    text = message_text(page, possible_repeat=possible_repeat)
    return {"text": text, "parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _header(page: Page, headline: str) -> str:
    # Replaced, not escaped: a header is no markup and would show the escapes.
    calm = headline.replace("<", "(").replace(">", ")").replace("&", "+")
    good = ":arrow_forward:" if page.kind is PageKind.RE_ARMED else ":white_check_mark:"
    sign = good if page.good_news else _SIGNS.get(page.kind, ":warning:")
    return cut(f"{sign} {calm}", MAX_HEADER)


def _step(step: str) -> str:
    """A step. An http(s) address after its colon becomes a link, because ``verbatim`` makes no links."""
    name, colon, link = step.partition(": ")
    if colon and re.fullmatch(r"https?://[^\s<>|`]{1,1500}", link):
        return f"{escape(name)}: <{escape(link)}>"
    return escape(step)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, MAX_SECTION), "verbatim": True}}


def _preformatted(text: str) -> dict[str, Any]:
    literal = {"type": "text", "text": cut(text, MAX_SECTION)}
    return {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": [literal]}]}
