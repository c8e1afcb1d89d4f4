"""A fresh clone → a poem in the browser: makes the model, serves it, plays one hand through it.

With `--once` it stops after the hand, and the last line on standard output is JSON.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import click
import httpx

from poem_build import register
from poem_build.cli import one_line_errors, quiet_libraries
from poem_build.errors import DemoError
from poem_build.pipeline import run_all
from poem_build.quantize import FILE as GGUF_FILE
from poem_build.recipe import Recipe, load_recipe

_READY_WITHIN_S = 120


@click.command()
@click.option("--recipe", default="tiny", show_default=True, help="A recipe's name, or a TOML file.")
@click.option("--once", is_flag=True, help="Stop after one hand.")
@click.option("--port", envvar="POEM_PORT", default=3001, show_default=True, help="Where the service listens.")
@click.option("--ollama", "host", envvar="OLLAMA_HOST", default=register.DEFAULT_HOST, show_default=True)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def demo(recipe: str, once: bool, port: int, host: str, debug: bool) -> None:
    """Make the model, serve it and play one hand."""
    with one_line_errors(debug):
        loaded = load_recipe(recipe)
        out = Path("artifacts") / loaded.name
        address = register.address(host)
        _refuse_taken(port)
        with register.running_server(address, out / "ollama.log") as ollama:
            stages = {}
            for name, made in run_all(loaded, out, address, ollama):
                stages[name] = 0.0 if made.reused else made.seconds
                click.echo(f"{name:10} {'reused' if made.reused else f'{made.seconds:6.1f} s'}")
            if not ollama:
                click.echo(register.NONE_HERE)
            with _service(loaded, out, port, address if ollama else None) as url:
                played = _play(url) | {"engine": "ollama" if ollama else "embedded"}
                if not once:
                    click.echo(f"serving at {url} until Ctrl-C")
                    with contextlib.suppress(KeyboardInterrupt):
                        while True:
                            time.sleep(3600)
        if once:
            click.echo(json.dumps(played | {"stages": stages}, ensure_ascii=False))


@contextlib.contextmanager
def _service(recipe: Recipe, out: Path, port: int, ollama: str | None) -> Iterator[str]:
    """The service as a process of its own, answering from the model."""
    # What the user has set for a service of their own is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POEM_")}
    environment |= {"POEM_PORT": str(port), "POEM_ENGINE": "ollama" if ollama else "embedded"}
    if ollama:
        environment |= {"OLLAMA_HOST": ollama, "POEM_MODEL": recipe.ollama_model}
    else:
        environment |= {"POEM_GGUF": str(out / "gguf" / GGUF_FILE)}
    log = out / "service.log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "poem_service"], env=environment, stdout=file, stderr=file)
    try:
        url = f"http://localhost:{port}"
        _wait_for_model(url, process, log)
        yield url
    finally:
        register.stop(process)


def _wait_for_model(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _READY_WITHIN_S
    told: Any = "no answer"
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DemoError(f"{log}: the service stopped; the file's last lines say why")
        with contextlib.suppress(httpx.HTTPError, ValueError):
            told = httpx.get(f"{url}/ready", timeout=5).json()
            if told.get("answers_from") == "model":
                return
        time.sleep(0.1)
    raise DemoError(f"{url}/ready: the model does not answer after {_READY_WITHIN_S} s: {told}; see {log}")


def _refuse_taken(port: int) -> None:
    """Refuse before the long work, and before somebody else's service is taken for ours."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(f"POEM_PORT {port}: {error.strerror}; stop what listens there or give another") from error


def _play(url: str) -> dict[str, Any]:
    """Play one hand, print it, and return what the last line tells of it."""
    rng = Random()
    try:
        cards = httpx.get(f"{url}/api/deal").raise_for_status().json()
        hand = [{"conditionCard": card, "selectedPoem": rng.choice(card["poems"])} for card in cards]
        start = time.monotonic()
        reply = httpx.post(f"{url}/api/generate-poem", json={"selectedPairs": hand}, timeout=90).raise_for_status()
        seconds = time.monotonic() - start
        model = httpx.get(f"{url}/ready").raise_for_status().json()["model"]
    except httpx.HTTPError as error:
        raise DemoError(f"{url}: the hand was not answered: {error}; see service.log") from error
    answer, source = reply.json(), reply.headers["X-Poem-Source"]
    click.echo()
    for pair in hand:
        click.echo(f"{pair['conditionCard']['condition_text']} → {pair['selectedPoem']['poem_text']}")
    click.echo(f"\n{answer['title']}\n\n{answer['poem']}\n\n{source}, {seconds:.1f} s, {model} at {url}")
    return {**answer, "source": source, "model": model}


if __name__ == "__main__":
    quiet_libraries()
    demo()
