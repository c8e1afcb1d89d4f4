"""The service on a real port, in this process; hands as the game sends them, and a table of poems for some."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Hand, deal
from poem.rules import check
from poem.table import Entry, write_table
from poem_service.app import build_app
from poem_service.service import Service
from poem_service.settings import Settings
from poem_service.watch.ladder import ModelState
from poem_service.web.server import Server, server_config

DEADLINE_S = 2.0
"""Of a service whose model hangs: every hang costs it."""
PATIENT_S = 30.0
"""Of any other: what else a busy machine delays is no fault of the service."""
HANGS = frozenset({"hang_before", "hang_before_first", "hang_amid", "slow_drip"})
"""The stand-ins' faults that last as long as they are let."""


def parameter(request: pytest.FixtureRequest, name: str) -> str | None:
    """A parameter of the test that asks for a fixture, where it has one of that name."""
    callspec = getattr(request.node, "callspec", None)
    return callspec.params.get(name) if callspec else None


def deadline_of(fault: str | None) -> float:
    """The deadline of a service whose model has that fault."""
    return DEADLINE_S if fault in HANGS else PATIENT_S


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """The running service and a client of it."""
    service = Service.of(settings)
    server = Server(server_config(build_app(service), "127.0.0.1", 0), service)
    running = asyncio.create_task(server.serve())
    try:
        while not (server.started or running.done()):
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield service, client
    finally:
        server.should_exit = True
        await running


async def until(service: Service, *states: ModelState, limit_s: float = 20.0) -> None:
    """Return once the model stands so."""
    async with asyncio.timeout(limit_s):
        while service.keeper.standing.state not in states:
            await asyncio.sleep(0.01)


def sent(hand: Hand) -> dict[str, Any]:
    """The hand as the game sends it."""
    return {"selectedPairs": hand.as_json()}


def a_hand(seed: int = 1) -> Hand:
    """A dealt hand of the built-in deck."""
    return deal(builtin_game().deck, Random(seed))


def whole_table(folder: Path, hands: int = 5) -> Path:
    """A file with composed poems for dealt hands."""
    path, game = folder / "poems.sqlite3", builtin_game()
    titles = game.deck.catchphrases[:20]
    entries = [Entry(a_hand(n), compose(game, a_hand(n), titles, n).answer, "composer") for n in range(hands)]
    write_table(path, [entry for entry in entries if not check(entry.answer, entry.hand, titles)], game.deck)
    return path


def break_a_page(table: Path) -> None:
    """The page of its last poem reads as zeros, as a bad copy leaves it."""
    with closing(sqlite3.connect(table)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (poem,) = db.execute("SELECT poem FROM poems ORDER BY pattern_id DESC LIMIT 1").fetchone()
    data = table.read_bytes()
    start = data.index(poem.encode()) // size * size
    table.write_bytes(data[:start] + bytes(size) + data[start + size :])


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The (name, data) pairs of an event stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found
