"""What commands have in common: options, the workshop that these name, errors in one line, a process's set-up."""

import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce, wraps
from pathlib import Path
from shlex import quote
from typing import Any

import click

from poem.environment import OLLAMA_URL, meant
from poem.errors import PoemError
from poem.game import Game, builtin_game, load_game
from poem_build.cli import pipeline
from poem_build.errors import BuildError
from poem_build.models import source
from poem_build.recipe.names import artifacts_folder, ollama_model
from poem_build.recipe.schema import Recipe, load_recipe
from poem_build.store.workshop import Workshop

DEVICES = ("cuda", "rocm", "mps", "cpu")
PATH = click.Path(path_type=Path)


class _Port(click.ParamType[int]):
    """A port, also as it stands in an environment: in quotes, before a comment."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            port = int(meant(str(value)))
        except ValueError:
            port = 0
        if not 0 < port < 65536:
            self.fail(f"{value!r} is not allowed; give a port from 1 to 65535", param, ctx)
        return port


PORT = _Port()


class Amount(click.FloatRange):
    """So much of a unit, from 0 on. NaN and infinity would be no limit: nothing is above them."""

    def __init__(self, unit: str) -> None:
        super().__init__(0)
        self._unit = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not allowed; give {self._unit} from 0", param, ctx)
        return found


YEN = Amount("yen")
Command = Callable[..., None]

debug_option = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
json_option = click.option("--json", "as_json", is_flag=True, help="End with one JSON object instead of a sentence.")
game_option = click.option("--game", "folder", type=PATH, help="The folder of a game.  [the built-in one]")
host_option = click.option(
    "--ollama", "host", envvar="OLLAMA_HOST", default=OLLAMA_URL, show_default=True, help="Ollama's address."
)


@dataclass(frozen=True)
class Chosen:
    """What the command line says the work is for: a recipe, a game, a folder."""

    recipe: Recipe
    game: Game
    folder: Path | None
    """The game's; None for the built-in one."""
    out: Path

    @property
    def model(self) -> str:
        """The model's name in Ollama."""
        return ollama_model(self.recipe.name, self.game.name)

    @property
    def log(self) -> Path:
        """Where an Ollama that is started here writes."""
        return self.out / "ollama.log"

    def workshop(self, host: str | None = None, *, as_it_lies: bool = False) -> Workshop:
        """The stages of it; those that need an Ollama too if one answers at `host`."""
        served = pipeline.of_ollama(host, self.model, self.out, self.log, self.folder) if host else ()
        return Workshop(
            self.recipe, self.game, self.out, [*pipeline.stages(self.recipe), *served], as_it_lies=as_it_lies
        )


class DefaultGroup(click.Group):
    """A group that does what a command does where none beside it is given."""

    def __init__(self, command: click.Command, summary: str | None = None) -> None:
        def alone(**given: Any) -> None:
            if click.get_current_context().invoked_subcommand is None:
                assert command.callback is not None
                command.callback(**given)

        super().__init__(
            command.name,
            help=summary or command.help,
            params=command.params,
            callback=alone,
            invoke_without_command=True,
        )


def all_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """The options as one, shown in this order."""
    return partial(reduce, lambda command, option: option(command), options[::-1])


_recipe_options = all_of(
    click.option("--recipe", default="tiny", show_default=True, help="A recipe's name, or a TOML file."),
    click.option("--base", help="Another base: a folder, a GGUF file or owner/name@revision.  [the recipe's]"),
    game_option,
)
_build_options = all_of(
    click.option("--adapter", type=PATH, help="A folder with an adapter, trained or blended.  [trained here]"),
    click.option("--taught", type=PATH, help="A folder of poems that `teacher run` left.  [composed ones]"),
    click.option("--device", type=click.Choice(DEVICES), help="Where models run.  [the best that is there]"),
    click.option("--unmerged", is_flag=True, help="Serve the adapter beside a base that games share, not merged."),
)
"""What the artifacts follow from besides the recipe: a command that makes them or looks for the right ones asks it."""
_out_option = click.option("--out", type=PATH, help="Folder of the artifacts.  [artifacts/RECIPE[-GAME]]")


