"""What the handlers share: a request's body, whether its caller is over the limit, work that ends when they leave."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from poem_service.errors import RequestError
from poem_service.request.ratelimit import bucket_of
from poem_service.service import Service
from poem_service.web.events import LEFT, until_gone

TOO_LARGE = "送られた内容が大きすぎます。"
TOO_LATE = "送信が途中で止まりました。もう一度お試しください。"
BODY_S = 10.0
SEEN = "poem_service.seen"
"""Where a handler leaves in the scope what the request's one line of log should tell."""
UNTOLD = "poem_service.untold"
"""Is in the scope of a request that has no line: one of a flood."""

T = TypeVar("T")


async def body_of(request: Request, bytes_max: int) -> bytes:
    """The whole body, in time. Raises `RequestError`."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_max:
                    raise RequestError(413, TOO_LARGE)
    except TimeoutError:
        raise RequestError(400, TOO_LATE) from None
    except ClientDisconnect:
        pass  # nobody reads what is answered now
    return bytes(body)


async def unless_gone(request: Request, work: Awaitable[T]) -> T | None:
    """The work's result, or None if the client left, which cancels the work and what it waits for upstream."""
    working = asyncio.current_task()
    assert working is not None
    leaving = asyncio.create_task(_gone(request, working))
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done() and not working.uncancel():
            request.scope[LEFT] = True
            return None
        raise
    finally:
        leaving.cancel()


async def _gone(request: Request, working: "asyncio.Task[Any]") -> None:
    await until_gone(request.receive)
    working.cancel()


def is_over_the_limit(request: Request, service: Service) -> bool:
    """Counts it, whatever it holds; of a flood most leave nothing but their count."""
    limit, now = service.rate_limit, time.monotonic()
    if limit is None or limit.allows(bucket_of(request.client.host if request.client else ""), now):
        return False
    if not limit.tells(now):
        request.scope[UNTOLD] = True
    return True


def service_of(request: Request) -> Service:
    """The service that the request came to."""
    service: Service = request.app.state.service
    return service
