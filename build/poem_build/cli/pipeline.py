"""The order of the stages, and the pages that are written between them: the one place that knows them all."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from poem.model_keys import Verdict
from poem_build.cli import ahead, reports
from poem_build.data import dataset
from poem_build.errors import ArtifactError, GateError
from poem_build.evaluation import stage
from poem_build.evaluation.gates import EvalReport, verdict_of
from poem_build.export import adopt, beside, convert, merge, modelfile, preflight, quantize, take
from poem_build.export.modelfile import MODELFILE
from poem_build.export.quantized import QuantizeReport
from poem_build.judge import fidelity, serving, verify
from poem_build.models import source
from poem_build.models.hub import Announced
from poem_build.models.origin import read_origin
from poem_build.models.standing import Standing, read_standing, write_standing
from poem_build.plan.check import check_stage
from poem_build.recipe.schema import Recipe
from poem_build.report import fidelity_table, serving_table
from poem_build.ship import register
from poem_build.ship.register import RegisterReport
from poem_build.store.artifact import Artifact
from poem_build.store.folder import write_text
from poem_build.store.stage import Finished, Stage
from poem_build.store.workshop import Workshop
from poem_build.train import adapter

MADE = (
    dataset.STAGE,
    source.STAGE,
    preflight.STAGE,
    adapter.STAGE,
    merge.STAGE,
    convert.STAGE,
    quantize.STAGE,
    fidelity.STAGE,
    modelfile.STAGE,
    verify.STAGE,
)
"""How a model is made, its base with the data set beside it to be tried on; `register` follows where an Ollama is."""
JUDGING = ("fidelity", "verify", "eval")
"""Stages that say whether a finished model is good enough, and make nothing that others read."""
STAGES = (*MADE, stage.STAGE)
"""All that need no Ollama."""
_OF_A_BASE = {"merge": take.STAGE}
_OF_A_GGUF = {"merge": take.TERMS, "quantize": adopt.STAGE}
_UNMERGED = {"quantize": beside.STAGE}
"""The merged model is then what the adapter is held against."""
_WITHOUT_TRAINING = {"train", "fidelity"}
_WITHOUT_WEIGHTS = {*_WITHOUT_TRAINING, "base", "preflight", "convert"}


def stages(recipe: Recipe) -> Sequence[Stage]:
    """The same for the recipe: without `[train]` it takes its base as it is, and an adapter may be served unmerged."""
    if recipe.train:
        others = _UNMERGED if recipe.serve.unmerged else {}
    else:
        others = _OF_A_GGUF if recipe.base.gguf else _OF_A_BASE
    return tuple(others.get(one.name, one) for one in STAGES)


def evaluating(recipe: Recipe, asked: stage.Wishes) -> Sequence[Stage]:
    """The same, where more is asked of `eval` than the recipe does."""
    return (*stages(recipe)[:-1], stage.stage(asked))


def of_ollama(host: str, model: str, out: Path, log: Path, game: Path | None) -> Sequence[Stage]:
    """The stages that the Ollama at `host` has a part in, for the artifacts in `out`."""
    return register.stage(host, model, out / quantize.STAGE.makes), serving.stage(host, model, log, game)


def run_all(workshop: Workshop) -> Iterator[Artifact]:
    """Every stage's artifact as it is finished; the model is registered if the workshop has an Ollama."""
    for name in names(workshop):
        yield make(workshop, name)


def names(workshop: Workshop) -> list[str]:
    """The stages that make the recipe's model, in order."""
    recipe = workshop.recipe
    registered = ["register"] if "register" in workshop.stages else []
    left_out = set() if recipe.base.brought else {source.STAGE.name}
    if recipe.train is None:
        left_out |= _WITHOUT_WEIGHTS if recipe.base.gguf else _WITHOUT_TRAINING
    if recipe.adapter:
        left_out |= {"train"}
    return [name for name in (*(one.name for one in MADE), *registered) if name not in left_out]


def make(workshop: Workshop, name: str, *, force: bool = False) -> Artifact:
    """The stage's artifact, and the pages that tell of it beside the stages' folders.

    With `force` what a gate refuses goes on all the same, as far as it only judges the model; that is remembered.
    """
    if name == "register":
        settle(workshop, force=force)
        register.forget_if_gone(workshop)
    before = None if workshop.as_it_lies else partial(_look_before, workshop, name)
    try:
        made = workshop.make(name, before)
    except GateError:
        refused = workshop.look(name).artifact
        if refused:
            _write_pages(workshop, name, refused)  # they show why
        if not (refused and force and name in JUDGING):
            raise
        return refused
    if name == source.STAGE.name:
        workshop.recipe = source.licensed(workshop.recipe, made.path)
    _write_pages(workshop, name, made)
    if name == "eval" and not force and (fallen := reports.fallen(workshop, workshop.load("gguf"))):
        raise fallen[0]
    return made


