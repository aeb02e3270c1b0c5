"""What Slack refuses of a message or a dialog, with its own codes and complaints.

The numbers are those of Slack's Block Kit reference. The complaints have the form that Slack gives them:
``must be less than 3001 characters [json-pointer:/blocks/0/text/text]``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

# Slack counts the characters of all blocks together; its limit is not documented (12,000 and a little for the blocks
# themselves, as measured in https://github.com/slackapi/bolt-js/issues/2509).
MAX_BLOCK_CHARACTERS = 13_200
MAX_TEXT = 40_000
MAX_BLOCKS, MAX_VIEW_BLOCKS = 50, 100
MAX_VIEW_BYTES = 250_000
_RICH = frozenset({"rich_text_preformatted", "rich_text_section", "rich_text_list", "rich_text_quote"})
_INPUTS = frozenset(
    {"plain_text_input", "static_select", "radio_buttons", "checkboxes", "users_select", "number_input"}
)

Problem = tuple[str, list[str]]  # the error's code, and what is said of the block that it is about


def problem_of_message(body: dict[str, Any]) -> Problem | None:
    """What Slack would say of a message's content, None when it would take it."""
    blocks = body.get("blocks", [])
    if not body.get("text") and not blocks:
        return "no_text", []
    if len(body.get("text", "")) > MAX_TEXT:
        return "msg_too_long", []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "invalid_blocks_format", []
    complaints = list(_of_blocks(blocks, "/blocks", MAX_BLOCKS, inputs=False))
    if complaints:
        return "invalid_blocks", complaints
    if sum(map(characters, blocks)) > MAX_BLOCK_CHARACTERS:
        return "msg_blocks_too_long", []
    return None


def problem_of_view(view: Any) -> Problem | None:
    """What Slack would say of a modal dialog."""
    if not isinstance(view, dict) or view.get("type") != "modal":
        return "invalid_arguments", ["missing required field: type [json-pointer:/view]"]
    if len(json.dumps(view).encode()) > MAX_VIEW_BYTES:
        return "view_too_large", []
    complaints = [
        *_text(view.get("title"), "/view/title", 24, plain=True),
        *_of_blocks(view.get("blocks", []), "/view/blocks", MAX_VIEW_BLOCKS, inputs=True),
    ]
    for name in ("submit", "close"):
        if name in view:
            complaints += _text(view[name], f"/view/{name}", 24, plain=True)
    for name, most in (("private_metadata", 3000), ("callback_id", 255), ("external_id", 255)):
        complaints += _length(view.get(name, ""), f"/view/{name}", most)
    if any(block.get("type") == "input" for block in view.get("blocks", [])) and "submit" not in view:
        complaints.append("missing required field: submit [json-pointer:/view]")
    return ("invalid_arguments", complaints) if complaints else None


def characters(node: Any) -> int:
    """Of every ``text`` in a block."""
    if isinstance(node, dict):
        own = sum(len(value) for name, value in node.items() if name == "text" and isinstance(value, str))
        return own + sum(map(characters, node.values()))
    return sum(map(characters, node)) if isinstance(node, list) else 0


def _of_blocks(blocks: list[dict[str, Any]], where: str, most: int, *, inputs: bool) -> Iterator[str]:
    if len(blocks) > most:
        yield f"no more than {most} items allowed [json-pointer:{where}]"
    seen: set[str] = set()
    for number, block in enumerate(blocks):
        here = f"{where}/{number}"
        block_id = block.get("block_id", "")
        yield from _length(block_id, f"{here}/block_id", 255)
        if block_id and block_id in seen:
            yield f"`block_id` `{block_id}` already exists [json-pointer:{here}]"
        seen.add(block_id)
        yield from _block(block, here, inputs=inputs)


