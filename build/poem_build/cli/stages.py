"""The stages as commands, alone and all together, and what their results need: adopting, looking, sweeping."""

import json
import sys

import click

from poem_build.cli import pipeline
from poem_build.cli.options import Chosen, host_option, work_options
from poem_build.engine import ollama
from poem_build.engine.ollama import Ollama
from poem_build.errors import OllamaError
from poem_build.export import preflight
from poem_build.judge import sampling
from poem_build.models import source
from poem_build.recipe.names import artifacts_folder
from poem_build.report import fidelity_table, serving_table
from poem_build.store.artifact import Artifact
from poem_build.store.stage import Stage
from poem_build.store.workshop import Workshop
from poem_build.train import pretrain

_IN_TABLES = frozenset({"version", "steps", "quantized"})
"""Figures that the summary line leaves to the stage's own table."""
_SHOWN = 10
"""As many entries of a list stand in a summary line."""


force_option = click.option(
    "--force", is_flag=True, help="Go on with a model that its gates refuse; it says so from then on."
)


def alone(stage: Stage) -> click.Command:
    """The stage as a command."""

    @click.command(stage.name, help=stage.summary)
    @work_options
    def command(chosen: Chosen, as_json: bool) -> None:
        made = pipeline.make(chosen.workshop(), stage.name)
        if stage.name == "fidelity" and not as_json:
            click.echo((chosen.out / fidelity_table.FILE).read_text("utf-8"))
        _print(made, as_json)

    return command


@click.command("base", help=source.STAGE.summary)
@work_options
def base_command(chosen: Chosen, as_json: bool) -> None:
    """Bring the base, or make it: that one serves every game, so it is made among the built-in one's artifacts."""
    if chosen.recipe.base.brought:
        _print(pipeline.make(chosen.workshop(), "base"), as_json)
    else:
        out = artifacts_folder(chosen.recipe.name, "") if chosen.folder else chosen.out
        _print(pretrain.run(chosen.recipe, out), as_json)


@click.command("preflight", help=preflight.STAGE.summary)
@work_options
def preflight_command(chosen: Chosen, as_json: bool) -> None:
    """Try the base; of one that has yet to come from the hub, its small files: nothing is left of them here."""
    workshop = chosen.workshop()
    if (announced := pipeline.look_ahead(workshop)) is None:
        _print(pipeline.make(workshop, "preflight"), as_json)
        return
    base, size = chosen.recipe.base.name, announced.size
    told = {"stage": "preflight", "base": base, "commit": announced.commit, "bytes": size}
    text = f"preflight: {base}: nothing speaks against commit {announced.commit}; `poem-build run` fetches "
    click.echo(json.dumps(told) if as_json else f"{text}its {size / 1e9:.3g} GB")


@click.command("register")
@work_options
@host_option
@click.option(
    "--as-it-lies", is_flag=True, help="Take what earlier stages left as it is, whatever the recipe says now."
)
@force_option
def register_command(chosen: Chosen, as_json: bool, host: str, as_it_lies: bool, force: bool) -> None:
    """Create the model in Ollama and prove that it is served as it was trained."""
    address = ollama.address(host)
    with ollama.running_server(address, chosen.log) as there:
        _refuse_none(there, address)
        workshop = chosen.workshop(address, as_it_lies=as_it_lies)
        _print(pipeline.make(workshop, "register", force=force), as_json)


@click.command("serving")
@work_options
@host_option
@click.option(
    "--try", "tried", multiple=True, metavar="NAME=VALUE,…", help="Try sampling settings instead; repeatable."
)
@click.option(
    "--hands", type=click.IntRange(2), default=20, show_default=True, help="With --try: validation hands a combination."
)
def serving_command(chosen: Chosen, as_json: bool, host: str, tried: tuple[str, ...], hands: int) -> None:
    """Play held-out hands through Ollama and the embedded engine: rules, endings, speed, memory."""
    address = ollama.address(host)
    with ollama.running_server(address, chosen.log) as there:
        _refuse_none(there, address)
        workshop = chosen.workshop(address)
        if tried:
            _sweep(workshop, Ollama(address, chosen.model), tried, hands, as_json)
            return
        made = pipeline.make(workshop, "serving")
    if not as_json:
        click.echo((chosen.out / serving_table.FILE).read_text("utf-8"))
    _print(made, as_json)


