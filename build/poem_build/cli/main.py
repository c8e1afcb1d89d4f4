"""`poem-build`: parses, calls a stage, prints one summary line."""

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import click
from safetensors import SafetensorError

from poem.deck import Deck, load_deck
from poem.errors import PoemError
from poem_build.cli import talk
from poem_build.cli.pipeline import STAGES, Stage, run_all
from poem_build.data import table
from poem_build.errors import BuildError, OllamaError
from poem_build.judge import evaluate, sampling, serving
from poem_build.models import source
from poem_build.recipe.schema import Recipe, load_recipe, recipe_names
from poem_build.report import fidelity_table, readings, samples, serving_table
from poem_build.ship import register
from poem_build.store.artifact import Artifact

_PATH = click.Path(path_type=Path)
_BASE = "poem_build.base"
_IN_TABLES = frozenset({"steps", "quantized"})
"""Figures that the summary line leaves to the stage's own table."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mansion-poem")
def cli() -> None:
    """From the cards to a model that Ollama serves, stage by stage."""


def main() -> None:
    """The command's entry point."""
    set_up_process()
    cli()


def set_up_process() -> None:
    """What every command's process needs; to be called first.

    SIGTERM ends it in order, so that an Ollama or a service that was started here ends too; the notes and bars of
    transformers, peft and the tokenizers stay off the terminal.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # peft asks transformers for something by its old name.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _keep_base(context: click.Context, _: click.Parameter, given: str | None) -> None:
    context.meta[_BASE] = given


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="End with one JSON object instead of a sentence."),
        click.option("--out", type=_PATH, help="Folder of the artifacts.  [artifacts/RECIPE]"),
        click.option(
            "--base",
            expose_value=False,
            callback=_keep_base,
            help="Another base: a folder, a GGUF file or owner/name@revision.  [the recipe's]",
        ),
        click.option("--recipe", default="tiny", show_default=True, help="A recipe's name, or a TOML file."),
    ):
        command = option(command)
    return command


_host = click.option(
    "--ollama", "host", envvar="OLLAMA_HOST", default=register.DEFAULT_HOST, show_default=True, help="Ollama's address."
)


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Errors made on purpose, and the system's own, become one line; `debug` shows the traceback."""
    try:
        yield
    except (BuildError, PoemError) as error:
        if debug:
            raise
        raise click.ClickException(str(error)) from error
    except (OSError, SafetensorError) as error:
        if debug:
            raise
        where = getattr(error, "filename", None) or "artifacts"
        told = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise click.ClickException(f"{where}: {told}; free space or correct the permissions") from error


def _print(made: Artifact, as_json: bool) -> None:
    told = {"stage": made.stage, "reused": made.reused, "seconds": made.seconds, "path": str(made.path)}
    if as_json:
        click.echo(json.dumps(told | {"figures": made.figures}, ensure_ascii=False))
    else:
        how = "reused" if made.reused else f"{made.seconds:.1f} s"
        short = {name: value for name, value in made.figures.items() if name not in _IN_TABLES}
        click.echo(f"{made.stage}: {how}: {made.path}: {json.dumps(short, ensure_ascii=False)}")


def _load(recipe: str, out: Path | None) -> tuple[Recipe, Path]:
    loaded = load_recipe(recipe)
    folder = out or Path("artifacts") / loaded.name
    if given := click.get_current_context().meta.get(_BASE):
        return source.override(loaded, given, folder), folder
    return loaded.with_base(loaded.base, folder), folder


def _base_given(recipe: Recipe) -> bool:
    return recipe.base.brought and click.get_current_context().meta[_BASE] is not None


def _stage_command(name: str, stage: Stage, help_text: str) -> None:
    @cli.command(name, help=help_text)
    @_options
    def command(recipe: str, out: Path | None, as_json: bool, debug: bool) -> None:
        with one_line_errors(debug):
            loaded, folder = _load(recipe, out)
            if name != "base" and _base_given(loaded):
                source.run(loaded, folder)  # what lies there may be another
            made = stage(loaded, folder)
            if name == "fidelity" and not as_json:
                click.echo((folder / fidelity_table.FILE).read_text("utf-8"))
            _print(made, as_json)


