"""The chat endpoint over HTTP: /v1/chat/completions and /v1/models, in the form that OpenAI's clients know."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from magma_contracts.text import printable
from magma_policy.errors import NotFiniteError
from magma_policy.families.interface import Piece
from magma_policy.serving.batching import LateError, OverloadedError, StoppingError
from magma_policy.serving.chat.answering import Answering
from magma_policy.serving.chat.errors import ApiError
from magma_policy.serving.chat.request import ChatRequest, read_request
from magma_policy.serving.metrics import Metrics

BODY_S = 60.0
"""A request whose body is not there by then is dropped."""
SEND_S = 30.0
"""A client that does not take a piece of its answer by then is dropped."""
READ_AT_ONCE = 4
"""Requests whose pictures are in memory at once; others wait as the bytes that they came as."""
KEPT_HEADER = "X-Magma-Kept-Answer"
"""Tells of an answer that was given before and not made anew."""

log = logging.getLogger("magma-serve")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class ApiLimits:
    """What requests may use up; beyond `max_waiting` they are refused."""

    max_body_bytes: int
    max_waiting: int


class ChatApi:
    """Serves one model. `application` is what an HTTP server runs."""

    def __init__(
        self,
        answering: Answering,
        metrics: Metrics,
        model: str,
        identity: str,
        limits: ApiLimits,
    ) -> None:
        """`model` is what requests must name, `identity` its content (a hash)."""
        self._answering = answering
        self._metrics = metrics
        self._model = model
        self._fingerprint = f"fp_{identity[:12]}"
        self._limits = limits
        self._created = int(time.time())
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._present = 0

    def application(self, check: Callable[[web.BaseRequest], None]) -> web.Application:
        """`check` raises ApiError for a request that may not come in."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                check(request)
                return await handler(request)
            except Exception as error:
                return _refusal(self._understood(error, request))

        app = web.Application(middlewares=[guarded], client_max_size=self._limits.max_body_bytes)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/v1/models/{model:.+}", self._show)
        app.on_response_prepare.append(_signed)
        return app

    # Handlers.

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._description()]})

    async def _show(self, request: web.Request) -> web.Response:
        self._require_model(request.match_info["model"])
        return web.json_response(self._description())

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if self._present >= self._limits.max_waiting:
            raise OverloadedError(f"{self._present} requests wait already")
        self._present += 1
        try:
            body = await self._body(request)
            async with self._reading:
                # Pictures take long to decode, and robots' messages come through the same event loop.
                asked = await asyncio.to_thread(read_request, body)
                self._require_model(asked.model)
                return await self._answer(request, asked)
        finally:
            self._present -= 1

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await asyncio.wait_for(request.read(), BODY_S)
        except (asyncio.TimeoutError, TimeoutError):
            raise ApiError(408, f"the body was not there after {BODY_S:.0f} s", None, "timeout") from None
        except web.RequestPayloadError as error:
            raise ApiError(400, f"the body cannot be read: {printable(error)}", None, "invalid_body") from error

    async def _answer(self, request: web.Request, asked: ChatRequest) -> web.StreamResponse:
        stored_as = await self._answering.stored_as(asked)
        kept = await self._answering.kept(stored_as)
        if kept is not None:
            whole = Piece(kept.text, kept.finish, kept.prompt_tokens, kept.tokens)
            parts: AsyncGenerator[Piece, None] = _alone(whole)
        else:
            parts = self._answering.parts(asked, stored_as)
        headers = {KEPT_HEADER: "yes" if kept is not None else "no"}
        async with aclosing(parts):
            if asked.stream:
                return await self._stream(request, asked, parts, headers)
            text = ""
            async for part in parts:
                text += part.text
        self._metrics.request("ok")
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": part.finish}
        body = self._head("chat.completion") | {"choices": [choice], "usage": _usage(part)}
        return web.json_response(body, headers=headers)

    async def _stream(
        self, request: web.Request, asked: ChatRequest, parts: AsyncGenerator[Piece, None], headers: dict[str, str]
    ) -> web.StreamResponse:
        """Server-sent events. What goes wrong before the first word still is an answer with a status of its own."""
        part = await anext(parts)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"} | headers
        )
        await response.prepare(request)
        head = self._head("chat.completion.chunk")
        usage: dict[str, Any] = {"usage": None} if asked.include_usage else {}

        async def tell(delta: dict[str, Any], finish: str | None) -> None:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            await _event(response, head | {"choices": [choice]} | usage)

        try:
            await tell({"role": "assistant", "content": "", "refusal": None}, None)
            while True:
                if part.text:
                    await tell({"content": part.text}, None)
                following = await anext(parts, None)
                if following is None:
                    break
                part = following
            await tell({}, part.finish)
            if asked.include_usage:
                await _event(response, head | {"choices": [], "usage": _usage(part)})
        except (OSError, asyncio.TimeoutError, TimeoutError):
            self._metrics.request("gone")
            if request.transport is not None:
                request.transport.abort()
            return response
        except Exception as error:
            await _event(response, self._understood(error, request).as_json())
            return response
        self._metrics.request("ok")
        await _write(response, b"data: [DONE]\n\n")
        return response

    # Forms.

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self._model,
            "system_fingerprint": self._fingerprint,
        }

    def _description(self) -> dict[str, Any]:
        return {"id": self._model, "object": "model", "created": self._created, "owned_by": "magma"}

    def _require_model(self, name: str) -> None:
        if name != self._model:
            text = f"the model {printable(name, 80)!r} is not served here, only {self._model!r}"
            raise ApiError(404, text, "model", "model_not_found")

    def _understood(self, error: Exception, request: web.Request) -> ApiError:
        """What is told of an error, counted."""
        outcome, told = "internal", ApiError(500, f"the model failed: {type(error).__name__}: {printable(error)}")
        if isinstance(error, ApiError):
            outcome, told = "malformed", error
        elif isinstance(error, web.HTTPRequestEntityTooLarge):
            limit = self._limits.max_body_bytes / 2**20
            text = (
                f"the body has more than {limit:g} MiB; send fewer or smaller pictures, or serve with --max-message-mib"
            )
            outcome, told = "malformed", ApiError(413, text, None, "request_too_large")
        elif isinstance(error, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(error.allowed_methods))
            text = f"{error.method} is not for {printable(request.path, 80)}, only {allowed}"
            outcome, told = "malformed", ApiError(405, text, None, "method_not_allowed")
        elif isinstance(error, web.HTTPException):
            text = f"no {printable(request.path, 80)!r} here; there are /v1/chat/completions and /v1/models"
            outcome, told = "malformed", ApiError(error.status, text, None, "unknown_url")
        elif isinstance(error, LateError):
            outcome, told = "late", ApiError(504, f"no answer in time: {error}", None, "timeout")
        elif isinstance(error, OverloadedError):
            outcome, told = "overloaded", ApiError(503, f"{error}; ask again later", None, "overloaded")
        elif isinstance(error, StoppingError):
            outcome, told = "stopping", ApiError(503, str(error), None, "stopping")
        elif isinstance(error, NotFiniteError):
            log.error("no answer: %s", error)
            told = ApiError(500, str(error), None, "not_finite")
        elif isinstance(error, ValueError):  # of the model: what cannot be asked
            outcome, told = "observation", ApiError(400, printable(error), "messages", "invalid_prompt")
        else:
            log.error("the model failed", exc_info=error)
        self._metrics.request(outcome)
        return told


async def _alone(part: Piece) -> AsyncGenerator[Piece, None]:
    yield part


def _usage(part: Piece) -> dict[str, int]:
    return {
        "prompt_tokens": part.prompt_tokens,
        "completion_tokens": part.tokens,
        "total_tokens": part.prompt_tokens + part.tokens,
    }


def _refusal(error: ApiError) -> web.Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(error.status, {})
    return web.json_response(error.as_json(), status=error.status, headers=headers)


async def _event(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await _write(response, f"data: {json.dumps(data)}\n\n".encode())


async def _write(response: web.StreamResponse, data: bytes) -> None:
    await asyncio.wait_for(response.write(data), SEND_S)


async def _signed(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "magma-serve"