def _sweep(workshop: Workshop, engine: Ollama, tried: tuple[str, ...], hands: int, as_json: bool) -> None:
    settings = sampling.parse(workshop.recipe.serve, tried)
    workshop.load("register")
    examples = sampling.examples_to_try(workshop.load("dataset").path, workshop.game, hands)
    rows = list(sampling.sweep(engine, workshop.game, examples, settings))
    told = [{"settings": dict(row.settings), **row.served.model_dump()} for row in rows]
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else serving_table.sweep_table(rows))


def _refuse_none(there: bool, address: str) -> None:
    if not there:
        raise OllamaError(f"OLLAMA_HOST {address}: no Ollama answers there; start `ollama serve`")


@click.command("run")
@work_options
@host_option
@click.option("--why", is_flag=True, help="Make nothing: tell of each stage whether it would be kept, or why not.")
@click.option(
    "--adopt", multiple=True, metavar="STAGE", help="Keep its result after a change that you vouch for; repeatable."
)
@force_option
def run_command(chosen: Chosen, as_json: bool, host: str, why: bool, adopt: tuple[str, ...], force: bool) -> None:
    """All stages; what has not changed is kept. Without an Ollama the model is left for the embedded engine."""
    address = ollama.address(host)
    if why:
        _print_why(chosen.workshop(), as_json)
        return
    with ollama.running_server(address, chosen.log) as there:
        workshop = chosen.workshop(address if there else None)
        if unknown := set(adopt) - set(pipeline.names(workshop)):
            raise click.BadParameter(f"{min(unknown)} is no stage of this run", param_hint="--adopt")
        made = []
        for name in pipeline.names(workshop):
            if name in adopt:
                workshop.adopt(name)
            made.append(pipeline.make(workshop, name, force=force))
            if sys.stderr.isatty():
                click.echo(f"{name}: {'kept' if made[-1].reused else 'done'}", err=True)
        if not there:
            pipeline.settle(workshop, force=force)
    _print_run(chosen, made, there, as_json)


@click.command("gc")
@work_options
def gc_command(chosen: Chosen, as_json: bool) -> None:
    """Remove former results, and what unfinished work left, from the folder of the artifacts."""
    folders, freed = chosen.workshop().collect()
    told = {"folders": folders, "bytes": freed, "path": str(chosen.out)}
    click.echo(json.dumps(told) if as_json else f"{chosen.out}: {folders} folders, {freed / 1e6:.1f} MB freed")


COMMANDS = (
    *(alone(stage) for stage in pipeline.STAGES if stage.name not in ("base", "dataset", "eval", "preflight")),
    base_command,
    preflight_command,
    register_command,
    serving_command,
    run_command,
    gc_command,
)


def _print(made: Artifact, as_json: bool) -> None:
    figures = dict(made.manifest.report) if made.manifest else {}
    if as_json:
        told = {"stage": made.stage, "reused": made.reused, "seconds": made.seconds, "path": str(made.path)}
        click.echo(json.dumps(told | {"reason": made.reason, "report": figures}, ensure_ascii=False))
        return
    short = {
        name: value if not isinstance(value, list) or len(value) <= _SHOWN else f"{len(value)} values"
        for name, value in figures.items()
        if name not in _IN_TABLES
    }
    click.echo(f"{made.stage}: {how(made)}: {made.path}: {json.dumps(short, ensure_ascii=False)}")


def how(made: Artifact) -> str:
    """Whether the artifact was kept, or how long it took and why it was made."""
    if made.reused:
        return f"kept ({made.reason})" if made.reason else "kept"
    return f"{made.seconds:.1f} s ({made.reason})"


def _print_why(workshop: Workshop, as_json: bool) -> None:
    reasons = {name: workshop.look(name).reason for name in pipeline.names(workshop)}
    if as_json:
        click.echo(json.dumps({"stages": reasons}, ensure_ascii=False))
        return
    for name, reason in reasons.items():
        click.echo(f"{name}: {reason or 'kept'}")


def _print_run(chosen: Chosen, made: list[Artifact], registered: bool, as_json: bool) -> None:
    seconds = {one.stage: 0.0 if one.reused else one.seconds for one in made}
    if as_json:
        reasons = {one.stage: one.reason for one in made if one.reason}
        told = {"recipe": chosen.recipe.name, "game": chosen.game.name, "stages": seconds, "reasons": reasons}
        click.echo(json.dumps(told | {"registered": registered, "model": chosen.model}, ensure_ascii=False))
        return
    for one in made:
        _print(one, as_json=False)
    where = chosen.model if registered else ollama.NONE_HERE
    click.echo(f"{chosen.recipe.name}: {sum(seconds.values()):.1f} s: {where}")
