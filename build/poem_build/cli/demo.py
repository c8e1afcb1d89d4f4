"""A fresh clone → a poem in the browser: makes the model, serves it, plays one hand through it.

With `--once` it stops after the hand, and the last line on standard output is JSON.
"""

import contextlib
import json
import socket
import time
from pathlib import Path
from random import Random
from typing import Any

import click
import httpx

from poem_build.cli import pipeline, reports
from poem_build.cli.options import (
    PATH,
    PORT,
    Chosen,
    Command,
    all_of,
    choose_work,
    debug_option,
    host_option,
    one_line_errors,
    set_up_process,
)
from poem_build.cli.stages import how
from poem_build.client import client
from poem_build.engine import ollama
from poem_build.engine.service import Model, serving
from poem_build.errors import DemoError
from poem_build.models.files import SERVED


def options(command: Command) -> Command:
    """What every command that ends with a hand is told: the game, where to listen, and where Ollama is."""
    return all_of(
        click.option("--game", type=PATH, help="The folder of a game.  [the built-in one]"),
        click.option(
            "--port",
            envvar="POEM_PORT",
            type=PORT,
            default=3001,
            show_default=True,
            help="Where the service listens.",
        ),
        host_option,
        debug_option,
    )(command)


@click.command()
@click.option("--recipe", default="tiny", show_default=True, help="A recipe's name, or a TOML file.")
@click.option("--base", help="Another base: a folder, a GGUF file or owner/name@revision.")
@click.option("--once", is_flag=True, help="Stop after one hand.")
@options
def demo(recipe: str, base: str | None, once: bool, game: Path | None, port: int, host: str, debug: bool) -> None:
    """Make the model, serve it and play one hand."""
    with one_line_errors(debug):
        refuse_taken(port)
        show(choose_work(recipe, base, game, None), port, host, once=once)


def show(chosen: Chosen, port: int, host: str, *, once: bool) -> None:
    """Make what is not there, serve it and play one hand; with `once` the last line printed is JSON."""
    address = ollama.address(host)
    with ollama.running_server(address, chosen.log) as there:
        stages = {}
        workshop = chosen.workshop(address if there else None)
        for made in pipeline.run_all(workshop):
            stages[made.stage] = 0.0 if made.reused else made.seconds
            click.echo(f"{made.stage:10} {how(made)}")
        if not there:
            click.echo(ollama.NONE_HERE)
        model = Model(chosen.model, workshop.load("gguf").path / SERVED, address if there else None)
        with serving(model, chosen.folder, port, chosen.out / "service.log") as service:
            played = _play(service.url) | {"engine": "ollama" if there else "embedded"}
            click.echo(f"report: {reports.write_short(workshop)}")
            if not once:
                click.echo(f"serving at {service.url} until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt):
                    while True:
                        time.sleep(3600)
    if once:
        click.echo(json.dumps(played | {"stages": stages}, ensure_ascii=False))


def refuse_taken(port: int) -> None:
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
        with client(url, 90) as there:
            cards = there.get("/api/deal").raise_for_status().json()
            hand = [{"conditionCard": card, "selectedPoem": rng.choice(card["poems"])} for card in cards]
            start = time.monotonic()
            reply = there.post("/api/generate-poem", json={"selectedPairs": hand}).raise_for_status()
            seconds = time.monotonic() - start
            model = there.get("/ready").raise_for_status().json()["model"]
    except httpx.HTTPError as error:
        raise DemoError(f"{url}: the hand was not answered: {error}; see service.log") from error
    answer, source = reply.json(), reply.headers["X-Poem-Source"]
    click.echo()
    for pair in hand:
        click.echo(f"{pair['conditionCard']['condition_text']} → {pair['selectedPoem']['poem_text']}")
    click.echo(f"\n{answer['title']}\n\n{answer['poem']}\n\n{source}, {seconds:.1f} s, {model} at {url}")
    return {**answer, "source": source, "model": model}


if __name__ == "__main__":
    set_up_process()
    demo()
