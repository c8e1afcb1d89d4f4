"""A fresh clone → a poem in the browser: makes the model, serves it, plays one hand through it.

With `--once` it stops after the hand, and the last line on standard output is JSON.
"""

import contextlib
import json
import os
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
from poem_build.cli import one_line_errors
from poem_build.errors import GateError
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
        with register.running_server(address, out / "ollama.log") as ollama:
            stages = {}
            for name, made in run_all(loaded, out, address, ollama):
                stages[name] = 0.0 if made.reused else made.seconds
                click.echo(f"{name:10} {'reused' if made.reused else f'{made.seconds:6.1f} s'}")
            with _service(loaded, out, port, address if ollama else None) as url:
                told = _play(url) | {"engine": "ollama" if ollama else "embedded", "stages": stages}
                _show(told, url)
                if not once:
                    click.echo(f"serving at {url} until Ctrl-C")
                    with contextlib.suppress(KeyboardInterrupt):
                        while True:
                            time.sleep(3600)
        if once:
            click.echo(json.dumps(told, ensure_ascii=False))


@contextlib.contextmanager
def _service(recipe: Recipe, out: Path, port: int, ollama: str | None) -> Iterator[str]:
    """The service as a process of its own, answering from the model."""
    engine = {"POEM_ENGINE": "ollama", "OLLAMA_HOST": ollama} if ollama else {"POEM_ENGINE": "embedded"}
    settings = {"POEM_PORT": str(port), "POEM_MODEL": recipe.ollama_model, "POEM_GGUF": str(out / "gguf" / GGUF_FILE)}
    log = out / "service.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "poem_service"], env=os.environ | settings | engine, stdout=file, stderr=file
        )
    try:
        url = f"http://localhost:{port}"
        _wait_for_model(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_model(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _READY_WITHIN_S
    told: Any = "no answer"
    while time.monotonic() < end:
        if process.poll() is not None:
            raise GateError(f"{log}: the service stopped: {log.read_text('utf-8').strip().splitlines()[-1:]}")
        with contextlib.suppress(httpx.HTTPError, ValueError):
            told = httpx.get(f"{url}/ready", timeout=5).json()
            if told.get("answers_from") == "model":
                return
        time.sleep(0.1)
    raise GateError(f"{url}/ready: the model does not answer after {_READY_WITHIN_S} s: {told}; see {log}")


def _play(url: str) -> dict[str, Any]:
    rng = Random()
    cards = httpx.get(f"{url}/api/deal").raise_for_status().json()
    hand = [{"conditionCard": card, "selectedPoem": rng.choice(card["poems"])} for card in cards]
    start = time.monotonic()
    reply = httpx.post(f"{url}/api/generate-poem", json={"selectedPairs": hand}, timeout=90).raise_for_status()
    return {
        **reply.json(),
        "source": reply.headers["X-Poem-Source"],
        "model": httpx.get(f"{url}/ready").json()["model"],
        "seconds": round(time.monotonic() - start, 2),
        "hand": [f"{p['conditionCard']['condition_text']} → {p['selectedPoem']['poem_text']}" for p in hand],
    }


def _show(told: dict[str, Any], url: str) -> None:
    click.echo("\n" + "\n".join(told["hand"]))
    click.echo(f"\n{told['title']}\n\n{told['poem']}\n")
    click.echo(f"{told['source']} ({told['engine']}, {told['model']}), {told['seconds']} s, by {url}")


if __name__ == "__main__":
    demo()
