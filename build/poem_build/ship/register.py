"""A GGUF and its fields → a model that Ollama serves, proved over HTTP to be the one that was trained."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from poem.environment import split_user
from poem.model_keys import ADAPTER_FILE, VERDICT_FILE, write_note
from poem_build.data.examples import read_examples
from poem_build.engine.ollama import call, digests, server_version, upload
from poem_build.errors import OllamaError
from poem_build.export.gguf import keys_of
from poem_build.export.parity import Parity
from poem_build.export.stamp import stamp
from poem_build.judge.rules import question
from poem_build.models import family
from poem_build.models.files import CREATE, REGISTERED, SERVED, TOKEN_COUNTS
from poem_build.models.origin import read_origin
from poem_build.models.standing import Standing, read_standing
from poem_build.recipe.names import LATEST
from poem_build.recipe.schema import Recipe
from poem_build.ship.proof import prove_answer, prove_counts, prove_fields, prove_prompt
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Job, Stage
from poem_build.store.workshop import Workshop

_TRIES = 5


class RegisterReport(Report):
    """The model's name and digest in Ollama, and what was proved of it."""

    version: ClassVar[int] = 2
    model: str
    digest: str
    token_counts: Parity
    standing: Standing
    """What the gates said of it, which the registered model says too."""
    answer_tries: int | None
    """None if none of the tries kept the rules, which a training that was cut short need not."""


@dataclass(frozen=True)
class OllamaStage(Stage):
    """The stage, and where: its settings, which are written down, know no password."""

    host: str = ""
    model: str = ""


def stage(host: str, model: str, gguf: Path) -> Stage:
    """The stage that registers under the name at the Ollama at `host`; the verdict on the model lies in `gguf`."""

    def settings(_: Recipe) -> Mapping[str, Any]:
        return {"model": model, "host": split_user(host)[1], "ollama": server_version(host)}

    return OllamaStage(
        name="register",
        host=host,
        model=model,
        summary="Create the model in Ollama and prove that it is served as it was trained.",
        makes="register",
        work=lambda job: register(job, host, model),
        report=RegisterReport,
        settings=settings,
        inputs={"gguf": (SERVED, ADAPTER_FILE, "origin.json"), "modelfile": ALL, "dataset": ("test.jsonl",)},
        reads_game=True,
        outside=lambda recipe: {
            **family.templates(recipe),
            **({"verdict": gguf / VERDICT_FILE} if (gguf / VERDICT_FILE).is_file() else {}),
        },
        modules=family.modules,
    )


def forget_if_gone(workshop: Workshop) -> None:
    """A model that somebody has removed or replaced since is registered again."""
    stage = workshop.stages["register"]
    assert isinstance(stage, OllamaStage)
    folder, there = workshop.out / "register", digests(stage.host)
    try:
        known = json.loads((folder / REGISTERED).read_text("utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if any(there.get(name) != known for name in (stage.model, LATEST)):
        shutil.rmtree(folder)


def register(job: Job, host: str, model: str) -> RegisterReport:
    """Upload, create, prove, and only then give the model its names, `latest` among them.

    Raises `OllamaError` if nothing answers at `host`, or what it serves differs from what it was given.
    """
    modelfile, told = job.path("modelfile"), read_standing(job.path("gguf"))
    fields, counts = (json.loads((modelfile / name).read_text("utf-8")) for name in (CREATE, TOKEN_COUNTS))
    origin = read_origin(job.path("gguf"))
    if server_version(host) is None:
        raise OllamaError(f"OLLAMA_HOST {host}: no Ollama answers there; start `ollama serve`")
    unproved = f"{model}-unproved"
    body, keys = _given(job, host, fields, told)
    call(host, "POST", "/api/create", body | {"model": unproved, "stream": False})
    try:
        prove_fields(host, unproved, body, keys)
        examples = read_examples(job.path("dataset", "test.jsonl"), job.game)[:_TRIES]
        asked = question(job.game, examples[0], 0, constrained=False)
        prove_prompt(host, unproved, asked, family.family(job.recipe.base.family))
        counted = prove_counts(host, unproved, asked, counts)
        tries = prove_answer(host, unproved, job.game, examples, asked=not origin.cut_short)
        for name in (model, LATEST):
            call(host, "POST", "/api/copy", {"source": unproved, "destination": name})
    finally:
        call(host, "DELETE", "/api/delete", {"model": unproved})
    known = {"model": model, "digest": digests(host)[model]}
    (job.folder / REGISTERED).write_text(json.dumps(known) + "\n", "utf-8")
    return RegisterReport(**known, token_counts=counted, standing=told, answer_tries=tries)


def _given(job: Job, host: str, fields: dict[str, Any], told: Standing) -> tuple[dict[str, Any], dict[str, str]]:
    """The weights given to Ollama: what it is to create of them, and the keys of ours that the GGUF then has.

    A base that games share says nothing of a game; its template does.
    """
    adapter = job.path("gguf", ADAPTER_FILE)
    if adapter.is_file():
        weights = {"files": {SERVED: upload(host, job.path("gguf", SERVED))}}
        weights |= {"adapters": {ADAPTER_FILE: upload(host, adapter)}}
        return fields | weights | {"template": write_note(fields["template"], told.keys())}, {}
    with _told(job, told) as gguf:
        weights = {"files": {SERVED: upload(host, gguf)}}
    return fields | weights, keys_of(read_origin(job.path("gguf"))) | told.keys()


@contextmanager
def _told(job: Job, told: Standing) -> Iterator[Path]:
    """The GGUF that Ollama is given: where there is a verdict on it, a copy that says so, for as long as it takes."""
    source = job.path("gguf", SERVED)
    if not told.keys():
        yield source
        return
    with TemporaryDirectory(dir=job.folder) as room:
        copy = Path(room) / SERVED
        stamp(source, copy, told.keys())
        yield copy
