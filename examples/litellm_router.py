"""A LiteLLM router behind the switch; its fallback lists cannot route around it.

pip install . 'litellm>=1.80,<2'   # in the clone
OLD_URL=http://…/v1 NEW_URL=http://…/v1 KILLSWITCH_STORE=etcd://etcd:2379 python litellm_router.py alice
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import litellm

from killswitch.router import CohortMetrics, Router
from killswitch.router.integrations.litellm import LiteLLMSwitch

STORE = os.environ.get("KILLSWITCH_STORE", f"file://{Path(__file__).with_name('flag.json')}")


def group(name: str, url: str) -> dict[str, object]:
    return {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": url, "api_key": "unused"}}


async def main(user: str) -> None:
    with Router("support-copilot", STORE, control="model-old") as router:
        router.wait_ready(5.0)
        switch = LiteLLMSwitch(router, CohortMetrics(router), canary="model-new")
        llm = switch.install(
            litellm.Router(
                model_list=[group("model-old", os.environ["OLD_URL"]), group("model-new", os.environ["NEW_URL"])],
                # a canary that fails falls back to control; the other way round is refused, whatever stands here
                fallbacks=[{"support-copilot": ["model-old", "model-new"]}],
            )
        )
        messages = [{"role": "user", "content": "hello"}]
        answer = await llm.acompletion(model="support-copilot", user=user, messages=messages)
        print(answer.model, "->", answer.choices[0].message.content)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "alice"))
