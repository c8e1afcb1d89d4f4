"""Answers without a model: the table's lookup at its full size, and the service at a steady rate.

    python -m bench.service_table [--entries 50000] [--rate 500] [--seconds 10]

The rate is an open loop: each request has its time whatever became of those before it, and is timed from it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import aiohttp
import msgspec

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer, Hand, deal, draw_candidates
from poem.table import Entry, Table, write_table
from support.process import service
from support.served import sent

DECK = builtin_game().deck
LOOKUPS = 5_000


def hands(count: int) -> Iterator[Hand]:
    """So many dealt hands, none twice."""
    seen: set[frozenset[tuple[str, str]]] = set()
    rng = Random(5)
    while len(seen) < count:
        hand = deal(DECK, rng)
        key = frozenset(hand.ids())
        if key not in seen:
            seen.add(key)
            yield hand


def entries(count: int) -> Iterator[Entry]:
    """A composed poem for each."""
    for n, hand in enumerate(hands(count)):
        yield Entry(hand, compose(builtin_game(), hand, draw_candidates(DECK, Random(n)), n).answer, "composed")


def timed(find: Callable[[Hand], list[Answer]], asked: list[Hand]) -> str:
    """How long a lookup takes."""
    found = []
    for hand in asked:
        started = time.perf_counter()
        find(hand)
        found.append(1000 * (time.perf_counter() - started))
    return figures(found)


def figures(ms: list[float]) -> str:
    """p50, p99 and the slowest."""
    ordered = sorted(ms)
    return f"{ordered[len(ms) // 2]:.3f} | {ordered[len(ms) * 99 // 100]:.3f} | {ordered[-1]:.3f}"


async def at_rate(url: str, asked: list[Hand], rate: int, seconds: float) -> tuple[list[float], Counter[str]]:
    """Ask at a steady rate; milliseconds from each request's own time, and the sources."""
    bodies = [msgspec.json.encode(sent(hand)) for hand in asked]
    ms: list[float] = []
    sources: Counter[str] = Counter()
    async with aiohttp.ClientSession() as session:

        async def ask(at: float, body: bytes) -> None:
            async with session.post(f"{url}/api/generate-poem", data=body) as response:
                await response.read()
                ms.append(1000 * (time.perf_counter() - at))
                sources[response.headers["x-poem-source"]] += 1

        start = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as asking:
            for n in range(int(rate * seconds)):
                at = start + n / rate
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                asking.create_task(ask(at, bodies[n % len(bodies)]))
    return ms, sources


async def run(path: Path, known: list[Hand], rate: int, seconds: float) -> None:
    """Table answers, then composed ones."""
    unknown = [deal(DECK, Random(-n)) for n in range(1, 500)]
    environ = {"POEM_ENGINE": "none", "POEM_TABLE": str(path)}
    async with service(environ) as (url, _):
        await at_rate(url, known, rate // 2, 1)
        for name, asked in (("table", known), ("composed", unknown)):
            ms, sources = await at_rate(url, asked, rate, seconds)
            sys.stdout.write(f"| {name} at {rate}/s, whole request ({dict(sources)}) | {figures(ms)} |\n")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=50_000)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.sqlite3"
        started = time.perf_counter()
        count = write_table(path, entries(options.entries), DECK)
        built_s = time.perf_counter() - started
        known = list(hands(LOOKUPS))
        sys.stdout.write(f"{count} entries, {path.stat().st_size / 2**20:.0f} MiB, built in {built_s:.0f} s\n\n")
        sys.stdout.write("| milliseconds | p50 | p99 | slowest |\n|---|---|---|---|\n")
        table = Table.open(path)
        lookup = lambda hand: list(table.find(hand))  # noqa: E731
        rng = Random(9)
        wordings = [Hand(tuple(p.__class__(p.card, rng.choice(p.card.poems)) for p in hand.pairs)) for hand in known]
        sys.stdout.write(f"| lookup of a hand | {timed(lookup, known)} |\n")
        sys.stdout.write(f"| lookup by cards alone | {timed(lookup, wordings)} |\n")
        table.close()
        asyncio.run(run(path, known, options.rate, options.seconds))


if __name__ == "__main__":
    main()
