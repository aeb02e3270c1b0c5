"""A log of LiteLLM's for one call of the shadow, which runs no callback.

LiteLLM's ``no-log`` stops the callbacks of success and failure alone. Those before and after a call still ran, with the
shadow's prompt. LiteLLM takes the log of a call that is given one, and then registers no callback either.

Two hooks of callbacks run in spite of it in LiteLLM's responses and messages. One may change what is asked, the other
may act on tool calls. `hook_that_runs` finds them, so that such a request is not asked.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.litellm_logging import Logging, get_custom_logger_compatible_class

_HOOKS = ("async_pre_call_deployment_hook", "async_should_run_agentic_loop")


class SilentLog(Logging):  # type: ignore[misc]  # litellm is untyped here
    """Keeps what LiteLLM reads of a call again, and reports it to no one."""

    def pre_call(self, input: Any, api_key: Any, model: Any = None, additional_args: Any = None) -> None:  # noqa: A002, ARG002  # LiteLLM's names
        self.model_call_details["input"] = input
        self.model_call_details["model"] = model or self.model
        self.model_call_details["additional_args"] = additional_args or {}

    def post_call(self, *_: Any, **__: Any) -> None: ...

    def should_run_callback(self, *_: Any, **__: Any) -> bool:
        return False

    def success_handler(self, *_: Any, **__: Any) -> None: ...

    def failure_handler(self, *_: Any, **__: Any) -> None: ...

    async def async_success_handler(self, *_: Any, **__: Any) -> None: ...

    async def async_failure_handler(self, *_: Any, **__: Any) -> None: ...

    def handle_sync_success_callbacks_for_async_calls(self, *_: Any, **__: Any) -> None: ...


def silent_log(model: str, messages: Any, call_type: str, *, streamed: bool) -> SilentLog:
    return SilentLog(
        model=model,
        messages=messages or [],
        stream=streamed,
        call_type=call_type,
        start_time=datetime.now(),  # noqa: DTZ005  # as LiteLLM has it
        litellm_call_id=str(uuid.uuid4()),
        function_id="",
    )


def hook_that_runs() -> str:
    """A hook that one of the service's callbacks has, and that LiteLLM would run for the shadow; "" without one."""
    for named in tuple(litellm.callbacks):
        callback = get_custom_logger_compatible_class(named) if isinstance(named, str) else named
        if not isinstance(callback, CustomLogger):
            continue
        for name in _HOOKS:
            if getattr(type(callback), name, None) is not getattr(CustomLogger, name, None):
                return f"{type(callback).__name__}.{name}"
    return ""
