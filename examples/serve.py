"""An endpoint that answers with a prediction and its explanation: FastAPI, one model, loaded once.

uvicorn --factory examples.serve:make_app
curl localhost:8000/explain --json '{"text": "A superb film."}'
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import lignite

MODEL = os.environ.get("LIGNITE_MODEL", "tiny-sentiment")
WAITING = 8  # questions that may wait for the one at work; the next is sent away
CHARACTERS = 2_000  # of a text: what an explanation costs grows with its square
BYTES = 20_000  # of a request, read before anything looks into it
MEMORY = "1 GiB"  # for intermediate tensors, beside the model

log = logging.getLogger("lignite.serve")


class Question(BaseModel):
    """What may be asked. Methods are listed, since some of them cost a thousand times what others cost."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=CHARACTERS)
    target: str | None = Field(None, max_length=100)
    method: Literal["attnlrp", "gradient-x-input", "ig", "relevance-flow"] = "attnlrp"


class Busy(Exception):
    """As many questions as may wait are waiting."""


class Desk:
    """A desk answers one question at a time: explanations of one model take turns anyway, and memory stays flat."""

    def __init__(self, model: lignite.Model) -> None:
        self.model = model
        self.turn = asyncio.Semaphore(1)
        self.waiting = 0

    async def ask(self, question: Question) -> dict[str, Any]:
        if self.waiting > WAITING:
            raise Busy
        self.waiting += 1
        try:
            async with self.turn:
                return await run_in_threadpool(answer, self.model, question)
        finally:
            self.waiting -= 1


def answer(model: lignite.Model, question: Question) -> dict[str, Any]:
    """Explain, and say it in plain types."""
    why = lignite.explain(model, question.text, target=question.target, method=question.method, memory=MEMORY)
    columns = zip(why.token.values, why.start.values, why.stop.values, why.relevance.values, strict=True)
    return {
        "model": model.name,
        "prediction": why.prediction,
        "probability": {
            str(name): float(share) for name, share in zip(why["class"].values, why.probability, strict=True)
        },
        "explained": json.loads(why.target)["name"],
        "tokens": [
            {"text": str(token), "start": int(start), "stop": int(stop), "relevance": float(relevance)}
            for token, start, stop, relevance in columns
        ],
    }


class SizeLimit:
    """A request is read before anything looks into it, and no further than `BYTES`; a declared length may be wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        messages, read = [], 0
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            read += len(messages[-1].get("body", b""))
            if read > BYTES:
                message = f"the request is longer than {BYTES} bytes: send a shorter text."
                return await say(413, message)(scope, receive, send)

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self.app(scope, again, send)


def make_app() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = Desk(await run_in_threadpool(lignite.load, MODEL))  # once, before the first question
        yield

    app = FastAPI(title="lignite", lifespan=lifespan)
    app.add_middleware(SizeLimit)

    @app.post("/explain")
    async def explain(question: Question, request: Request) -> dict[str, Any]:
        return await request.app.state.desk.ask(question)

    @app.get("/health")
    async def health(request: Request) -> dict[str, str]:
        return {"model": request.app.state.desk.model.name}

    @app.exception_handler(lignite.errors.LigniteError)
    async def refuse(request: Request, error: lignite.errors.LigniteError) -> JSONResponse:
        return say(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def correct(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(part for part in first["loc"][1:] if isinstance(part, str))
        return say(422, f"{place or 'the request'}: {first['msg']}")

    @app.exception_handler(Busy)
    async def send_away(request: Request, error: Busy) -> JSONResponse:
        return say(503, f"{WAITING} questions are waiting: ask again in a few seconds.", {"Retry-After": "5"})

    @app.exception_handler(Exception)
    async def apologise(request: Request, error: Exception) -> JSONResponse:
        log.error("a question failed", exc_info=error)
        return say(500, "the explanation failed; the service's log says why.")

    return app


def say(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Say what is wrong in one message, whoever noticed it."""
    return JSONResponse({"error": message}, status, headers)
