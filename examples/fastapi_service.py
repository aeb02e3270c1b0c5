"""A FastAPI service behind the switch: routed by the user's id, counted by how each answer ended, feedback by token.

    pip install . fastapi uvicorn openai   # in the clone
    export OPENAI_BASE_URL=… OPENAI_API_KEY=… KILLSWITCH_FEEDBACK_KEY=$(openssl rand -hex 32)
    KILLSWITCH_STORE=etcd://etcd:2379 uvicorn --app-dir examples fastapi_service:app
    curl -d '{"prompt": "hello"}' -H 'content-type: application/json' -H 'x-user-id: alice' localhost:8000/v1/chat

Without KILLSWITCH_STORE it reads flag.json next to this file: edit ``canary_percent``, or trip it, and watch.
"""

from __future__ import annotations

import os
from pathlib import Path

import openai
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from killswitch.router import CohortMetrics, Router
from killswitch.router.integrations.asgi import KillswitchMiddleware, header, path

STORE = os.environ.get("KILLSWITCH_STORE", f"file://{Path(__file__).with_name('flag.json')}")

router = Router("support-copilot", STORE, control="model-old")
metrics = CohortMetrics(router)
llm = openai.AsyncOpenAI()
app = FastAPI()
app.add_middleware(
    KillswitchMiddleware,
    router=router,
    metrics=metrics,
    routing_key=header("x-user-id"),
    applies=path("/v1/chat"),
)


class Question(BaseModel):
    prompt: str


@app.post("/v1/chat")
async def chat(question: Question, request: Request) -> dict[str, str | None]:
    served = request.state.killswitch
    answer = await llm.chat.completions.create(
        model=served.route.model, messages=[{"role": "user", "content": question.prompt}]
    )
    served.answer(answer)  # a refusal, and the tokens
    return {"answer": answer.choices[0].message.content, "feedback": served.token}


@app.post("/v1/thumbs-down")
def thumbs_down(token: str) -> dict[str, bool]:
    return {"counted": metrics.thumbs_down(token)}


@app.get("/metrics")
def exposition() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