def recipe_options(command: Command) -> Command:
    """The options of a command that reads a recipe and a game and nothing that was made: `chosen` and `as_json`."""
    return _chosen(json_option(command), _recipe_options)


def folder_options(command: Command) -> Command:
    """The same, for one that also meets the folder of the artifacts, however these were made."""
    return _chosen(json_option(command), _recipe_options, _out_option)


def work_options(command: Command) -> Command:
    """The options of a command that works on a recipe for a game and says how it ended: `chosen` and `as_json`."""
    return chosen_options(json_option(command))


def chosen_options(command: Command) -> Command:
    """The options that say what the work is for; the command is given them as `chosen`."""
    return _chosen(command, _recipe_options, _build_options, _out_option)


def _chosen(command: Command, *options: Callable[[Command], Command]) -> Command:
    @wraps(command)  # its options too, which click keeps in an attribute
    def choose(
        recipe: str,
        base: str | None,
        folder: Path | None,
        debug: bool,
        adapter: Path | None = None,
        taught: Path | None = None,
        device: str | None = None,
        unmerged: bool = False,
        out: Path | None = None,
        **others: object,
    ) -> None:
        with one_line_errors(debug):
            command(chosen=choose_work(recipe, base, folder, out, taught, device, adapter, unmerged=unmerged), **others)

    return all_of(*options, debug_option)(choose)


def choose_work(
    recipe: str,
    base: str | None,
    folder: Path | None,
    out: Path | None,
    taught: Path | None = None,
    device: str | None = None,
    adapter: Path | None = None,
    *,
    unmerged: bool = False,
) -> Chosen:
    """The recipe on another base, with an adapter, poems of a teacher's, a device and unmerged if given, and the game.

    Raises what either refuses.
    """
    loaded, game = load_recipe(recipe), load_game_option(folder)
    out = out or artifacts_folder(loaded.name, game.name)
    if base:
        loaded = source.licensed(source.override(loaded, base), out / source.STAGE.makes)
    loaded = loaded.model_copy(update={"device": device}) if device else loaded
    if adapter:
        _ = loaded.training  # a recipe that trains nothing has no place for one
        loaded = loaded.model_copy(update={"adapter": adapter.resolve()})
    loaded = loaded.as_unmerged() if unmerged else loaded
    if taught:
        loaded = loaded.model_copy(update={"dataset": loaded.dataset.model_copy(update={"taught": taught.resolve()})})
    return Chosen(loaded, game, folder, out)


def as_given(*names: str) -> str:
    """Those options of the command that runs, as they would be given to another."""
    context = click.get_current_context()
    given = {one.opts[0]: context.params[one.name] for one in context.command.params if one.name in names}
    return "".join(f" {option} {quote(str(value))}" for option, value in given.items() if value is not None)


def load_game_option(folder: Path | None) -> Game:
    """The game of the folder, whose warnings are said on standard error, or the built-in one, which is ours to mend."""
    return say_warnings(load_game(folder)) if folder else builtin_game()


def say_warnings(game: Game) -> Game:
    """The game, after a line on standard error for each thing that was left out."""
    for warning in game.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return game


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Whatever is raised becomes one line; `debug` shows the traceback. What click raises is click's to show."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except (BuildError, PoemError) as error:
        if debug:
            raise
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if debug:
            raise
        where = getattr(error, "filename", None) or "artifacts"
        told = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise click.ClickException(f"{where}: {told}; free space or correct the permissions") from error
    except Exception as error:  # a library's own, which nobody foresaw
        if debug:
            raise
        told = next(iter(str(error).strip().splitlines()), "")
        kind = type(error).__name__
        raise click.ClickException(f"{f'{kind}: {told}' if told else kind}; `--debug` shows the rest") from error


def set_up_process() -> None:
    """What every command's process needs; to be called first.

    SIGTERM ends it in order, so that an Ollama or a service that was started here ends too; the notes and bars of
    transformers, peft and the tokenizers stay off the terminal.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(peft|transformers|torch)\b")
    # peft asks transformers for something by its old name.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it wherever it is installed
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
