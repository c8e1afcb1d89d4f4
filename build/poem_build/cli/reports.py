"""What the stages of a workshop found → the report on its model, its page, and the history that both go into."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from poem.game import Game
from poem_build.data.dataset import DatasetReport
from poem_build.errors import ArtifactError, GateError, WriterError
from poem_build.evaluation import harness, history, people
from poem_build.evaluation.another import seen_as, sheets_of, short_report
from poem_build.evaluation.answers import Row, read_rows
from poem_build.evaluation.assemble import Stages, assemble, former_of, measured_outcome
from poem_build.evaluation.composed import of_composer
from poem_build.evaluation.gates import EvalReport
from poem_build.evaluation.names import FREE
from poem_build.evaluation.people import Pairing
from poem_build.evaluation.report import FILE, MODEL, Evaluation, read_evaluation, write_evaluation
from poem_build.evaluation.stage import device
from poem_build.judge import fidelity
from poem_build.judge.protocol import FILE as ANSWERS
from poem_build.judge.protocol import read_verdicts
from poem_build.models.files import model_digest
from poem_build.models.origin import read_origin
from poem_build.recipe.schema import Recipe
from poem_build.report import evaluation_page
from poem_build.store.artifact import Artifact, read_manifest
from poem_build.store.workshop import Workshop
from poem_build.train import adapter


def write(workshop: Workshop, made: Artifact) -> Evaluation:
    """Write `report.json` and the page beside the answers, and add the report to the history.

    It is no part of the stage's result: gates ask anew each time, and what earlier stages tell and people have read
    since goes into it.
    """
    room = workshop.out / history.FOLDER
    stages = _stages(workshop, made)
    hands_version, origin = made.report(EvalReport).hands_version, read_origin(stages.gguf.path)
    former = history.before(room, model_digest(stages.gguf.files), hands_version, origin.game_digest)
    report = assemble(workshop.recipe, origin, stages, former_of(former) if former else None)
    if read := read_by_people(workshop):
        report = people.with_readers(report, read)
    tries = harness.read(workshop.out / harness.FOLDER, model_digest(stages.gguf.files))
    report = report.model_copy(update={"harness": tries})
    write_evaluation(made.path / FILE, report)
    history.keep(room, report)
    evaluation_page.write_page(made.path / evaluation_page.FILE, report, history.history(room))
    return report


def write_short(workshop: Workshop) -> Path:
    """Write the page of the hands that the smoke test played, beside the stages' folders; it decides nothing.

    Where `eval` has looked at this very model its page is the one, and nothing is written.
    """
    whole = workshop.out / "eval" / evaluation_page.FILE
    gguf = workshop.load("gguf")
    if whole.is_file() and _about(workshop, gguf):
        return whole
    verify = workshop.load("verify")
    assert verify.manifest is not None
    found = short_report(workshop.game, read_verdicts(verify.path / ANSWERS), device())
    told = verify.manifest.model_copy(update={"report": found.model_dump(mode="json")})
    made = Artifact("eval", verify.path, verify.files, told)
    report = assemble(workshop.recipe, read_origin(gguf.path), _stages(workshop, made), None)
    measured = [one for one in report.verdict.reasons if one.measured]
    report = report.model_copy(update={"verdict": report.verdict.model_copy(update={"reasons": measured})})
    path = workshop.out / evaluation_page.FILE
    evaluation_page.write_page(path, report, (), short=True)
    return path


def write_of(workshop: Workshop, writer: str, path: Path) -> None:
    """Write the page of the report that stands there to another place, as one on that writer."""
    folder = workshop.out / "eval"
    report, kept = read_evaluation(folder / FILE), history.history(workshop.out / history.FOLDER)
    if writer != MODEL:
        report, kept = _seen_as(workshop, writer, report), []
    path.parent.mkdir(parents=True, exist_ok=True)
    evaluation_page.write_page(path, report, kept)


def write_composer(recipe: Recipe, game: Game, hands: int, path: Path) -> None:
    """Write the page on the composer, so many hands played anew for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    evaluation_page.write_page(path, of_composer(recipe, game, hands, device()), ())


def write_history(room: Path, kept: Sequence[Evaluation]) -> Path:
    """Write the page of the builds beside their reports."""
    path = room / "history.html"
    evaluation_page.write_history(path, kept)
    return path


