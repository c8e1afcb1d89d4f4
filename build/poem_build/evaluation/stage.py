"""A finished model → what it does on held-out hands beside other writers, and what the training did to it.

`eval/answers.jsonl` holds every answer. What the figures are worth, by the recipe's gates and beside a former build,
is `assemble`'s to say.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from poem.model_keys import ADAPTER_FILE
from poem_build.data.examples import Example, read_examples
from poem_build.evaluation import gates, hands, jury, likelihood, matrix, measures, names, questions, ratios, writers
from poem_build.evaluation.answers import Sheet, play, write_rows
from poem_build.evaluation.gates import EvalReport
from poem_build.evaluation.hands import BY_HAND, TEACHER, Trial
from poem_build.evaluation.jury import Heard, Jury
from poem_build.evaluation.names import ADAPTER, BASE, COMPOSER, F16_NAME, FREE, WriterName
from poem_build.evaluation.report import MODEL, Figure, Judged
from poem_build.evaluation.specimen import specimens
from poem_build.evaluation.writers import Place
from poem_build.judge.protocol import FILE
from poem_build.models import family
from poem_build.models.device import Asked, look
from poem_build.models.files import F16, IMATRIX, SERVED
from poem_build.models.load import to_ask
from poem_build.models.origin import read_origin
from poem_build.recipe.quantize import MIXTURES
from poem_build.recipe.schema import Recipe
from poem_build.store.red_line import refuse
from poem_build.store.stage import ALL, Finished, Job, Stage, sections
from poem_build.teacher.composer import Composer

_BASE_HANDS = 50
_SWAPPED = 40
"""Right poems that are held under other cards; one takes 270 million parameters twelve seconds on two cores."""
UNRANKED = (MODEL + FREE, BASE + FREE)
"""They show what schema and training do, and compete only where they are asked for."""


@dataclass(frozen=True)
class Wishes:
    """What a command asks beyond the recipe: fewer hands, more writers, judges."""

    hands: int | None = None
    writers: tuple[WriterName, ...] = ()
    jury: Jury = field(default_factory=Jury)
    place: Place = field(default_factory=Place)

    @property
    def named(self) -> tuple[str, ...]:
        """The writers as the answers and the report name them."""
        return tuple(map(str, self.writers))


def stage(asked: Wishes) -> Stage:
    """The stage that answers so."""

    def settings(recipe: Recipe) -> Mapping[str, Any]:
        more = {
            "hands": asked.hands or recipe.gate.eval_hands,
            "writers": writers.identity(asked.writers, asked.place),
            "judges": [juror.name for juror in asked.jury.jurors],
            "judged": asked.jury.hands if asked.jury.jurors else 0,
        }
        return {"asked": more} | sections("base", "serve", "gate")(recipe)

    kinds = {name.kind for name in asked.writers}
    inputs = {
        "base": ALL,
        "merged": ALL,
        "gguf": (SERVED, ADAPTER_FILE, IMATRIX, "origin.json"),
        "dataset": ("*.jsonl",),
    }
    more = {"adapter": ALL} if ADAPTER in kinds else {}
    more |= {"f16": (F16,)} if kinds & {F16_NAME, *MIXTURES} else {}
    return Stage(
        name="eval",
        summary="Judge the finished model on held-out hands, beside other writers.",
        makes="eval",
        work=lambda job: run(job, asked),
        report=EvalReport,
        settings=settings,
        inputs=inputs | more,
        reads_game=True,
        outside=lambda recipe: {
            **family.templates(recipe),
            **names.files(asked.writers),
            "judges' questions": questions.PROMPTS,
            "plain Japanese": likelihood.PLAIN,
        },
        modules=family.modules,
        packages=(
            "llama-cpp-python",
            "torch",
            "transformers",
            "sudachipy",
            "sudachidict-core",
            "sacrebleu",
            "rapidfuzz",
        ),
        gate=gate,
    )


def gate(finished: Finished) -> None:
    """Refuses a model below the recipe's red lines; one whose training was cut short is only reported on."""
    cut_short = read_origin(finished.inputs["gguf"].path).cut_short
    lines = gates.red_lines(finished.artifact.report(EvalReport), finished.recipe.gate)
    refuse(lines, finished.artifact.path / FILE, cut_short=cut_short)


STAGE = stage(Wishes())


