"""An HTTP session for Prometheus' API: queries go as forms, and no unusable answer passes."""

from __future__ import annotations

from typing import Any, Final

import requests

from killswitch.errors import Refused, Unavailable
from killswitch.model import Reason
from killswitch.net.bounded_http import BoundedSession, refusal
from killswitch.sources.prometheus import answers
from killswitch.sources.prometheus.answers import Unusable

# A store behind the server that is down must be an error, not a smaller number: asked for in the words of
# VictoriaMetrics and of Thanos. Prometheus, Mimir and Cortex ignore both.
_WHOLE: Final = {"deny_partial_response": "1", "partial_response": "false"}
# VictoriaMetrics answers as of 30 s ago under the time that was asked (-search.latencyOffset): every trip would come
# 30 s later, and its clock would seem slow. The setting `lag` waits for late samples.
_NOW: Final = {"latency_offset": "1s"}
_ASKED_BESIDES: Final = {**_WHOLE, **_NOW}
_WHOLE_HEADER: Final = {"M3-Limit-Require-Exhaustive": "true"}


class PrometheusSession(BoundedSession):
    """A bounded session that sends queries as forms and lets no unusable answer through."""

    def __init__(self, **bounds: Any) -> None:
        super().__init__(**bounds)
        self.hooks["response"] = [_checked]
        # metric stores are near: compressing megabytes in each cycle costs them more than sending
        self.headers["Accept-Encoding"] = "identity"
        self.headers.update(_WHOLE_HEADER)
        self._asks_besides = True

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Queries of a thousand rollouts are longer than a URL may be: they go into the body.

        A server that refuses unknown parameters is asked without the ones that only some servers have.
        """
        if method != "POST" or "params" not in kwargs:
            if kwargs.get(
                "params"
            ):  # a list of names: a store behind the server that is down must be an error here, too
                kwargs["params"] = {**kwargs["params"], **_WHOLE}
            return super().request(method, url, *args, **kwargs)
        form = kwargs.pop("params")
        if self._asks_besides:
            try:
                return super().request(method, url, *args, **{**kwargs, "data": {**form, **_ASKED_BESIDES}})
            except Unusable as unusable:
                if not any(f'"{name}"' in unusable.unreadable.detail.replace("\\", "") for name in _ASKED_BESIDES):
                    raise
                self._asks_besides = False
        return super().request(method, url, *args, **{**kwargs, "data": form})


def _checked(response: requests.Response, *_: Any, **__: Any) -> requests.Response:
    """Raises for refusals and other failures, which the library would drop; leaves the body as it came."""
    if response.is_redirect:
        return response
    failure = refusal(response)
    if failure is not None:
        raise _unusable(failure, response.content[:2000])
    answers.whole_by_its_headers(response.headers)
    if response.status_code != requests.codes.ok:
        raise Unusable(Reason.GARBAGE, f"the answer has status {response.status_code}, which no query has")
    body = response.content
    response.json = lambda **_: {"data": {"result": body}}  # type: ignore[method-assign]
    return response


def _unusable(failure: Unavailable | Refused, said: bytes) -> Unusable:
    """``said``: the beginning of the server's own words."""
    if b"partial response" in said.lower():  # refused, as it was asked to
        return Unusable(Reason.PARTIAL_ANSWER, str(failure))
    if isinstance(failure, Refused):
        return Unusable(Reason.SOURCE_REFUSED, str(failure))
    timed_out = b'"errorType":"timeout"' in said
    return Unusable(Reason.SOURCE_TIMEOUT if timed_out else Reason.SOURCE_DOWN, str(failure))
