"""Whether control's request can be asked a second time, and what of it the shadow must not send.

Two answers are comparable only if both models start from the same words. A request that rests on what a provider has
stored for production (an earlier response, a file, a container), or that lets the provider act (an MCP server), is not
asked. What is allowed is listed, so a kind of tool or item that comes tomorrow is not asked either.

==========================================================  ==========================================================
field of control's request                                  in the shadow's
==========================================================  ==========================================================
``store``, in ``extra_body`` too                            False; always sent to the Responses API, whose default is
                                                            True
``input`` of the Responses API                              without reasoning of control's model, and without ids
``previous_response_id``, ``conversation``, ``background``  not comparable
``prompt`` (Responses API), ``container``, ``mcp_servers``  not comparable
tools that the provider runs and that may act               not comparable
tools of no kind that is listed, ``plugins``                not comparable: no one knows who runs them
``data_sources``, ``search_parameters``, ``enable_search``  not comparable: they read what is not in the request
``prompt_id``, ``prompt_variables``, ``vector_store_ids``   not comparable: a gateway changes the messages by them
a question in ``extra_body``                                not comparable: it replaces the one that is compared
files and vector stores by id                               not comparable: they belong to production's account
a prompt of tokens                                          not comparable: they are of control's tokenizer
==========================================================  ==========================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STATEFUL = (
    *("previous_response_id", "conversation", "background", "container", "mcp_servers", "plugins"),
    *("data_sources", "search_parameters", "enable_search"),
    *("prompt_id", "prompt_variables", "vector_store_ids"),  # LiteLLM adds to the messages by these
)
# Run by the service, which never runs what a shadow asks for; or run by the provider, and only read.
_TOOLS = re.compile(
    r"function|custom|namespace|computer.*|local_shell|apply_patch|bash_.*|text_editor_.*|memory_.*"
    r"|web_search.*|web_fetch.*|tool_search.*|code_execution_.*"
)
# Of Gemini's form: each key is a tool. These are the service's own, or only read.
_WITHOUT_TYPE = frozenset(
    {"functionDeclarations", "function_declarations", "googleSearch", "google_search", "googleSearchRetrieval"}
    | {"google_search_retrieval", "urlContext", "url_context", "codeExecution", "code_execution"}
)
_ITEMS = frozenset(
    {"message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
    | {"computer_call_output", "local_shell_call_output", "apply_patch_call", "apply_patch_call_output"}
)
_STORED = frozenset({"file_id", "vector_store_ids", "audio"})  # ``audio`` of an assistant's message is an id
_DEEPEST = 6  # levels of a message's content that are looked through for ids of files


class NotComparable(Exception):
    """The same question cannot be asked a second time; the message says why."""


def comparable(api: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """``request``, a copy of control's without credentials, as the shadow sends it: a new dictionary.

    ``api``: ``chat``, ``responses``, ``messages`` (Anthropic), ``completions``, or another name. Raises
    `NotComparable`. Nothing of ``request`` is changed.
    """
    extra = request.get("extra_body")
    extra = extra if isinstance(extra, Mapping) else {}
    for given in (request, extra):
        _refuse_state(api, given)
    for name in ("messages", "input", "prompt"):
        if extra.get(name):
            raise NotComparable(f"{name} in extra_body: it replaces the question")
    sent = {name: value for name, value in request.items() if name not in ("store", "extra_body")}
    if kept := {name: value for name, value in extra.items() if name != "store"}:
        sent["extra_body"] = kept
    if api == "responses" or "store" in request or "store" in extra:
        sent["store"] = False
    for name in ("messages", "input"):
        if name in sent:
            sent[name] = _conversation(sent[name], items=name == "input")
    _refuse_stored(sent.get("system"), _DEEPEST)
    return sent


def _refuse_state(api: str, given: Mapping[str, Any]) -> None:
    for name in _STATEFUL:
        if given.get(name):
            raise NotComparable(f"{name}: the answer rests on what the provider stores, or is stored")
    if api == "responses" and given.get("prompt"):
        raise NotComparable("prompt: it is stored in production's account")
    if api == "completions" and _has_tokens(given.get("prompt")):
        raise NotComparable("a prompt of tokens: they are of control's tokenizer")
    tools = given.get("tools")
    if tools:
        _refuse_tools(tools, _DEEPEST)


def _refuse_tools(tools: object, deepest: int) -> None:
    """``tools``: of a request, or those that a tool of kind ``namespace`` holds."""
    if not isinstance(tools, list | tuple):
        raise NotComparable("the tools are no list: no one knows what they do")
    for tool in tools:
        if not isinstance(tool, Mapping) or deepest == 0:
            raise NotComparable("a tool of no kind that is listed")
        _refuse_tool(tool)
        if tool.get("tools"):
            _refuse_tools(tool["tools"], deepest - 1)


def _refuse_tool(tool: Mapping[str, Any]) -> None:
    kind = tool.get("type")
    if kind is None and ("name" in tool or "function" in tool or tool.keys() - {"type"} <= _WITHOUT_TYPE):
        return
    if isinstance(kind, str) and _TOOLS.fullmatch(kind):
        return
    environment, container = tool.get("environment"), tool.get("container")
    if kind == "shell" and isinstance(environment, Mapping) and environment.get("type") == "local":
        return
    if kind == "code_interpreter" and isinstance(container, Mapping) and not container.get("file_ids"):
        return
    raise NotComparable(f"a tool of type {kind!r:.40}: the provider runs it, and it may act or belongs to an account")


def _conversation(said: object, *, items: bool) -> object:
    if isinstance(said, str):
        return said
    if not isinstance(said, list | tuple):
        raise NotComparable("the messages are no list: control's call may have used them up")
    kept = []
    for one in said:
        if items and isinstance(one, Mapping):
            kind = one.get("type", "message")
            if kind == "reasoning":  # of control's model: no other can read it
                continue
            if not isinstance(kind, str) or kind not in _ITEMS:
                raise NotComparable(f"an item of type {kind!r:.40}: it may name what the provider has stored")
            one = {name: value for name, value in one.items() if name != "id"}  # noqa: PLW2901  # the same item
        _refuse_stored(one, _DEEPEST)
        kept.append(one)
    if not kept:
        raise NotComparable("no message")
    return kept


def _refuse_stored(document: object, deepest: int) -> None:
    if deepest == 0:
        return
    if isinstance(document, Mapping):
        for name, value in document.items():
            if name in _STORED and value:
                raise NotComparable(f"{name}: it belongs to production's account")
            _refuse_stored(value, deepest - 1)
    elif isinstance(document, list | tuple):
        for value in document:
            _refuse_stored(value, deepest - 1)


def _has_tokens(prompt: object) -> bool:
    """Whether a prompt is made of numbers, or of lists of them, as old completions take it."""
    return isinstance(prompt, list | tuple) and not all(isinstance(part, str) for part in prompt)
