"""The long chaos run: players against the service while its Ollama fails in every way known.

    python -m bench.service_chaos [--hands 10000] [--players 16] [--deadline 3]

In the second quarter the service is stopped under load and another takes its port; another process reads the
generation log all the while. Prints one line of JSON; exits 1 unless there was no error, no broken rule, no late
poem, no lost row, and flat memory.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from random import Random

import httpx

from support.chaos import Tally, figures, misbehave, play, trouble
from support.ollama_stand_in import OllamaStandIn
from support.process import free_port, resident_mb, service

READER = """
import sqlite3, sys, time
while True:
    try:
        db = sqlite3.connect(sys.argv[1])
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM generation_logs").fetchone()
        time.sleep(3)
        db.close()
    except sqlite3.Error:
        time.sleep(0.1)
"""
"""Holds what it sees for seconds at a time, as somebody with a notebook does."""


async def run(hands: int, players: int, deadline_s: float) -> dict[str, object]:
    """The figures of one run."""
    rng = Random(11)
    tallies: list[Tally] = []
    memory: list[float] = []
    async with AsyncExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log.sqlite3"
        ollama = await stack.enter_async_context(OllamaStandIn(behave=misbehave(rng)))
        environ = {
            "POEM_ENGINE": "ollama",
            "OLLAMA_HOST": ollama.url,
            "POEM_DEADLINE_S": str(deadline_s),
            "POEM_MAX_ACTIVE": "4",
            "POEM_LOG_DB": str(log),
        }
        await stack.enter_async_context(reading(log))
        port = free_port()
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)
        )
        troubling = asyncio.create_task(trouble(ollama, rng, every_s=6.0, for_s=1.0))
        started = time.monotonic()
        async with service(environ, port):
            tallies.append(await play(client, hands // 4, players, deadline_s, seed=0))
            second = asyncio.create_task(play(client, hands // 4, players, deadline_s, seed=1))
            await asyncio.sleep(5)  # and SIGTERM amid the load
        async with service(environ, port) as (_, pid):
            tallies.append(await second)
            memory.append(resident_mb(pid))
            for quarter in (2, 3):
                tallies.append(await play(client, hands // 4, players, deadline_s, seed=quarter))
                memory.append(resident_mb(pid))
        seconds = time.monotonic() - started
        troubling.cancel()
        await asyncio.gather(troubling, return_exceptions=True)
        kept = sum(map(_rows, [log, *log.parent.glob("log.sqlite3.?")]))
    found = figures(tallies, memory, seconds)
    answered = sum(sum(tally.sources.values()) for tally in tallies)
    return found | {"rows": kept, "rows_lost": max(0, answered - kept)}


@asynccontextmanager
async def reading(log: Path) -> AsyncIterator[None]:
    """A reader of the log in a process of its own."""
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, str(log))
    try:
        yield
    finally:
        reader.kill()
        await reader.wait()


def _rows(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        return int(db.execute("SELECT count(*) FROM generation_logs").fetchone()[0])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=10_000)
    parser.add_argument("--players", type=int, default=16)
    parser.add_argument("--deadline", type=float, default=3.0)
    options = parser.parse_args()
    found = asyncio.run(run(options.hands, options.players, options.deadline))
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    whole = not (found["errors"] or found["against_rules"] or found["late"] or found["rows_lost"]) and found["flat"]
    raise SystemExit(0 if whole else 1)


if __name__ == "__main__":
    main()
