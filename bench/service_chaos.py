"""The long chaos run: players against the service while its Ollama fails in every way known.

    python bench/service_chaos.py [--hands 10000] [--players 16] [--deadline 3]

Prints one line of JSON; exits 1 unless there was no error, no broken rule, no late poem, and flat memory.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
PATHS = [str(ROOT / part) for part in ("game", "service", "tests")]
sys.path[:0] = PATHS

import httpx  # noqa: E402

from support.chaos import Tally, misbehave, play, trouble  # noqa: E402
from support.ollama_stand_in import OllamaStandIn  # noqa: E402

GROWTH_MAX = 1.10
"""Of the resident memory between the first quarter's end and the last's."""


@asynccontextmanager
async def service(environ: dict[str, str]) -> AsyncIterator[tuple[str, int]]:
    """`poem-service` in a process of its own: its URL and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, **environ, "POEM_PORT": str(port), "PYTHONPATH": ":".join(PATHS)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "poem_service", env=env, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    await client.get(f"{url}/health")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
        yield url, process.pid
    finally:
        process.terminate()
        await process.wait()


def resident_mb(pid: int) -> float:
    """The process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def run(hands: int, players: int, deadline_s: float) -> dict[str, object]:
    """The figures of one run."""
    rng = Random(11)
    tallies: list[Tally] = []
    memory: list[float] = []
    async with OllamaStandIn(behave=misbehave(rng)) as ollama:
        environ = {
            "POEM_ENGINE": "ollama",
            "OLLAMA_HOST": ollama.url,
            "POEM_DEADLINE_S": str(deadline_s),
            "POEM_MAX_ACTIVE": "4",
        }
        async with service(environ) as (url, pid), httpx.AsyncClient(base_url=url, trust_env=False) as client:
            troubling = asyncio.create_task(trouble(ollama, rng, every_s=6.0, for_s=1.0))
            started = time.monotonic()
            for quarter in range(4):
                tallies.append(await play(client, hands // 4, players, deadline_s, seed=quarter))
                memory.append(resident_mb(pid))
            seconds = time.monotonic() - started
            troubling.cancel()
            await asyncio.gather(troubling, return_exceptions=True)
    return figures(tallies, memory, seconds)


def figures(tallies: list[Tally], memory: list[float], seconds: float) -> dict[str, object]:
    """All quarters together."""
    total = Tally()
    for tally in tallies:
        total.asked += tally.asked
        total.gone += tally.gone
        total.errors += tally.errors
        total.against_rules += tally.against_rules
        total.late += tally.late
        total.sources += tally.sources
        total.reasons += tally.reasons
        total.slowest_s = max(total.slowest_s, tally.slowest_s)
    return {
        "hands": total.asked,
        "seconds": round(seconds, 1),
        "errors": len(total.errors),
        "against_rules": len(total.against_rules),
        "late": len(total.late),
        "players_who_left": total.gone,
        "slowest_s": round(total.slowest_s, 3),
        "sources": dict(total.sources),
        "reasons": dict(total.reasons.most_common()),
        "resident_mb": [round(mb, 1) for mb in memory],
        "flat": memory[-1] <= memory[0] * GROWTH_MAX,
        "first_errors": (total.errors + total.against_rules)[:3],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=10_000)
    parser.add_argument("--players", type=int, default=16)
    parser.add_argument("--deadline", type=float, default=3.0)
    options = parser.parse_args()
    found = asyncio.run(run(options.hands, options.players, options.deadline))
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    whole = not (found["errors"] or found["against_rules"] or found["late"]) and found["flat"]
    raise SystemExit(0 if whole else 1)


if __name__ == "__main__":
    main()
