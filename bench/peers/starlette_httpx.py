"""The peer: a plain Starlette + httpx proxy, nothing but handing through."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

UPSTREAM = os.environ["UPSTREAM"]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One client for all requests."""
    async with httpx.AsyncClient(base_url=UPSTREAM, trust_env=False, timeout=30) as client:
        app.state.client = client
        yield


async def forward(request: Request) -> Response:
    """Hand the body on, hand the answer back."""
    client: httpx.AsyncClient = request.app.state.client
    answer = await client.post("/api/chat", content=await request.body())
    return Response(answer.content, answer.status_code, media_type="application/json")


async def forward_stream(request: Request) -> Response:
    """The same, piece by piece."""
    client: httpx.AsyncClient = request.app.state.client
    body = await request.body()

    async def pieces() -> AsyncIterator[bytes]:
        async with client.stream("POST", "/api/chat", content=body) as answer:
            async for piece in answer.aiter_bytes():
                yield piece

    return StreamingResponse(pieces(), media_type="application/x-ndjson")


app = Starlette(
    routes=[
        Route("/api/generate-poem", forward, methods=["POST"]),
        Route("/streamed", forward_stream, methods=["POST"]),
    ],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), loop="uvloop", http="httptools", log_level="error")