for _name, (_run, _help) in STAGES.items():
    _stage_command(_name, _run, _help)
_stage_command("base", source.make, "Bring the recipe's base: made from our text (tiny), fetched, or dequantized.")
_stage_command("eval", evaluate.run, "Judge the finished model on held-out hands, against its base.")


@cli.command("register")
@_options
@_host
def register_command(recipe: str, out: Path | None, as_json: bool, debug: bool, host: str) -> None:
    """Create the model in Ollama and prove that it is served as it was trained."""
    with one_line_errors(debug):
        loaded, folder = _load(recipe, out)
        address = register.address(host)
        with register.running_server(address, folder / "ollama.log"):
            _print(register.run(loaded, folder, address), as_json)


@cli.command("serving")
@_options
@_host
@click.option(
    "--try", "tried", multiple=True, metavar="NAME=VALUE,…", help="Try sampling settings instead; repeatable."
)
@click.option("--hands", type=click.IntRange(2), default=20, show_default=True, help="With --try: hands a combination.")
def serving_command(
    recipe: str, out: Path | None, as_json: bool, debug: bool, host: str, tried: tuple[str, ...], hands: int
) -> None:
    """Play held-out hands through Ollama and the embedded engine: rules, endings, speed, memory."""
    with one_line_errors(debug):
        loaded, folder = _load(recipe, out)
        address, log = register.address(host), folder / "ollama.log"
        with register.running_server(address, log) as there:
            if not there:
                raise OllamaError(f"OLLAMA_HOST {address}: no Ollama answers there; start `ollama serve`")
            if tried:
                settings = sampling.parse(loaded.serve, tried)
                rows = list(sampling.sweep(loaded, folder, address, settings, hands))
                click.echo(json.dumps(rows, ensure_ascii=False) if as_json else serving_table.sweep_table(rows))
                return
            made = serving.run(loaded, folder, address, log)
        text = serving_table.write(loaded, folder, made)
        if not as_json:
            click.echo(text)
        _print(made, as_json)


@cli.command("run")
@_options
@_host
def run_command(recipe: str, out: Path | None, as_json: bool, debug: bool, host: str) -> None:
    """All stages; what has not changed is kept. Without an Ollama the model is left for the embedded engine."""
    with one_line_errors(debug):
        loaded, folder = _load(recipe, out)
        with register.running_server(register.address(host), folder / "ollama.log") as there:
            made = []
            for name, one in run_all(loaded, folder, register.address(host), there):
                made.append(one)
                if sys.stderr.isatty():
                    click.echo(f"{name}: {'reused' if one.reused else 'done'}", err=True)
        _print_run(loaded, made, there, as_json)


def _print_run(recipe: Recipe, made: list[Artifact], registered: bool, as_json: bool) -> None:
    seconds = {one.stage: 0.0 if one.reused else one.seconds for one in made}
    if as_json:
        told = {"recipe": recipe.name, "stages": seconds, "registered": registered, "model": recipe.ollama_model}
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for one in made:
        _print(one, as_json=False)
    where = recipe.ollama_model if registered else register.NONE_HERE
    click.echo(f"{recipe.name}: {sum(seconds.values()):.1f} s: {where}")


@cli.command("recipes")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a list.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def recipes_command(as_json: bool, debug: bool) -> None:
    """List the recipes."""
    with one_line_errors(debug):
        found = [load_recipe(name) for name in recipe_names()]
    rows = [
        {"name": r.name, "base": r.base.name, "params": r.params, "licence": r.licence, "status": r.status}
        for r in found
    ]
    if as_json:
        click.echo(json.dumps({"recipes": rows}, ensure_ascii=False))
    else:
        for row, one in zip(rows, found, strict=True):
            click.echo(f"{row['name']:16} {row['params']:>6}  {row['licence']:10} {row['status']:10} {one.summary}")


def _deck_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a sentence."),
        click.option("--catchphrases", type=_PATH, help="A catchphrases.json; built in otherwise."),
        click.option("--cards", type=_PATH, help="A cards.json; built in otherwise."),
    ):
        command = option(command)
    return command