def fallen(workshop: Workshop, gguf: Artifact) -> list[GateError]:
    """Where the report on this GGUF calls it worse than the build before it."""
    report = _about(workshop, gguf)
    found = []
    for one in report.verdict.reasons if report else []:
        if one.gate == history.REGRESSION:
            told = f"{one.gate}: {one.what}: {one.seen}, {one.asked}"
            found.append(GateError(f"{workshop.out / 'eval' / FILE}: {told}; {one.remedy}", told))
    return found


def judged(workshop: Workshop, name: str, gguf: Artifact) -> Artifact | None:
    """What the stage found out about this GGUF, however it was asked: `eval` may be asked in many ways."""
    folder = workshop.out / name
    manifest, _ = read_manifest(folder)
    if manifest is None or manifest.key.inputs.get("gguf") != gguf.digest(manifest.reads["gguf"]):
        return None
    if manifest.key.report != workshop.stages[name].report.version:
        return None
    return Artifact(name, folder, manifest.files, manifest)


def pairings(workshop: Workshop, writers: Sequence[str], hands: int) -> list[Pairing]:
    """What people may read of the answers to the last `eval`; all that were ranked where no writers are named."""
    rows, there = _answered(workshop, writers)
    ranked = writers or [name for name in there if not name.endswith(FREE)]
    return people.pairings(rows, workshop.game, ranked, hands)


def read_by_people(workshop: Workshop, writers: Sequence[str] = ()) -> people.Read | None:
    """What people chose among these answers so far; those of all writers where none are named."""
    rows, there = _answered(workshop, writers)
    file = workshop.out / people.FILE
    if not file.is_file():
        return None
    return people.count(people.pairings(rows, workshop.game, writers or there), people.read_chosen(file))


def _answered(workshop: Workshop, writers: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The answers to the last `eval` and whoever gave them. Raises `WriterError` for one of these who has not."""
    path = workshop.out / "eval" / ANSWERS
    rows = read_rows(path)
    there = list(dict.fromkeys(row.writer for row in rows))
    if unknown := [name for name in writers if name not in there]:
        raise WriterError(f"--writers {unknown[0]}: has not answered; {path} has {', '.join(there)}")
    return rows, there


def _about(workshop: Workshop, gguf: Artifact) -> Evaluation | None:
    """The report that stands there, if it is on this GGUF."""
    with contextlib.suppress(ArtifactError):
        report = read_evaluation(workshop.out / "eval" / FILE)
        if report.provenance.gguf == model_digest(gguf.files):
            return report
    return None


def _seen_as(workshop: Workshop, writer: str, report: Evaluation) -> Evaluation:
    folder = workshop.out / "eval"
    manifest, reason = read_manifest(folder)
    sheets = sheets_of(read_rows(folder / ANSWERS), workshop.game)
    if manifest is None or writer not in [sheet.writer for sheet in sheets]:
        why = reason or "has not answered"
        raise WriterError(f"--of {writer}: {why}; `poem-build eval --writers {writer}` asks it")
    told = EvalReport.model_validate(manifest.report)
    seen = seen_as(told, writer, workshop.recipe.name, sheets)
    nobody = {"recipe": writer, "params": "", "base": "", "licence": "", "gguf": "", "steps": 0, "teacher": ""}
    return report.model_copy(
        update={
            "verdict": measured_outcome(workshop.recipe, seen),
            "provenance": report.provenance.model_copy(update=nobody),
            **seen.measured(),
            "losses": None,
            "quantized": [],
            "former": None,
            "harness": None,
        }
    )


def _stages(workshop: Workshop, made: Artifact) -> Stages:
    found = {name: workshop.look(name).artifact for name in ("dataset", "train", "quantize", "fidelity")}
    examples, train, gguf, faithful = found.values()
    assert examples is not None  # whoever has answered has read both
    assert gguf is not None
    return Stages(
        evaluated=made,
        gguf=gguf,
        dataset=examples.report(DatasetReport),
        train=train.report(adapter.TrainReport) if train and train.manifest else None,
        fidelity=faithful.report(fidelity.FidelityReport) if faithful else None,
    )
