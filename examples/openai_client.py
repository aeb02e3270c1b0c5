"""The OpenAI client behind the switch, whole answers and streams.

pip install . openai   # in the clone
OPENAI_BASE_URL=… OPENAI_API_KEY=… KILLSWITCH_STORE=etcd://etcd:2379 python openai_client.py alice
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import openai

from killswitch.router import CohortMetrics, Router
from killswitch.router.integrations.openai import RoutedOpenAI

STORE = os.environ.get("KILLSWITCH_STORE", f"file://{Path(__file__).with_name('flag.json')}")


def main(user: str) -> None:
    with Router("support-copilot", STORE, control="model-old") as router:
        router.wait_ready(5.0)  # a service need not wait: until then it routes to control
        llm = RoutedOpenAI(openai.OpenAI(), router=router, metrics=CohortMetrics(router))
        messages = [{"role": "user", "content": "hello"}]
        answer = llm.for_user(user).chat.completions.create(messages=messages)
        print(answer.model, "->", answer.choices[0].message.content)
        for chunk in llm.for_user(user).chat.completions.create(messages=messages, stream=True):
            print(chunk.choices[0].delta.content or "", end="")
        print()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "alice")
