"""Players against the service while a real Ollama is stopped, started and killed under them, and the service replaced.

    python -m bench.service_ollama [--rounds 8] [--players 4] [--model mansion-poem:latest]

Starts an `ollama` of its own on a free port, with the models of the usual place or of OLLAMA_MODELS. Prints
one line of JSON, in it the seconds from each fault until the model was back, null where it was never seen gone;
exits 1 if there was an error, a broken rule or a late poem, or the model did not come back.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
from contextlib import AsyncExitStack
from random import Random

import httpx

from support.chaos import Tally, figures, play
from support.process import children, free_port, resident_mb, service

ROUND_S = 6.0
DEADLINE_S = 20.0
LOOK_S = 0.05
SEEN_S = 15.0
"""The service looks after its model every 5 s, and waits 8 s for an answer."""


class Ollama:
    """A real server, to be ended in more than one way."""

    def __init__(self) -> None:
        self.host = f"127.0.0.1:{free_port()}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        env = {**os.environ, "OLLAMA_HOST": self.host, "OLLAMA_NO_CLOUD": "1", "OLLAMA_NOPRUNE": "1"}
        # llama.cpp's threads spin; on cores that the players use too, they would stall each other.
        env.setdefault("LLAMA_ARG_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            "ollama", "serve", env=env, stdout=quiet, stderr=quiet, start_new_session=True
        )

    async def end(self, how: str) -> None:
        """`stop` as an operator would, `kill` as a machine out of memory would, `runner` kills only its child."""
        assert self._process is not None
        if how == "runner":
            runners = children(self._process.pid)
            if not runners:
                raise SystemExit("service_ollama: no runner to kill: is the model loaded?")
            for runner in runners:
                os.kill(runner, signal.SIGKILL)
            return
        if how == "stop":
            self._process.terminate()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


async def run(rounds: int, players: int, model: str) -> dict[str, object]:
    """End it in each way while players play, and start it again; what they got, how soon the model was back."""
    ollama, rng, port = Ollama(), Random(3), free_port()
    tallies: list[Tally] = []
    memory: list[float] = []
    back: list[float | None] = []
    environ = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama.host, "POEM_MODEL": model}
    environ["POEM_DEADLINE_S"] = str(DEADLINE_S)
    started = time.monotonic()
    await ollama.start()
    serving = AsyncExitStack()
    try:
        url, pid = await serving.enter_async_context(service(environ, port))
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            await _until_model(client)
            for n in range(rounds):
                playing = asyncio.create_task(_for_a_while(client, players, n))
                await asyncio.sleep(rng.uniform(0.2, 0.5) * ROUND_S)
                how = ("stop", "service", "kill", "runner")[n % 4]
                returning = asyncio.create_task(back_s(client))  # it looks once the signal is sent
                if how == "service":
                    await serving.aclose()  # SIGTERM, and waited for
                    _, pid = await serving.enter_async_context(service(environ, port))
                else:
                    await ollama.end(how)
                    await asyncio.sleep(1.0)
                    if how != "runner":
                        await ollama.start()
                tallies += await playing
                memory.append(resident_mb(pid))
                back.append(await returning)
    finally:
        await serving.aclose()
        await ollama.end("kill")
    return {
        **figures(tallies, memory, time.monotonic() - started),
        "rounds": rounds,
        "model_back_s": back,
    }


async def back_s(client: httpx.AsyncClient, seen_s: float = SEEN_S) -> float | None:
    """From a fault, which is now, until the model is there again; None if `/ready` never tells that it was gone."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(seen_s):
            while await _is_there(client):
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return None
    await _until_model(client)
    return round(time.monotonic() - started, 2)


async def _until_model(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(120):
        while not await _is_there(client):
            await asyncio.sleep(LOOK_S)


async def _is_there(client: httpx.AsyncClient) -> bool:
    """The model, whatever it is worth; a service that does not answer has none."""
    try:
        ready = (await client.get("/ready")).json()
    except httpx.TransportError:
        return False
    return bool(ready["answers_from"] == "model" or ready["reason"] == "quality")


async def _for_a_while(client: httpx.AsyncClient, players: int, n: int) -> list[Tally]:
    tallies: list[Tally] = []
    until = time.monotonic() + ROUND_S
    while time.monotonic() < until:
        tallies.append(await play(client, 4 * players, players, DEADLINE_S, seed=100 * n + len(tallies)))
    return tallies


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--players", type=int, default=4)
    parser.add_argument("--model", default="mansion-poem:latest")
    options = parser.parse_args()
    if shutil.which("ollama") is None:
        sys.stdout.write("service_ollama: skipped, no `ollama` on PATH\n")
        return
    found = asyncio.run(run(options.rounds, options.players, options.model))
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    raise SystemExit(0 if not (found["errors"] or found["against_rules"] or found["late"]) else 1)


if __name__ == "__main__":
    main()
