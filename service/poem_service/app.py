"""A `Service` → the ASGI application, as one expression."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from poem_service.errors import ChatError, RequestError
from poem_service.service import Service
from poem_service.web import chat, handlers
from poem_service.web.access import trusted_hosts
from poem_service.web.dist import GameFiles, game_csp
from poem_service.web.errors import refuse
from poem_service.web.middleware import BearerKey, Envelope
from poem_service.web.page import page, page_csp

EXPOSED = ["X-Poem-Source", "X-Poem-Reason", "X-Request-ID", "X-Deal-Seed", "Server-Timing"]


def build_app(service: Service) -> Starlette:
    """The application; the service starts and stops with it."""
    app = Starlette(
        routes=[
            Route("/api/generate-poem", handlers.generate_poem, methods=["POST"]),
            Route("/api/deal", handlers.deal),
            Route("/api/cards", handlers.cards),
            Route("/api/catchphrases", handlers.catchphrases),
            Route("/v1/chat/completions", chat.completions, methods=["POST"]),
            Route("/v1/models", chat.models),
            Route("/v1/models/{name:path}", chat.model),
            Route("/health", handlers.health),
            Route("/ready", handlers.ready),
            Route("/metrics", handlers.metrics),
            Route("/stand", handlers.stand, methods=["GET", "POST"]),
            Route("/openapi.json", handlers.openapi),
            *([] if service.settings.game_dist else [Route("/", page)]),
        ],
        middleware=list(_layers(service)),
        exception_handlers=dict.fromkeys((RequestError, ChatError, HTTPException), refuse),
        lifespan=_lifespan,
    )
    app.state.service = service
    app.router.redirect_slashes = False
    if service.settings.game_dist:  # whatever no route is for
        app.router.default = GameFiles(service.settings.game_dist, service.settings.game_sources)
    return app


def _layers(service: Service) -> list[Middleware]:
    settings = service.settings
    csp = game_csp(sources=settings.game_sources) if settings.game_dist else page_csp()
    layers = [Middleware(Envelope, metrics=service.metrics, csp=csp, leaving=lambda: service.writer.stopping)]
    if settings.trusted_proxies:  # who asks is then whom they name
        layers.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=trusted_hosts(settings.trusted_proxies)))
    if settings.allowed_origins:
        allowed = list(settings.allowed_origins)
        headers = ["Content-Type", "Authorization"]
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=allowed,
                allow_methods=["GET", "POST"],
                allow_headers=headers,
                expose_headers=EXPOSED,
            )
        )
    if settings.api_keys:
        layers.append(Middleware(BearerKey, keys=settings.api_keys))
    return layers


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.start()
    try:
        yield
    finally:
        await service.stop()
