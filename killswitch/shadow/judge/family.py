"""Model families by name: a judge prefers answers of its own family, so it must not judge a canary of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from killswitch.errors import BadSettings
from killswitch.wording import plain

# The words by which a family's models are named; a version may follow a word without a dash (llama3, gpt4o). Names
# that also route to models of others (openai/, azure/, google/, bedrock/) are not among them.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "openai": ("gpt", "chatgpt", "davinci", "codex"),
    "anthropic": ("claude", "anthropic", "opus", "sonnet", "haiku"),
    "google": ("gemini", "gemma", "palm", "bison", "learnlm"),
    "meta": ("llama", "codellama"),
    "mistral": ("mistral", "mixtral", "codestral", "ministral", "magistral", "devstral", "pixtral", "mistralai"),
    "qwen": ("qwen", "qwq", "qvq"),
    "deepseek": ("deepseek",),
    "cohere": ("command", "aya", "c4ai", "cohere"),
    "xai": ("grok", "xai"),
    "amazon": ("nova", "titan"),
    "microsoft": ("phi", "wizardlm"),
    "zhipu": ("glm", "chatglm", "zhipu"),
    "moonshot": ("kimi", "moonshot"),
    "minimax": ("minimax", "abab"),
    "ai21": ("jamba", "jurassic"),
    "ibm": ("granite",),
    "nvidia": ("nemotron",),
    "baidu": ("ernie",),
    "tencent": ("hunyuan",),
    "bytedance": ("doubao",),
    "perplexity": ("sonar",),
    "allenai": ("olmo", "tulu"),
    "lg": ("exaone",),
}
_FAMILY_OF: Mapping[str, str] = {word: family for family, words in _WORDS.items() for word in words}
# o1, o3-mini, o4-mini-high: a name of its own, or after a prefix
_O_SERIES = re.compile(r"o[1-9]\d?\Z", re.ASCII)


def families_of(model: str) -> frozenset[str]:
    """The families a model's name shows; empty where it shows none. Several for a model distilled from another.

    What serves the model says nothing: ``openai/llama-3`` and ``azure/llama-3`` are Llama, ``openai/support`` may be
    anything. The last part of the path that names a family decides: ``deepseek-ai/custom-v2`` is DeepSeek. What stands
    between colons is one part, because people name a tuned model as they like: ``ft:gpt-4o:acme:nova-bot:id``.
    """
    for part in reversed(model.lower().split("/")):
        found = _families_in(part)
        if found:
            return found
    return frozenset()


def _families_in(part: str) -> frozenset[str]:
    tokens = [token for token in re.split(r"[^a-z0-9]+", part) if token]
    return frozenset(family for token in tokens if (family := _family_of_token(token)) is not None)


def _family_of_token(token: str) -> str | None:
    if _O_SERIES.match(token):
        return "openai"
    whole = _FAMILY_OF.get(token)
    if whole is not None:
        return whole
    word = re.match(r"([a-z]+?)v?\d\w*\Z", token, re.ASCII)
    return _FAMILY_OF.get(word[1]) if word else None


def _last_part(model: str) -> str:
    return model.lower().rpartition("/")[2]


def check_families(judge: str, candidate: str, *, insist: bool = False) -> str | None:
    """A warning to show, None if judge and canary are surely of different families.

    Raises BadSettings where they share a family or a name, unless ``insist``. A name that shows no family is a warning.
    """
    of_judge, of_candidate = families_of(judge), families_of(candidate)
    named = f"judge {plain(judge, 80)} and canary {plain(candidate, 80)}"
    shared = sorted(of_judge & of_candidate)
    if shared and not insist:
        fix = "choose a judge of another family, or insist with `insist: true` or --insist"
        raise BadSettings([f"{named} are both of the family {' and '.join(shared)}, which a judge prefers; {fix}"])
    if shared:
        return f"{named} are both of the family {' and '.join(shared)}: expect it to prefer the canary"
    if not of_judge and not of_candidate and _last_part(judge) == _last_part(candidate) and not insist:
        fix = "choose another model as judge, or insist with `insist: true` or --insist"
        raise BadSettings([f"{named} have one name, and a judge prefers its own answers; {fix}"])
    unknown = [plain(name, 80) for name, found in ((judge, of_judge), (candidate, of_candidate)) if not found]
    if unknown:
        return f"the family of {' and '.join(unknown)} is unknown: check that judge and canary are of different ones"
    return None