def _block(block: dict[str, Any], here: str, *, inputs: bool) -> Iterator[str]:
    match block.get("type"):
        case "header":
            yield from _text(block.get("text"), f"{here}/text", 150, plain=True)
        case "section":
            if "text" not in block and "fields" not in block:
                yield f"must provide a text or fields [json-pointer:{here}]"
            if "text" in block:
                yield from _text(block["text"], f"{here}/text", 3000)
            yield from _items(block.get("fields", []), f"{here}/fields", 10, allow_none=True)
            for number, field in enumerate(block.get("fields", [])):
                yield from _text(field, f"{here}/fields/{number}", 2000)
            if "accessory" in block:
                yield from _element(block["accessory"], f"{here}/accessory")
        case "context":
            yield from _items(block.get("elements"), f"{here}/elements", 10)
            for number, text in enumerate(block.get("elements", [])):
                yield from _text(text, f"{here}/elements/{number}", 3000)
        case "actions":
            yield from _items(block.get("elements"), f"{here}/elements", 25)
            yield from _actions(block.get("elements", []), f"{here}/elements")
        case "input" if inputs:
            yield from _text(block.get("label"), f"{here}/label", 2000, plain=True)
            if "hint" in block:
                yield from _text(block["hint"], f"{here}/hint", 2000, plain=True)
            yield from _element(block.get("element", {}), f"{here}/element", only=_INPUTS)
        case "rich_text":
            for number, element in enumerate(block.get("elements", [])):
                yield from _rich(element, f"{here}/elements/{number}")
        case "divider":
            return
        case other:
            yield f"unsupported type: {other} [json-pointer:{here}/type]"


def _actions(elements: list[dict[str, Any]], where: str) -> Iterator[str]:
    seen: set[str] = set()
    for number, element in enumerate(elements):
        yield from _element(element, f"{where}/{number}")
        action_id = element.get("action_id", "")
        if action_id and action_id in seen:
            yield f"`action_id` `{action_id}` already exists [json-pointer:{where}/{number}]"
        seen.add(action_id)


def _element(element: dict[str, Any], here: str, only: frozenset[str] | None = None) -> Iterator[str]:
    kind = element.get("type")
    yield from _length(element.get("action_id", ""), f"{here}/action_id", 255)
    if only is not None and kind not in only:
        yield f"unsupported type: {kind} [json-pointer:{here}/type]"
    match kind:
        case "button":
            yield from _text(element.get("text"), f"{here}/text", 75, plain=True)
            yield from _length(element.get("value", ""), f"{here}/value", 2000)
            yield from _length(element.get("url", ""), f"{here}/url", 3000)
            yield from _length(element.get("accessibility_label", ""), f"{here}/accessibility_label", 75)
            if element.get("style", "primary") not in {"primary", "danger"}:
                yield f"must be a valid enum value [json-pointer:{here}/style]"
        case "static_select" | "radio_buttons" | "checkboxes":
            options = element.get("options", [])
            yield from _items(options, f"{here}/options", 100 if kind == "static_select" else 10)
            for number, option in enumerate(options):
                yield from _text(option.get("text"), f"{here}/options/{number}/text", 75)
                yield from _length(option.get("value", ""), f"{here}/options/{number}/value", 150)
        case "plain_text_input" | "number_input" | "users_select":
            if "placeholder" in element:
                yield from _text(element["placeholder"], f"{here}/placeholder", 150, plain=True)
            if not 0 < int(element.get("max_length", 3000)) <= 3000:
                yield f"must be less than 3001 [json-pointer:{here}/max_length]"
        case _:
            yield f"unsupported type: {kind} [json-pointer:{here}/type]"


def _rich(element: dict[str, Any], here: str) -> Iterator[str]:
    if element.get("type") not in _RICH:
        yield f"unsupported type: {element.get('type')} [json-pointer:{here}/type]"
    for number, part in enumerate(element.get("elements", [])):
        if part.get("type") not in {"text", "link", "emoji", "user"}:
            yield f"unsupported type: {part.get('type')} [json-pointer:{here}/elements/{number}/type]"
        if part.get("text") == "":
            yield f"must be more than 0 characters [json-pointer:{here}/elements/{number}/text]"


def _items(items: Any, here: str, most: int, *, allow_none: bool = False) -> Iterator[str]:
    if not isinstance(items, list) or (not items and not allow_none):
        yield f"must have at least 1 items [json-pointer:{here}]"
    elif len(items) > most:
        yield f"no more than {most} items allowed [json-pointer:{here}]"


def _text(text: Any, here: str, most: int, *, plain: bool = False) -> Iterator[str]:
    if not isinstance(text, dict) or not isinstance(text.get("text"), str):
        yield f"missing required field: text [json-pointer:{here}]"
        return
    if text.get("type") not in ({"plain_text"} if plain else {"plain_text", "mrkdwn"}):
        yield f"unsupported type: {text.get('type')} [json-pointer:{here}/type]"
    if not text["text"]:
        yield f"must be more than 0 characters [json-pointer:{here}/text]"
    yield from _length(text["text"], f"{here}/text", most)


def _length(text: str, here: str, most: int) -> Iterator[str]:
    if len(text) > most:
        yield f"must be less than {most + 1} characters [json-pointer:{here}]"
