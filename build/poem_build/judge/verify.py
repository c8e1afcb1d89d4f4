"""A quantized model → the smoke test: it loads, it answers in the right shape, it ends by itself."""

from poem.model_keys import ADAPTER_FILE
from poem_build.data.examples import read_examples
from poem_build.judge.protocol import FILE, Score, score, write_verdicts
from poem_build.judge.rules import Rules, play_file
from poem_build.models import family
from poem_build.models.files import SERVED
from poem_build.models.origin import read_origin
from poem_build.recipe.gate import Gate
from poem_build.store.artifact import Report
from poem_build.store.red_line import RedLine, refuse
from poem_build.store.stage import Finished, Job, Stage, sections


class VerifyReport(Report):
    """What became of the hands."""

    score: Score


def run(job: Job) -> VerifyReport:
    """Play a few held-out hands, the shape constrained; the answers are kept."""
    examples = read_examples(job.path("dataset", "test.jsonl"), job.game)[: job.recipe.gate.smoke_hands]
    replies = play_file(job.path("gguf", SERVED), job.recipe, job.game, examples, constrained=True)
    pairs = zip(examples, replies, strict=True)
    verdicts = [Rules().judge(example, reply, "model, shape constrained") for example, reply in pairs]
    write_verdicts(job.folder / FILE, verdicts)
    return VerifyReport(score=score(verdicts))


def red_lines(report: VerifyReport, asked: Gate) -> list[RedLine]:
    """Every answer must be one, and a model that can next to nothing must not get through by luck."""
    found = report.score
    return [
        RedLine(
            "smoke_hands",
            "answers in no shape",
            found.malformed,
            0,
            "the template or the end of turn is not what it was trained on",
            sense="at most",
            shown="d",
        ),
        RedLine(
            "smoke_pass",
            "hands within all rules",
            found.share,
            asked.smoke_pass,
            "train longer, or lower it",
            note=f"{found.passed} of {found.hands}",
        ),
    ]


def gate(finished: Finished) -> None:
    """Refuses a whole training if an answer is none, or too few keep the rules."""
    cut_short = read_origin(finished.inputs["gguf"].path).cut_short
    lines = red_lines(finished.artifact.report(VerifyReport), finished.recipe.gate)
    refuse(lines, finished.artifact.path / FILE, cut_short=cut_short)


STAGE = Stage(
    name="verify",
    summary="Smoke test: load the model and play a few hands.",
    makes="verify",
    work=run,
    report=VerifyReport,
    settings=sections("serve", "gate"),
    inputs={"gguf": (SERVED, ADAPTER_FILE, "origin.json"), "dataset": ("test.jsonl",)},
    reads_game=True,
    outside=family.templates,
    modules=family.modules,
    packages=("llama-cpp-python",),
    gate=gate,
)
