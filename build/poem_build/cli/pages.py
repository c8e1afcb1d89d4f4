"""Pages for people to read, and the conversation, as commands."""

import json
from pathlib import Path
from random import Random

import click

from poem_build.cli import talk
from poem_build.cli.options import (
    PATH,
    Chosen,
    choose_work,
    chosen_options,
    debug_option,
    game_option,
    host_option,
    json_option,
    load_game_option,
    one_line_errors,
    work_options,
)
from poem_build.data.examples import read_examples
from poem_build.engine import ollama
from poem_build.judge.rules import play_file
from poem_build.models.files import SERVED
from poem_build.report import readings, samples


@click.command("samples")
@work_options
@click.option("--to", type=PATH, default=Path("docs/samples.md"), show_default=True)
def samples_command(chosen: Chosen, as_json: bool, to: Path) -> None:
    """Write composed and model poems for held-out hands to a file, for anyone to read."""
    workshop, recipe, game = chosen.workshop(), chosen.recipe, chosen.game
    examples = read_examples(workshop.load("dataset").path / "test.jsonl", game)[: samples.MODEL]
    replies = play_file(workshop.load("gguf").path / SERVED, recipe, game, examples, constrained=True)
    command = f"poem-build samples --recipe {recipe.name}{f' --game {chosen.folder}' if chosen.folder else ''}"
    told = samples.write(recipe.name, command, game, examples, replies, to)
    click.echo(json.dumps(told) if as_json else f"{to}: {told['composed']} composed, {told['model']} by the model")


@click.command("readings")
@click.argument("recipes", nargs=-1, required=True)
@click.option("--to", type=PATH, default=Path("docs/readings.md"), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Another seed, another order and other answers.")
@game_option
@json_option
@debug_option
def readings_command(
    recipes: tuple[str, ...], to: Path, seed: int, folder: Path | None, as_json: bool, debug: bool
) -> None:
    """Write composer's, RECIPES' and hand-written poems for the held-out hands to a file, to be read blind."""
    with one_line_errors(debug):
        game = load_game_option(folder)
        readings.check_authors(len(recipes), game)
        examples = readings.held_out(game, seed)
        answers = {}
        for name in recipes:
            chosen = choose_work(name, None, folder, None)
            gguf = chosen.workshop().load("gguf").path / SERVED
            answers[chosen.recipe.name] = play_file(gguf, chosen.recipe, game, examples, constrained=True, seed=seed)
        told_of = f" --game {folder}" if folder else ""
        command = f"poem-build readings {' '.join(answers)} --seed {seed}{told_of}"
        told = readings.write(command, game, answers, to, seed)
        click.echo(json.dumps(told) if as_json else f"{to}: {told['hands']} hands, {told['authors']} poems each")


@click.command("chat")
@chosen_options
@click.option("--engine", type=click.Choice(["auto", "ollama", "embedded"]), default="auto", show_default=True)
@host_option
@click.option("--seed", type=int, help="The same turns get the same answers.")
def chat_command(chosen: Chosen, engine: str, host: str, seed: int | None) -> None:
    """Talk with the model, or deal it a hand; in a pipe, a line is a turn."""
    writer = talk.engine_for(chosen.workshop(), chosen.model, engine, ollama.address(host))
    talk.converse(
        talk.Talk(writer, chosen.game, Random(seed), chosen.recipe.dataset.stages),
        f"{chosen.recipe.name}: {writer.name}",
    )


COMMANDS = (samples_command, readings_command, chat_command)
