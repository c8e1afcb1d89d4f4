"""`poem-build publish`: the finished model at a hub or a registry, or its data set at a service that tunes."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from poem_build.cli import pipeline, reports
from poem_build.cli.keys import credentials
from poem_build.cli.options import Amount, Chosen, host_option, work_options
from poem_build.cli.stages import force_option
from poem_build.engine import ollama
from poem_build.errors import OllamaError, PublishError
from poem_build.evaluation.gates import EvalReport
from poem_build.evaluation.report import MODEL
from poem_build.judge.fidelity import LAST, FidelityReport
from poem_build.models.origin import read_origin
from poem_build.models.standing import read_standing
from poem_build.plan.licence import verdicts
from poem_build.report import card
from poem_build.report.card import About
from poem_build.ship import allowed, hub, push, tuning
from poem_build.ship.register import RegisterReport
from poem_build.store.workshop import Workshop

_EVERY_S = 20.0
"""Seconds between two looks at a job that takes hours."""


@dataclass(frozen=True)
class Told:
    """What the command line says besides the recipe and the game."""

    name: str
    host: str
    model: str
    bucket: str
    public: bool
    insecure: bool
    dry_run: bool
    force: bool
    every_s: float


@click.command("publish")
@click.argument("name")
@click.option(
    "--to",
    type=click.Choice(("hub", "ollama", "openai", "vertex")),
    default="hub",
    show_default=True,
    help="A model hub, a registry of Ollama's, or a service that tunes on the data set.",
)
@click.option("--model", default="", help="openai, vertex: what is tuned.")
@click.option("--bucket", default="", help="vertex: gs://NAME[/FOLDER], where the data set goes.")
@click.option("--public", is_flag=True, help="hub: for everybody to see.")
@click.option("--insecure", is_flag=True, help="ollama: a registry without TLS.")
@click.option("--dry-run", is_flag=True, help="Write what would be sent, and send nothing.")
@click.option(
    "--every",
    "every_s",
    type=Amount("seconds"),
    default=_EVERY_S,
    show_default=True,
    help="openai, vertex: seconds between two looks at the job.",
)
@host_option
@force_option
@work_options
def publish_command(chosen: Chosen, as_json: bool, to: str, **said: Any) -> None:
    """Publish the model as NAME (owner/name), or have a service tune one of that name. Keys: docs/training.md."""
    made = _WAYS[to](chosen, Told(**said))
    told = {"to": to, "name": said["name"], **made}
    figures = ", ".join(f"{key} {value}" for key, value in told.items())
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else f"publish: {figures}")


COMMANDS = (publish_command,)


def _to_hub(chosen: Chosen, told: Told) -> Mapping[str, Any]:
    hub.check_name(told.name)
    workshop = _allowed(chosen, told)
    merged = workshop.load("merged").path
    hub.terms_of(chosen.recipe, merged)
    gguf, modelfile = (workshop.load(role).path for role in ("gguf", "modelfile"))
    about = _about(workshop)
    files = [gguf / name for name in about.files]
    folder = hub.lay_out(chosen.recipe, files, modelfile, merged, card.render(about), chosen.out / hub.FOLDER)
    if told.dry_run:
        return {"path": str(folder), "sent": False}
    return {"path": str(folder), "url": hub.upload(folder, told.name, os.environ, public=told.public)}


def _to_ollama(chosen: Chosen, told: Told) -> Mapping[str, Any]:
    name, host = push.full_name(told.name), ollama.address(told.host)
    _allowed(chosen, told)
    if told.dry_run:
        return {"model": chosen.model, "sent": False}
    with ollama.running_server(host, chosen.log) as there:
        if not there:
            raise OllamaError(f"OLLAMA_HOST {host}: no Ollama answers there; start `ollama serve`")
        digest = chosen.workshop(host).load("register").report(RegisterReport).digest
        push.push(host, chosen.model, digest, name, insecure=told.insecure)
        return {"model": chosen.model, "digest": digest}


def _to_openai(chosen: Chosen, told: Told) -> Mapping[str, Any]:
    from poem_build.ship.openai import OpenAITuning

    return _tuned(chosen, told, "openai", lambda: OpenAITuning(credentials("openai", os.environ)))


def _to_vertex(chosen: Chosen, told: Told) -> Mapping[str, Any]:
    from poem_build.ship.vertex import VertexTuning

    return _tuned(chosen, told, "gemini", lambda: VertexTuning(os.environ, told.bucket))


_WAYS: Mapping[str, Callable[[Chosen, Told], Mapping[str, Any]]] = {
    "hub": _to_hub,
    "ollama": _to_ollama,
    "openai": _to_openai,
    "vertex": _to_vertex,
}


def _allowed(chosen: Chosen, told: Told) -> Workshop:
    """The stages of a model that may go out. Raises `PublishError` or `GateError` for one that may not."""
    found = verdicts(chosen.recipe)
    allowed.refuse_unshippable(found, force=told.force)
    allowed.refuse_name(found, told.name)
    workshop = chosen.workshop()
    if not told.force:
        workshop.load("verify")
    pipeline.settle(workshop, force=told.force)
    return workshop


def _tuned(chosen: Chosen, told: Told, shape: Any, service: Callable[[], tuning.Service]) -> Mapping[str, Any]:
    """The data set is what goes out: what its teacher's terms say counts, not the base's."""
    allowed.refuse_unshippable([one for one in verdicts(chosen.recipe) if one.of == "teacher"], force=told.force)
    dataset, room = chosen.workshop().load("dataset").path, chosen.out / tuning.FOLDER
    if told.dry_run:
        return {"files": [str(path) for path in tuning.write_files(dataset, shape, room).values()], "sent": False}
    if not told.model:
        raise PublishError("--model: which model is to be tuned? Give its name at the service")
    found = tuning.tune(service(), dataset, room, told.model, told.name, every_s=told.every_s)
    return {"job": found.job, "model": found.model, "resumed": found.resumed}


def _about(workshop: Workshop) -> About:
    """What the card tells of the model: figures of stages that have looked at this very one."""
    gguf, merged = workshop.load("gguf"), workshop.load("merged")
    found = {name: reports.judged(workshop, name, gguf) for name in ("eval", "fidelity")}
    evaluated, faithful = found["eval"], found["fidelity"]
    figures = evaluated.report(EvalReport).figures if evaluated else []
    return About(
        recipe=workshop.recipe,
        origin=read_origin(gguf.path),
        standing=read_standing(gguf.path),
        files={name: digest for name, digest in gguf.files.items() if name.startswith(("model-", "adapter."))},
        licence_file=hub.terms_of(workshop.recipe, merged.path)[0],
        figures=[one for one in figures if one.writer == MODEL],
        near=faithful.report(FidelityReport).quantized.get(LAST) if faithful else None,
    )