def look_ahead(workshop: Workshop) -> Announced | None:
    """What the base consists of if it has yet to come from the hub, after all that its small files tell was said."""
    if not workshop.recipe.base.hub or workshop.look(source.STAGE.name).artifact:
        return None
    with TemporaryDirectory() as room:
        return ahead.look(workshop, names(workshop), Path(room))


def _look_before(workshop: Workshop, name: str, room: Path) -> None:
    """Raise what can be said of a stage before its work: what it lacks here, or what a base of the hub tells itself."""
    if name == source.STAGE.name and workshop.recipe.base.hub:
        ahead.look(workshop, names(workshop), room)
    else:
        check_stage(workshop.recipe, workshop.game, name, workshop.out)


def settle(workshop: Workshop, *, force: bool) -> None:
    """Write beside the GGUF what the gates say of it. Raises `GateError` for what they refuse, unless that is forced.

    In an image it is as it was settled outside.
    """
    if workshop.as_it_lies:
        return
    refused = _stand(workshop, force=force)
    if refused and not force:
        raise next(iter(refused.values()))


def _stand(workshop: Workshop, *, force: bool = False) -> dict[str, GateError]:
    """Write beside the GGUF what the gates say of it, and give those that refuse it; what was forced once stays so."""
    folder = workshop.load("gguf").path
    verdict, refused = _verdict(workshop)
    through = refused if force else read_standing(folder).forced
    forced = tuple(one for one in refused if one in through)
    left = tuple(one for one in refused if one not in through)
    write_standing(folder, Standing(verdict=verdict, forced=forced, refused=left))
    return refused


def _verdict(workshop: Workshop) -> tuple[Verdict, dict[str, GateError]]:
    """What `eval` found, and which gates refuse the model, of the stages that have looked at this very one."""
    gguf = workshop.load("gguf")
    looked = {name: found for name in JUDGING if (found := reports.judged(workshop, name, gguf))}
    refusing = {name: list(_refusals(workshop, judged, gguf)) for name, judged in looked.items()}
    evaluation = looked["eval"].report(EvalReport) if "eval" in looked else None
    refused = {f"{name}: {error.red_line}": error for name, errors in refusing.items() for error in errors}
    return verdict_of(evaluation, refused=bool(refusing.get("eval"))), refused


def _refusals(workshop: Workshop, judged: Artifact, gguf: Artifact) -> Iterator[GateError]:
    """What the stage that has looked at the GGUF refuses it for."""
    try:
        workshop.stages[judged.stage].gate(Finished(workshop.recipe, judged, {"gguf": gguf}))
    except GateError as error:
        yield error
    if judged.stage == "eval":
        yield from reports.fallen(workshop, gguf)


def _write_pages(workshop: Workshop, name: str, made: Artifact) -> None:
    if name == "modelfile":  # it names the GGUF relative to where it stands
        shutil.copyfile(made.path / MODELFILE, workshop.out / MODELFILE)
    if name == "fidelity":
        write_fidelity(workshop)
    if name == "register":
        with contextlib.suppress(ArtifactError, GateError):
            write_fidelity(workshop)
    if name == "serving":
        write_serving(workshop, made)
    if name == "eval":
        reports.write(workshop, made)
    if name in JUDGING:
        _stand(workshop)


def write_serving(workshop: Workshop, made: Artifact) -> None:
    """Write the table of how the model is served."""
    text = serving_table.render(workshop.recipe.name, made.report(serving.ServingReport))
    write_text(workshop.out / serving_table.FILE, text)


def write_fidelity(workshop: Workshop) -> None:
    """Write the table of faithfulness from whatever stages have run."""
    found = {name: workshop.look(name).artifact for name in ("convert", "quantize", "fidelity")}
    made = {name: artifact for name, artifact in found.items() if artifact}
    if len(made) < len(found):
        return
    registered = workshop.look("register").artifact if "register" in workshop.stages else None
    text = fidelity_table.render(
        workshop.recipe,
        made["convert"].report(convert.ConvertReport),
        made["quantize"].report(QuantizeReport),
        made["fidelity"].report(fidelity.FidelityReport),
        registered.report(RegisterReport).token_counts if registered else None,
        cut_short=read_origin(made["quantize"].path).cut_short,
    )
    write_text(workshop.out / fidelity_table.FILE, text)
