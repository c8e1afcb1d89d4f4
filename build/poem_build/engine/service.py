"""A finished model → the service answering from it, as a process of its own for as long as it is wanted."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poem_build.client import client
from poem_build.engine.process import stop
from poem_build.errors import DemoError

_READY_WITHIN_S = 120


@dataclass(frozen=True)
class Serving:
    """Where the service answers, and its process id."""

    url: str
    pid: int


@dataclass(frozen=True)
class Model:
    """What the service is to answer from: a model of Ollama's at an address, or the GGUF itself where that is None."""

    name: str
    gguf: Path
    ollama: str | None = None


@contextlib.contextmanager
def serving(model: Model, game: Path | None, port: int, log: Path) -> Iterator[Serving]:
    """The service on `port`, once it answers from the model; `game` is the game's folder, or None for the built-in one.

    Raises `DemoError` if it stops, or does not take the model within two minutes.
    """
    # What the user has set for a service of their own is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POEM_")}
    environment |= {"POEM_PORT": str(port), "POEM_ENGINE": "ollama" if model.ollama else "embedded"}
    if model.ollama:
        environment |= {"OLLAMA_HOST": model.ollama, "POEM_MODEL": model.name}
    else:
        environment |= {"POEM_GGUF": str(model.gguf)}
    if game:
        environment |= {"POEM_GAME": str(game.absolute())}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "poem_service"], env=environment, stdout=file, stderr=file)
    try:
        url = f"http://localhost:{port}"
        wait_for_model(url, process, log)
        yield Serving(url, process.pid)
    finally:
        stop(process)


def wait_for_model(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once the service at `url` answers from the model. Raises `DemoError` as `serving` does."""
    import httpx

    end = time.monotonic() + _READY_WITHIN_S
    told: Any = "no answer"
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DemoError(f"{log}: the service stopped; the file's last lines say why")
        with contextlib.suppress(httpx.HTTPError, ValueError):
            with client(url, 5) as there:
                told = there.get("/ready").json()
            if told.get("answers_from") == "model":
                return
        time.sleep(0.1)
    raise DemoError(f"{url}/ready: the model does not answer after {_READY_WITHIN_S} s: {told}; see {log}")
