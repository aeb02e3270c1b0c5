"""Which names of models float: aliases that a provider may point at another model overnight.

What is known of names is data (`model_aliases.toml` in this folder, and files that users add). The rules here read a
name as providers, gateways and libraries write it: ``openai/gpt-4o``, ``models/gemini-2.5-pro``, ``openai:gpt-4o``,
``us.anthropic.claude-v2``, ``claude-3-5-sonnet@latest``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_PROVIDERS: Final = frozenset({
    "ai21", "anthropic", "azure", "azure_ai", "bedrock", "bedrock_converse", "cohere", "converse", "databricks",
    "deepseek", "fireworks_ai", "gateway", "gemini", "github", "github_copilot", "google", "google-gla",
    "google-vertex",
    "google_genai", "google_vertexai", "groq", "huggingface", "litellm", "litellm_proxy", "meta-llama", "mistral",
    "mistralai", "models", "moonshot", "moonshotai", "openai", "openai-chat", "openai-responses", "openrouter",
    "perplexity", "publishers", "qwen", "replicate", "responses", "together_ai", "vercel", "vertex_ai", "vertexai",
    "x-ai", "xai",
})  # fmt: skip
# of Bedrock: a region, and the maker of the model
_BEDROCK = re.compile(
    r"(?:(?:us|us-gov|eu|apac|au|jp|ca|global)\.)?(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|mistral|openai)\."
)
# what OpenRouter writes after a name says how it is served, not which model it is
_SERVED = re.compile(r":(?:free|online|nitro|floor|extended|thinking|beta)\Z")
_LATEST = re.compile(r"(?:[-@:]latest|@default)\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*\Z")
_NO_MODEL = re.compile(r"(?:claude-code|gemini-cli|-cli|-sdk|-mcp|-action|-proxy|-image|-server)\b")


@dataclass(frozen=True, slots=True)
class FloatingName:
    """``name`` as it is written. ``pin``: a pinned id of the model, None where none is known."""

    name: str
    pin: str | None

    @property
    def fix(self) -> str:
        pin = "" if self.pin is None else f", or pin {self.pin}"
        return f'ask a role: Roles(store).model_for("<role>"), or role:<role>.prod in a rule file{pin}'


class ModelNames:
    """The names that are known to float.

    ``aliases``: each with its pinned id, or "" where none is known. ``pinned``: aliases that the user holds to be
    pinned. ``words``: names that are words too, so that they count only where a key says model. ``stems``: what names
    of models begin with.
    """

    def __init__(
        self,
        aliases: Mapping[str, str],
        *,
        words: Iterable[str] = (),
        stems: Iterable[str] = (),
        pinned: Collection[str] = (),
    ) -> None:
        self._aliases = {name: pin or None for name, pin in aliases.items() if name not in pinned}
        self._pinned = frozenset(pinned)
        self._words = frozenset(words)
        self._stems = tuple(stems)
        heads = sorted(self.heads, key=len)
        self._head = re.compile("|".join(re.escape(head) for head in heads))

    def floating(self, text: str, *, keyed: bool) -> FloatingName | None:
        """The name in ``text``, if that is one and floats. ``keyed``: whether it stands where a key says model."""
        if text in self._pinned or text.startswith(("@", "/", ".", "-", "ft:", "role:")):
            return None
        name = _bare(text)
        if name is None or name in self._pinned:
            return None
        if name in self._aliases:
            return FloatingName(text, self._aliases[name]) if keyed or name not in self._words or name != text else None
        latest = _LATEST.search(name)
        if latest is None or not (model := name[: latest.start()]) or _NO_MODEL.search(model):
            return None
        # `:latest` is also a tag of an image, and `-latest` ends names of many other things
        if keyed or (latest[0] != ":latest" and model.startswith(self._stems)):
            return FloatingName(text, self._aliases.get(model))
        return None

    def may_be(self, text: str) -> bool:
        """A quick look whether the text may be one of the names."""
        return self._head.search(text) is not None

    @property
    def heads(self) -> frozenset[str]:
        """What a text must have in it to name any of these: their first parts, ``gpt-`` or ``sonar``."""
        parts = {name.partition("-") for name in self._aliases}
        return frozenset({f"{first}{dash}" for first, dash, _ in parts} | {"-latest", "@latest", ":latest", "@default"})


def _bare(text: str) -> str | None:
    """The name without what says who serves it; None for a path, a package or another thing."""
    name = _SERVED.sub("", text)
    *before, name = name.split("/")
    if before and not _serves(before):
        return None
    provider, colon, rest = name.partition(":")
    if colon and provider in _PROVIDERS:
        name = rest
    name = _BEDROCK.sub("", name, count=1)
    checked = _LATEST.sub("", name)
    return name if _NAME.match(checked) else None


def _serves(parts: list[str]) -> bool:
    """Whether the parts before the last slash name who serves a model, such as openrouter/openai."""
    first = parts[0].partition(":")[2] or parts[0]
    return first in _PROVIDERS and all(part in _PROVIDERS for part in parts[1:])