@cli.command("deck")
@_deck_options
def deck_command(cards: Path | None, catchphrases: Path | None, as_json: bool, debug: bool) -> None:
    """Check a deck and count what is in it."""
    with one_line_errors(debug):
        deck = load_deck(cards, catchphrases)
        told = {
            "cards": len(deck.cards),
            "categories": len(deck.categories()),
            "wordings": sum(len(card.poems) for card in deck.cards),
            "catchphrases": len(deck.catchphrases),
        }
        click.echo(json.dumps(told) if as_json else ", ".join(f"{n} {what}" for what, n in told.items()))


@cli.group("table")
def table_group() -> None:
    """Make, read and write the table of poems that the service falls back on."""


@table_group.command("build")
@click.argument("target", type=_PATH)
@click.option("--hands", type=click.IntRange(1), default=5000, show_default=True, help="How many distinct hands.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other hands.")
@_deck_options
def table_build_command(target: Path, hands: int, seed: int, **options: Any) -> None:
    """Write TARGET, a table of composed poems."""
    _print_table(target, lambda deck: table.build(deck, target, hands, seed), **options)


@table_group.command("import")
@click.argument("source", type=_PATH)
@click.argument("target", type=_PATH)
@_deck_options
def table_import_command(source: Path, target: Path, **options: Any) -> None:
    """Write the table TARGET from SOURCE, a precomputed_poems.json."""
    _print_table(target, lambda deck: table.import_json(deck, source, target), **options)


@table_group.command("export")
@click.argument("source", type=_PATH)
@click.argument("target", type=_PATH)
@_deck_options
def table_export_command(source: Path, target: Path, **options: Any) -> None:
    """Write TARGET, a precomputed_poems.json, from the table SOURCE."""
    _print_table(target, lambda deck: table.export_json(deck, source, target), **options)


def _print_table(
    target: Path,
    write: Callable[[Deck], int],
    cards: Path | None,
    catchphrases: Path | None,
    as_json: bool,
    debug: bool,
) -> None:
    with one_line_errors(debug):
        count = write(load_deck(cards, catchphrases))
        click.echo(json.dumps({"poems": count, "path": str(target)}) if as_json else f"{target}: {count} poems")


@cli.command("samples")
@_options
@click.option("--to", type=_PATH, default=Path("docs/samples.md"), show_default=True)
def samples_command(recipe: str, out: Path | None, as_json: bool, debug: bool, to: Path) -> None:
    """Write composed and model poems for held-out hands to a file, for anyone to read."""
    with one_line_errors(debug):
        told: dict[str, Any] = samples.write(*_load(recipe, out), to)
        click.echo(json.dumps(told) if as_json else f"{to}: {told['composed']} composed, {told['model']} by the model")


@cli.command("readings")
@click.argument("recipes", nargs=-1, required=True)
@click.option("--to", type=_PATH, default=Path("docs/readings.md"), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Another seed, another order and other answers.")
@click.option("--json", "as_json", is_flag=True, help="End with one JSON object instead of a sentence.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def readings_command(recipes: tuple[str, ...], to: Path, seed: int, as_json: bool, debug: bool) -> None:
    """Write composer's, RECIPES' and hand-written poems for the held-out hands to a file, to be read blind."""
    with one_line_errors(debug):
        told = readings.write([_load(recipe, None) for recipe in recipes], to, seed)
        click.echo(json.dumps(told) if as_json else f"{to}: {told['hands']} hands, {told['authors']} poems each")


@cli.command("chat")
@click.option("--recipe", default="tiny", show_default=True, help="A recipe's name, or a TOML file.")
@click.option("--out", type=_PATH, help="Folder of the artifacts.  [artifacts/RECIPE]")
@click.option("--engine", type=click.Choice(["auto", "ollama", "embedded"]), default="auto", show_default=True)
@_host
@click.option("--seed", type=int, help="The same turns get the same answers.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def chat_command(recipe: str, out: Path | None, engine: str, host: str, seed: int | None, debug: bool) -> None:
    """Talk with the model, or deal it a hand; in a pipe, a line is a turn."""
    with one_line_errors(debug):
        loaded, folder = _load(recipe, out)
        writer = talk.engine_for(loaded, folder, engine, register.address(host))
        talk.converse(talk.Talk(writer, Random(seed)), f"{loaded.name}: {writer.name}")