def run(job: Job, asked: Wishes) -> EvalReport:
    """Have every writer write, and everything judged; all answers are kept."""
    there = hands.trials(job.game, asked.hands or job.recipe.gate.eval_hands, _taught(job))
    sheets = _written(job, asked, there)
    ranked = [sheet for sheet in sheets if sheet.writer not in UNRANKED or sheet.writer in asked.named]
    heard = jury.hear(asked.jury, ranked, job.game, job.folder.parent)
    write_rows(job.folder / FILE, sheets)
    measured = [measures.measure(sheet, job.game) for sheet in sheets]
    points = {sheet.writer: measures.points_of(sheet) for sheet in ranked}
    contests = [matrix.by_points(points, gates.COUNTED), *(one for each in heard for one in each.contests)]
    biases = [each.bias for each in heard if each.bias]
    figures = [one for each in measured for one in each.figures]
    table = matrix.matrix([sheet.writer for sheet in ranked], contests, biases)
    how = to_ask(job.recipe, job.path("merged"))
    figures += [*_likely(job, there, how), *_judged(heard), *ratios.above_composer(points)]
    figures += ratios.over_composer(table.duels if table else [])
    return EvalReport(
        hands=len(there),
        hands_version=hands.version(there),
        device="; likelihoods in ".join(filter(None, (device(), how.told))),
        figures=_gated(figures),
        rules=[one for each in measured for one in each.rules],
        groups=[one for each in measured for one in each.groups],
        samples=[one for each in measured for one in each.samples],
        matrix=table,
        poems=specimens(sheets[0], [one for one in sheets if one.writer in (BY_HAND, TEACHER, COMPOSER)]),
        teacher_ratio=ratios.teacher_ratio(heard, points),
        judges=[
            *(Judged(name=name) for name in ("rules", gates.COUNTED)),
            *(Judged(name=one.judge, asked=one.asked, unread=one.unread) for one in heard),
        ],
        judge_is_teacher=[one.judge for one in heard if one.judge.split(":")[0] in _teachers(job)],
        cost_usd=round(sum(one.usd for one in heard), 6),
    )


def device() -> str:
    """What the model ran on here: the processor and how many cores of it."""
    return f"{look().cpu}, {os.cpu_count()} cores"


def _teachers(job: Job) -> set[str]:
    """Whoever wrote what the model learnt from; none for what is not known."""
    manifest = job.inputs["dataset"].manifest
    return set(filter(None, str(manifest.report["teacher"]).split("+"))) if manifest else set()


def _taught(job: Job) -> list[Example]:
    """What a teacher wrote for testing; nothing of the composer's, who writes for any hand."""
    if _teachers(job) <= {Composer.name}:
        return []
    return read_examples(job.path("dataset", "test.jsonl"), job.game)


def _written(job: Job, asked: Wishes, there: Sequence[Trial]) -> list[Sheet]:
    given = {name for trial in there for name in trial.given}
    wanted = [MODEL, *UNRANKED, COMPOSER, *(name for name in (BY_HAND, TEACHER) if name in given), *asked.named]
    sheets = []
    for name in dict.fromkeys(wanted):
        some = there[:_BASE_HANDS] if name == BASE + FREE and name not in asked.named else there
        with writers.opened(WriterName.of(name), job, asked.place) as writer:
            sheets.append(play(name, writer, some, job.room))
    return sheets


def _likely(job: Job, there: Sequence[Trial], how: Asked) -> list[Figure]:
    """What base and merged model hold likely."""
    talk = family.family(job.recipe.base.family)
    examples = list(islice(read_examples(job.path("dataset", "test.jsonl"), job.game), _SWAPPED))
    stages = read_origin(job.path("gguf")).stages
    by_hand = [replace(trial.example, stages=stages) for trial in there if BY_HAND in trial.given]
    merged, base = (
        likelihood.ask(job.path(role), talk, job.game, examples, by_hand, how) for role in ("merged", "base")
    )
    return ratios.likely(merged, base)


def _judged(heard: Sequence[Heard]) -> list[Figure]:
    return [one for each in heard for one in ratios.judged(each)]


def _gated(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, each telling whether a gate has a word on it."""
    keys = {(line.figure, line.writer): key for key, line in gates.LINES.items()}
    return [one.model_copy(update={"gate": keys.get((one.name, one.writer), "")}) for one in figures]
