"""`poem-service` in a process of its own, as a player's machine runs it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def service(
    environ: dict[str, str], port: int | None = None, stop: signal.Signals = signal.SIGTERM
) -> AsyncIterator[tuple[str, int]]:
    """`poem-service` in a process of its own, on a free port if none is given: its URL and process id.

    SIGTERM shows two seconds of leaving, SIGINT ends at once; a second signal that is SIGINT waits for nobody.
    """
    port = port or free_port()
    paths = os.pathsep.join(str(ROOT / part) for part in ("game", "service"))
    env = {**os.environ, **environ, "POEM_PORT": str(port), "PYTHONPATH": paths}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "poem_service", env=env, stderr=asyncio.subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            while process.returncode is None:
                try:
                    await client.get(f"{url}/health")
                    break
                except (httpx.ConnectError, httpx.ReadTimeout):
                    await asyncio.sleep(0.02)
        assert process.returncode is None, f"poem-service ended with status {process.returncode}"
        yield url, process.pid
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(stop)
        await process.wait()


def resident_mb(pid: int) -> float:
    """The process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> list[int]:
    """The processes that it started and that live, whichever of its threads did; none of one that is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it ended meanwhile
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found
