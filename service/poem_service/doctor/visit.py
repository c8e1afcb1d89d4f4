"""A running service, met the way a client meets it; one is started for the occasion where none runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from poem.deck import Deck
from poem.environment import EVERY_ADDRESS
from poem.hand import Answer
from poem.rules import Violation, check
from poem_service.app import build_app
from poem_service.engine.upstream import translate
from poem_service.errors import EngineError, Reason
from poem_service.record.outcome import Source
from poem_service.request.intake import read_hand
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.web.server import Server, server_config

PROBE_S = 5.0
CLIENT_PATIENCE_S = 90.0
"""The game gives up then."""
LOOK_S = 0.5
NOT_WAITED_FOR = frozenset({Reason.NO_ENGINE, Reason.MODEL_MISSING, Reason.TOO_SLOW, Reason.BELOW_COMPOSER})
"""What waiting does not mend."""


class StrangerError(Exception):
    """Something answers at the service's address, and it is not the service."""


class KeyRefusedError(StrangerError):
    """The service answers, and to it we are the stranger."""

    def __init__(self) -> None:
        super().__init__("POEM_API_KEY の値が、サービスの鍵と違います")


@dataclass(frozen=True, slots=True)
class Played:
    """A hand as it was answered."""

    answer: Answer
    source: Source
    reason: Reason | None
    seconds: float
    violations: tuple[Violation, ...]


class Visit:
    """A client of one service. What goes wrong on the way is an `EngineError`, as for any server behind HTTP."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        headers = {"authorization": f"Bearer {settings.api_keys[0]}"} if settings.api_keys else None
        self._session = aiohttp.ClientSession(url, headers=headers, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._session.close()

    async def ready(self) -> dict[str, Any]:
        """What `/ready` tells. Raises `StrangerError` if the answer is not this service's."""
        try:
            found = msgspec.json.decode(await self._get("/ready"))
        except msgspec.DecodeError as error:
            raise StrangerError(self.url) from error
        if not isinstance(found, dict) or "answers_from" not in found:
            raise StrangerError(self.url)
        return found

    async def settle(self, wait_s: float) -> dict[str, Any]:
        """What `/ready` tells once the model answers or cannot be waited for; at the latest after `wait_s`."""
        until = time.monotonic() + wait_s
        while True:
            ready = await self.ready()
            if ready["answers_from"] == "model" or ready["reason"] in NOT_WAITED_FOR or time.monotonic() >= until:
                return ready
            await asyncio.sleep(LOOK_S)

    async def deck_is(self, deck: Deck) -> bool:
        """Whether the service deals from this deck."""
        cards = msgspec.json.decode(await self._get("/api/cards"))
        titles = msgspec.json.decode(await self._get("/api/catchphrases"))
        return bool(cards == [card.as_json() for card in deck.cards] and titles == list(deck.catchphrases))

    async def metrics(self) -> str:
        return (await self._get("/metrics")).decode()

    async def play(self, seed: int, deck: Deck | None = None) -> Played:
        """The hand that the service deals for the seed, with each card's first wording, as the game plays it.

        The deck's cards are held to their own terms, others to those of their text.
        """
        cards = msgspec.json.decode(await self._get(f"/api/deal?seed={seed}"))
        titles = msgspec.json.decode(await self._get("/api/catchphrases"))
        pairs = [{"conditionCard": card, "selectedPoem": card["poems"][0]} for card in cards]
        body = msgspec.json.encode({"selectedPairs": pairs})
        started = time.monotonic()
        try:
            patience = aiohttp.ClientTimeout(total=CLIENT_PATIENCE_S)
            headers = {"content-type": "application/json"}
            async with self._session.post("/api/generate-poem", data=body, headers=headers, timeout=patience) as answer:
                answer.raise_for_status()
                found = msgspec.json.decode(await answer.read(), type=Answer)
                source = msgspec.convert(answer.headers.get("X-Poem-Source"), Source)
                reason = msgspec.convert(answer.headers.get("X-Poem-Reason"), Reason | None)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise translate(error) from error
        seconds = time.monotonic() - started
        hand = read_hand(body, deck or Deck((), ()), "open")
        return Played(found, source, reason, seconds, tuple(check(found, hand, titles)))

    async def _get(self, path: str) -> bytes:
        try:
            async with self._session.get(path, timeout=aiohttp.ClientTimeout(total=PROBE_S)) as answer:
                if answer.status == 401:
                    raise KeyRefusedError
                if answer.status >= 400:
                    raise StrangerError(f"{path}: status {answer.status}")
                return await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise translate(error) from error


@asynccontextmanager
async def find_service(settings: Settings) -> AsyncIterator[Visit | None]:
    """The service that runs by these settings, or None. Raises `StrangerError` if something else has its port."""
    host = EVERY_ADDRESS.get(settings.host, settings.host)
    async with Visit(f"http://{f'[{host}]' if ':' in host else host}:{settings.port}", settings) as visit:
        there = True
        try:
            await visit.ready()
        except EngineError as error:
            if error.reason is not Reason.UNREACHABLE:
                raise StrangerError(error.seen) from error
            there = False
        yield visit if there else None


@asynccontextmanager
async def start_service(settings: Settings) -> AsyncIterator[Visit]:
    """A service of these settings on a free port, for as long as the visit lasts; it keeps no log of its poems."""
    occasion = replace(settings, host="127.0.0.1", log_db=None)
    service = Service.of(occasion)
    server = Server(server_config(build_app(service), occasion.host, 0), service)
    serving = asyncio.create_task(server.serve())
    try:
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with Visit(f"http://127.0.0.1:{port}", occasion) as visit:
            yield visit
    finally:
        server.should_exit = True
        await serving
