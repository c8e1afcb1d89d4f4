"""The long chaos run: players against the service while its Ollama fails in every way known.

    python bench/service_chaos.py [--hands 10000] [--players 16] [--deadline 3]

Prints one line of JSON; exits 1 unless there was no error, no broken rule, no late poem, and flat memory.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("game", "service", "tests")]

import httpx  # noqa: E402

from support.chaos import Tally, figures, misbehave, play, trouble  # noqa: E402
from support.ollama_stand_in import OllamaStandIn  # noqa: E402
from support.process import resident_mb, service  # noqa: E402


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
